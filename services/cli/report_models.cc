#include "services/cli/report_models.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <map>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/status_macros.h"
#include "common/model/model_hash.h"
#include "common/model/packed_attention.h"
#include "common/objective/token_scores.h"
#include "common/rewards/reward_set.h"
#include "common/rl/metrics.h"
#include "common/tasks/prompt_source.h"
#include "services/cli/local_engine.h"

namespace cohort {
namespace {

using nlohmann::json;

// What was computed before, by key. Written after every analysis, so that an interrupted report
// goes on.
class Cache {
 public:
  explicit Cache(std::string path) : path_(std::move(path)) {
    const absl::StatusOr<std::string> text = path_.empty() ? std::string() : ReadFile(path_);
    json stored = json::parse(text.ok() ? *text : "", nullptr, false);
    if (stored.is_object()) values_ = std::move(stored);
  }

  template <typename Compute>
  absl::StatusOr<json> Get(const std::string& key, const Compute& compute) {
    const auto found = values_.find(key);
    if (found != values_.end()) return *found;
    COHORT_ASSIGN_OR_RETURN(json value, compute());
    values_[key] = value;
    if (!path_.empty()) COHORT_RETURN_IF_ERROR(WriteFileAtomic(path_, values_.dump() + "\n"));
    return value;
  }

 private:
  std::string path_;
  json values_ = json::object();
};

// The hidden states that predict the first `count` response tokens: [count, hidden].
at::Tensor ResponseStates(const CausalLm& model, const std::vector<int32_t>& prompt,
                          const std::vector<int32_t>& response, int64_t count) {
  std::vector<int64_t> ids(prompt.begin(), prompt.end());
  ids.insert(ids.end(), response.begin(), response.begin() + count - 1);
  const auto length = static_cast<int64_t>(ids.size());
  const at::Device device = model.options().device;
  PackedAttention attention({{0, length, -1, 0}});
  const at::Tensor hidden = model.Forward(
      at::tensor(ids, at::kLong).to(device),
      at::arange(length, at::TensorOptions().dtype(at::kLong).device(device)), attention);
  return hidden.narrow(0, static_cast<int64_t>(prompt.size()) - 1, count);
}

double Perplexity(const CausalLm& model, const ProblemResult& problem, const SampleResult& sample) {
  const auto count = static_cast<int64_t>(sample.ids.size());
  const at::Tensor hidden = ResponseStates(model, problem.prompt_ids, sample.ids, count);
  const std::vector<int64_t> targets(sample.ids.begin(), sample.ids.end());
  TokenScoreOptions scoring;
  scoring.with_entropy = false;
  const TokenScores scores =
      ScoreTokens(hidden, model.head_weight(),
                  at::tensor(targets, at::kLong).to(model.options().device), scoring);
  return std::exp(-scores.logprob.mean().item<double>());
}

double Quantile(const std::vector<double>& sorted, double share) {
  const auto at = static_cast<size_t>(share * static_cast<double>(sorted.size()));
  return sorted[std::min(at, sorted.size() - 1)];
}

json Describe(std::vector<double> values) {
  if (values.empty()) return {{"count", 0}};
  std::sort(values.begin(), values.end());
  return {{"count", values.size()},
          {"median", Quantile(values, 0.5)},
          {"low", Quantile(values, 0.05)},
          {"high", Quantile(values, 0.95)}};
}

class LogitMoments {
 public:
  void Add(const at::Tensor& logits) {
    const at::Tensor values = logits.to(at::kCPU, at::kDouble).contiguous();
    const double* row = values.const_data_ptr<double>();
    const int64_t vocab = values.size(1);
    for (int64_t i = 0; i < values.size(0); ++i, row += vocab) AddRow(row, vocab);
  }

  json ToJson() const {
    return {{"raw", Moments(raw_)},
            {"normalised", Moments(normalised_)},
            {"margin", margin_.mean()},
            {"top_probability", top_.mean()},
            {"tokens", top_.count()}};
  }

 private:
  static json Moments(const MomentAccumulator& moments) {
    return {{"mean", moments.mean()},
            {"std", moments.std()},
            {"skew", moments.skew()},
            {"kurtosis", moments.kurtosis()},
            {"entries", moments.count()}};
  }

  void AddRow(const double* row, int64_t vocab) {
    double top = row[0], second = -INFINITY, sum = 0;
    for (int64_t i = 1; i < vocab; ++i) {
      second = std::max(second, std::min(top, row[i]));
      top = std::max(top, row[i]);
    }
    for (int64_t i = 0; i < vocab; ++i) sum += std::exp(row[i] - top);
    const double logsumexp = top + std::log(sum);
    for (int64_t i = 0; i < vocab; ++i) {
      raw_.Add(row[i]);
      normalised_.Add(row[i] - logsumexp);
    }
    margin_.Add(top - second);
    top_.Add(std::exp(top - logsumexp));
  }

  MomentAccumulator raw_{/*drop_zeros=*/true}, normalised_, margin_, top_;
};

class Analyses {
 public:
  Analyses(const std::vector<ReportRun>& runs, size_t base, const ModelAnalysisOptions& options,
           json* numbers)
      : runs_(runs), base_(base), options_(options), cache_(options.cache), out_(*numbers) {}

  absl::Status Run() {
    COHORT_ASSIGN_OR_RETURN(problems_, CommonProblems(runs_));
    if (problems_.size() > static_cast<size_t>(options_.problems)) {
      problems_.resize(static_cast<size_t>(options_.problems));
    }
    if (problems_.empty()) return absl::OkStatus();
    COHORT_RETURN_IF_ERROR(BasePerplexities());
    for (const ReportRun& run : runs_) {
      if (!run.eval || !ModelIsThere(run.model)) continue;
      COHORT_RETURN_IF_ERROR(OwnAnalyses(run));
    }
    return absl::OkStatus();
  }

 private:
  static bool ModelIsThere(const std::string& folder) {
    return !folder.empty() && std::filesystem::exists(folder + "/config.json");
  }

  // Names the responses that an analysis looks at.
  std::string ResponsesHash(const ReportRun& run) const {
    std::string text;
    for (uint64_t problem : problems_) text += ProblemLine(run.eval->problems.at(problem));
    return HexEncode(Xxh3(text.data(), text.size()));
  }

  absl::StatusOr<LocalModel> Load(const std::string& folder) const {
    std::cerr << "cohort report: computing with " << folder << std::endl;
    return LoadLocalModelAndTokenizer(folder, options_.dtype, options_.device, options_.threads);
  }

  absl::Status BasePerplexities() {
    if (!ModelIsThere(options_.base_model)) return absl::OkStatus();
    COHORT_ASSIGN_OR_RETURN(const std::string hash, ModelContentHash(options_.base_model));
    LocalModel local;
    json all = json::array();
    for (const ReportRun& run : runs_) {
      if (!run.eval) continue;
      const std::string key = absl::StrCat("perplexity/", hash, "/", ResponsesHash(run));
      COHORT_ASSIGN_OR_RETURN(json values, cache_.Get(key, [&]() -> absl::StatusOr<json> {
        if (local.model == nullptr) {
          COHORT_ASSIGN_OR_RETURN(local, Load(options_.base_model));
        }
        return Perplexities(*local.model, run);
      }));
      values["run"] = run.name;
      all.push_back(std::move(values));
    }
    out_["base_perplexity"] = SummarisePerplexities(all);
    return absl::OkStatus();
  }

  absl::StatusOr<json> Perplexities(const CausalLm& model, const ReportRun& run) const {
    json values = {{"right", json::array()}, {"wrong", json::array()}};
    for (uint64_t index : problems_) {
      const ProblemResult& problem = run.eval->problems.at(index);
      for (const SampleResult& sample : problem.samples) {
        if (sample.ids.empty() || !sample.judged || problem.prompt_ids.empty()) continue;
        values[sample.correct ? "right" : "wrong"].push_back(Perplexity(model, problem, sample));
      }
    }
    return values;
  }

  json SummarisePerplexities(const json& all) const {
    std::vector<double> own;  // the base model's
    const auto values = [](const json& run, const char* kind) {
      return run[kind].get<std::vector<double>>();
    };
    for (const json& run : all) {
      if (run["run"] != runs_[base_].name) continue;
      own = values(run, "right");
      const std::vector<double> wrong = values(run, "wrong");
      own.insert(own.end(), wrong.begin(), wrong.end());
      std::sort(own.begin(), own.end());
    }
    json summary = json::array();
    for (const json& run : all) {
      const std::vector<double> right = values(run, "right");
      json entry = {{"run", run["run"]},
                    {"right", Describe(right)},
                    {"wrong", Describe(values(run, "wrong"))}};
      if (!own.empty() && !right.empty()) {
        const double limit = Quantile(own, 0.95);
        const auto inside =
            std::count_if(right.begin(), right.end(), [&](double p) { return p <= limit; });
        entry["right_within_base_range"] =
            static_cast<double>(inside) / static_cast<double>(right.size());
      }
      summary.push_back(std::move(entry));
    }
    return summary;
  }

  absl::Status OwnAnalyses(const ReportRun& run) {
    COHORT_ASSIGN_OR_RETURN(const std::string hash, ModelContentHash(run.model));
    LocalModel local;
    const auto loaded = [&]() -> absl::Status {
      if (local.model == nullptr) {
        COHORT_ASSIGN_OR_RETURN(local, Load(run.model));
      }
      return absl::OkStatus();
    };
    const std::string what = absl::StrCat(hash, "/", ResponsesHash(run));
    const std::string logit_key =
        absl::StrCat("logits/", options_.logit_problems, "/", options_.logit_steps, "/", what);
    COHORT_ASSIGN_OR_RETURN(json logits, cache_.Get(logit_key, [&]() -> absl::StatusOr<json> {
      COHORT_RETURN_IF_ERROR(loaded());
      return Logits(*local.model, run);
    }));
    logits["run"] = run.name;
    out_["logits"].push_back(std::move(logits));
    const std::string early_key = absl::StrCat("early/", Sha256Hex(options_.early_answer), "/",
                                               options_.answer_tokens, "/", what);
    COHORT_ASSIGN_OR_RETURN(json early, cache_.Get(early_key, [&]() -> absl::StatusOr<json> {
      COHORT_RETURN_IF_ERROR(loaded());
      return EarlyAnswers(local, run);
    }));
    early["run"] = run.name;
    out_["early_answer"].push_back(std::move(early));
    return absl::OkStatus();
  }

  // Every sample cut to the shortest one, as the reference does.
  absl::StatusOr<json> Logits(const CausalLm& model, const ReportRun& run) const {
    const size_t count = std::min(problems_.size(), static_cast<size_t>(options_.logit_problems));
    int64_t steps = options_.logit_steps;
    std::vector<const ProblemResult*> used;
    for (size_t i = 0; i < count; ++i) {
      const ProblemResult& problem = run.eval->problems.at(problems_[i]);
      if (problem.samples.empty() || problem.samples[0].ids.empty()) continue;
      steps = std::min(steps, static_cast<int64_t>(problem.samples[0].ids.size()));
      used.push_back(&problem);
    }
    LogitMoments moments;
    for (const ProblemResult* problem : used) {
      const at::Tensor hidden =
          ResponseStates(model, problem->prompt_ids, problem->samples[0].ids, steps);
      moments.Add(model.Logits(hidden));
    }
    return moments.ToJson();
  }

  // One forced answer: a problem's first response, cut after `budget` tokens.
  struct Forced {
    const ProblemResult* problem;
    int budget;
    std::string before;  // what the model had said, and the text that asks for the answer
  };

  std::vector<int> Budgets(const ReportRun& run) const {
    int longest = 0;
    for (uint64_t index : problems_) {
      const ProblemResult& problem = run.eval->problems.at(index);
      if (!problem.samples.empty()) longest = std::max(longest, problem.samples[0].tokens);
    }
    std::vector<int> budgets = {0};
    for (int budget = 4; budget < longest; budget *= 2) {
      budgets.push_back(budget);
      if (budget * 3 / 2 < longest) budgets.push_back(budget * 3 / 2);
    }
    budgets.push_back(longest);
    return budgets;
  }

  absl::StatusOr<json> EarlyAnswers(const LocalModel& local, const ReportRun& run) const {
    std::map<int, std::pair<double, double>> right;  // by budget: sum, count
    std::vector<Forced> forced;
    for (uint64_t index : problems_) {
      const ProblemResult& problem = run.eval->problems.at(index);
      if (problem.samples.empty() || !problem.samples[0].judged) continue;
      const SampleResult& sample = problem.samples[0];
      for (int budget : Budgets(run)) {
        if (sample.tokens <= budget) {
          right[budget].first += sample.correct ? 1 : 0;
          right[budget].second += 1;
        } else {
          forced.push_back({&problem, budget, ""});
        }
      }
    }
    COHORT_RETURN_IF_ERROR(JudgeForced(local, run, &forced, &right));
    return EarlyJson(right);
  }

  static json EarlyJson(const std::map<int, std::pair<double, double>>& right) {
    json points = json::array();
    if (right.empty()) return {{"points", points}};
    const auto accuracy = [](const std::pair<double, double>& sum) {
      return sum.second > 0 ? sum.first / sum.second : 0;
    };
    const double full = accuracy(right.rbegin()->second);
    int smallest = right.rbegin()->first;
    for (auto it = right.rbegin(); it != right.rend(); ++it) {
      if (accuracy(it->second) >= full - 0.01) smallest = std::min(smallest, it->first);
    }
    for (const auto& [budget, sum] : right) {
      points.push_back({{"budget", budget}, {"accuracy", accuracy(sum)}, {"problems", sum.second}});
    }
    return {{"points", points}, {"full_accuracy", full}, {"smallest_budget", smallest}};
  }

  absl::Status JudgeForced(const LocalModel& local, const ReportRun& run,
                           std::vector<Forced>* forced,
                           std::map<int, std::pair<double, double>>* right) const {
    const json& header = run.eval->header;
    SourceOptions source_options;
    source_options.path = header.value("data", std::string());
    if (source_options.path.empty()) source_options.task = header.value("source", std::string());
    source_options.seed = header.value("seed", uint64_t{0});
    COHORT_ASSIGN_OR_RETURN(const auto source, MakeSource(source_options));
    COHORT_ASSIGN_OR_RETURN(const auto rewards, RewardSet::Create({}, 0));
    COHORT_ASSIGN_OR_RETURN(const std::vector<int32_t> cue,
                            local.tokenizer->Encode(options_.early_answer, false));
    COHORT_ASSIGN_OR_RETURN(const auto engine, MakeLocalEngine(local, 64));
    const Split split =
        header.value("split", std::string()) == "train" ? Split::kTrain : Split::kHeldout;
    size_t next = 0, taken = 0;
    const auto request = [&]() -> absl::StatusOr<std::optional<GroupRequest>> {
      if (next >= forced->size()) return std::nullopt;
      Forced& one = (*forced)[next];
      const std::vector<int32_t>& ids = one.problem->samples[0].ids;
      const std::vector<int32_t> said(ids.begin(), ids.begin() + one.budget);
      COHORT_ASSIGN_OR_RETURN(one.before, local.tokenizer->Decode(said, true));
      one.before += options_.early_answer;
      GroupRequest made;
      made.id = static_cast<GroupId>(++next);
      made.prompt = one.problem->prompt_ids;
      made.prompt.insert(made.prompt.end(), said.begin(), said.end());
      made.prompt.insert(made.prompt.end(), cue.begin(), cue.end());
      SamplePlan plan;
      plan.temperature = 0;
      plan.max_new_tokens = options_.answer_tokens;
      made.plans = {plan};
      return made;
    };
    return GenerateInOrder(*engine, request, [&](const FinishedGroup& group) -> absl::Status {
      const Forced& one = (*forced)[taken++];
      if (absl::IsOutOfRange(group.status)) return absl::OkStatus();  // no room for an answer
      COHORT_RETURN_IF_ERROR(group.status);
      COHORT_ASSIGN_OR_RETURN(const Prompt prompt, source->At(one.problem->index, split));
      RewardInput input;
      COHORT_ASSIGN_OR_RETURN(input.prompt,
                              MakeRewardPrompt(prompt.columns_json, prompt.reward, group.id));
      COHORT_ASSIGN_OR_RETURN(const std::string answer,
                              local.tokenizer->Decode(group.group.rows[0].tokens, true));
      input.completion = one.before + answer;
      const RowReward reward = rewards->Score({input})[0];
      if (reward.unscorable || !reward.judged) return absl::OkStatus();
      (*right)[one.budget].first += reward.correct ? 1 : 0;
      (*right)[one.budget].second += 1;
      return absl::OkStatus();
    });
  }

  const std::vector<ReportRun>& runs_;
  const size_t base_;
  const ModelAnalysisOptions& options_;
  Cache cache_;
  json& out_;
  std::vector<uint64_t> problems_;
};

}  // namespace

absl::Status AddModelAnalyses(const std::vector<ReportRun>& runs, size_t base,
                              const ModelAnalysisOptions& options, json* numbers) try {
  const c10::NoGradGuard no_grad;
  return Analyses(runs, base, options, numbers).Run();
} catch (const std::exception& error) {
  const std::string text = error.what();
  return absl::InternalError(absl::StrCat("report: ", text.substr(0, text.find('\n'))));
}

}  // namespace cohort

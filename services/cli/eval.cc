// `cohort eval`: problems, several samples each, judged; pass@k, avg@k and maj@k with intervals.
//
// This process samples, or `--workers N` do it as in training: a learner process leases the
// problems, N rollout workers sample and score them (eval_workers.h), and this process counts.
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/model/model_config.h"
#include "common/model/model_hash.h"
#include "common/telemetry/jsonl_writer.h"
#include "common/wire/group_file.h"
#include "services/cli/accuracy.h"
#include "services/cli/commands.h"
#include "services/cli/eval_workers.h"
#include "services/cli/evaluator.h"
#include "services/cli/local_engine.h"

namespace cohort {
namespace {

using nlohmann::json;

constexpr int kProgressEvery = 16;  // problems

EvaluatorOptions MakeOptions(const EvalArgs& args) {
  EvaluatorOptions options;
  options.source.task = args.task;
  options.source.path = args.data;
  options.source.reward = args.reward;
  options.source.seed = args.seed;
  options.split = args.split == "train" ? Split::kTrain : Split::kHeldout;
  options.prompts = args.prompts;
  options.samples = args.samples;
  options.temperature = args.temperature;
  options.top_p = args.top_p;
  options.max_new_tokens = args.max_new_tokens;
  options.seed = args.seed;
  options.keep = args.keep;
  options.em_inf = args.em_inf;
  return options;
}

std::vector<ProblemScore> Scores(const EvalResults& results) {
  std::vector<ProblemScore> scores;
  for (const auto& [index, problem] : results.problems) {
    if (problem.too_long) continue;
    const ProblemCount count = problem.Count();
    scores.push_back({static_cast<int>(count.correct), static_cast<int>(count.samples)});
  }
  return scores;
}

// Sums over all samples.
struct Totals {
  double samples = 0, truncated = 0, tokens = 0, entropy = 0;
  int64_t unscorable = 0, too_long = 0;

  explicit Totals(const EvalResults& results) {
    for (const auto& [index, problem] : results.problems) {
      too_long += problem.too_long ? 1 : 0;
      for (const SampleResult& sample : problem.samples) {
        samples += 1;
        truncated += sample.truncated ? 1 : 0;
        tokens += sample.tokens;
        entropy += sample.entropy * sample.tokens;
        unscorable += sample.unscorable ? 1 : 0;
      }
    }
  }
};

json EmInfJson(const std::optional<EmInfOptions>& em_inf) {
  if (!em_inf) return nullptr;
  return {{"lr", em_inf->lr},
          {"steps", em_inf->steps},
          {"kl_weight", em_inf->kl_weight},
          {"threshold", em_inf->threshold}};
}

double Share(double part, double whole) { return whole > 0 ? part / whole : 0; }

class EvalCommand {
 public:
  explicit EvalCommand(const EvalArgs& args) : args_(args), options_(MakeOptions(args)) {}

  absl::Status Run() {
    COHORT_RETURN_IF_ERROR(Open());
    const absl::Time start = absl::Now();
    if (Missing() > 0) {
      COHORT_RETURN_IF_ERROR(args_.workers > 1 ? RunWorkers() : RunHere());
    }
    seconds_ = absl::ToDoubleSeconds(absl::Now() - start);
    return Report();
  }

 private:
  std::string ResultsPath() const {
    if (!args_.results.empty()) return args_.results;
    if (args_.out.empty()) return "";
    return absl::StrCat(absl::StripSuffix(args_.out, ".json"), ".jsonl");
  }
  // Of the processes of --workers, as long as the evaluation is not complete.
  std::string FleetFolder() const { return path_ + ".fleet"; }
  std::string GroupsPath() const { return FleetFolder() + "/groups"; }

  absl::Status CheckKs() {
    ks_ = args_.ks.empty() ? PowersOfTwoUpTo(args_.samples) : args_.ks;
    std::sort(ks_.begin(), ks_.end());
    for (int64_t k : ks_) {
      if (k >= 1 && k <= args_.samples) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("--k ", k, ": expected 1 <= k <= --samples (", args_.samples, ")"));
    }
    return absl::OkStatus();
  }

  absl::Status Open() {
    COHORT_RETURN_IF_ERROR(CheckKs());
    COHORT_ASSIGN_OR_RETURN(const auto source, MakeSource(options_.source));
    count_ = CountProblems(*source, options_.split, args_.prompts);
    COHORT_ASSIGN_OR_RETURN(const std::string hash, ModelContentHash(args_.model));
    results_.header = {{"kind", "eval"},
                       {"model_sha256", hash},
                       {"source", source->name()},
                       {"split", args_.split},
                       {"reward", source->reward()},
                       {"samples", args_.samples},
                       {"temperature", args_.temperature},
                       {"top_p", args_.top_p},
                       {"max_new_tokens", args_.max_new_tokens},
                       {"seed", args_.seed},
                       {"em_inf", EmInfJson(args_.em_inf)}};
    path_ = ResultsPath();
    if (args_.resume && path_.empty()) {
      return absl::InvalidArgumentError("--resume needs --results FILE.jsonl or --out FILE.json");
    }
    if (args_.resume) COHORT_RETURN_IF_ERROR(TakeEarlierResults());
    results_.header["model"] = args_.model;
    results_.header["data"] = args_.data;
    if (path_.empty() && args_.workers > 1) {
      folder_ = std::make_unique<TemporaryFolder>();
      path_ = folder_->path() + "/results.jsonl";
    }
    if (path_.empty()) return absl::OkStatus();
    if (!args_.resume) RemoveFleetFolder();
    return WriteEvalResults(path_, results_);
  }

  // What an interrupted evaluation left: its file, and the groups that its workers sent.
  absl::Status TakeEarlierResults() {
    if (!std::filesystem::exists(path_)) return absl::OkStatus();
    COHORT_ASSIGN_OR_RETURN(EvalResults earlier, ReadEvalResults(path_));
    COHORT_RETURN_IF_ERROR(CheckSameEvaluation(path_, earlier.header, results_.header));
    for (auto& [index, problem] : earlier.problems) {
      if (index < count_) results_.problems[index] = std::move(problem);
    }
    if (std::filesystem::exists(GroupsPath())) {
      COHORT_ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Load(args_.model));
      COHORT_ASSIGN_OR_RETURN(const auto evaluator, Evaluator::Create(options_, tokenizer.get()));
      COHORT_RETURN_IF_ERROR(TakeGroups(*evaluator));
    }
    if (!results_.problems.empty()) {
      std::cerr << "cohort eval: " << results_.problems.size() << " of " << count_
                << " problems are there already" << std::endl;
    }
    return absl::OkStatus();
  }

  absl::Status TakeGroups(const Evaluator& evaluator) {
    COHORT_ASSIGN_OR_RETURN(const std::vector<Group> groups, ReadGroupFile(GroupsPath()));
    for (const Group& group : groups) {
      if (group.ordinal >= count_ || results_.problems.count(group.ordinal) > 0) continue;
      COHORT_ASSIGN_OR_RETURN(results_.problems[group.ordinal], evaluator.FromGroup(group));
    }
    return absl::OkStatus();
  }

  void RemoveFleetFolder() const {
    std::error_code ignored;
    std::filesystem::remove_all(FleetFolder(), ignored);
  }

  uint64_t Missing() const {
    uint64_t missing = 0;
    for (uint64_t i = 0; i < count_; ++i) missing += Wanted(i) ? 1 : 0;
    return missing;
  }
  bool Wanted(uint64_t index) const { return results_.problems.count(index) == 0; }

  absl::Status RunHere() {
    COHORT_ASSIGN_OR_RETURN(
        const LocalModel local,
        LoadLocalModelAndTokenizer(args_.model, args_.dtype, args_.device, args_.threads));
    COHORT_ASSIGN_OR_RETURN(const auto evaluator,
                            Evaluator::Create(options_, local.tokenizer.get()));
    std::unique_ptr<JsonlWriter> writer;
    if (!path_.empty()) {
      COHORT_ASSIGN_OR_RETURN(writer, JsonlWriter::Open(path_));
    }
    return evaluator->Run(
        *local.model, [this](uint64_t index) { return Wanted(index); },
        [&](const ProblemResult& problem) -> absl::Status {
          if (problem.too_long) SayTooLong(problem.index);
          results_.problems[problem.index] = problem;
          Progress(results_.problems.size());
          return writer == nullptr ? absl::OkStatus() : writer->WriteLine(ProblemLine(problem));
        });
  }

  // ---- workers ----

  absl::Status RunWorkers() {
    COHORT_ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Load(args_.model));
    EvalFleet fleet;
    fleet.folder = FleetFolder();
    fleet.groups = GroupsPath();
    fleet.chat_template = tokenizer->has_chat_template();
    for (const auto& [index, problem] : results_.problems) fleet.done.push_back(index);
    fleet.progress = [this, done = fleet.done.size()](int64_t groups) {
      Progress(done + static_cast<size_t>(groups));
    };
    // Those that were taken from the file are in `done`.
    std::error_code ignored;
    std::filesystem::remove(fleet.groups, ignored);
    const absl::Status sampled = SampleByWorkers(args_, fleet);
    COHORT_ASSIGN_OR_RETURN(const auto evaluator, Evaluator::Create(options_, tokenizer.get()));
    if (std::filesystem::exists(fleet.groups)) COHORT_RETURN_IF_ERROR(TakeGroups(*evaluator));
    COHORT_RETURN_IF_ERROR(WriteEvalResults(path_, results_));
    std::filesystem::remove(fleet.groups, ignored);
    COHORT_RETURN_IF_ERROR(sampled);
    COHORT_RETURN_IF_ERROR(AccountForTheRest(*evaluator));
    COHORT_RETURN_IF_ERROR(WriteEvalResults(path_, results_));
    RemoveFleetFolder();
    return absl::OkStatus();
  }

  // Workers are not asked for prompts that do not fit, and may give one up.
  absl::Status AccountForTheRest(const Evaluator& evaluator) {
    COHORT_ASSIGN_OR_RETURN(const ModelConfig model, LoadModelConfig(args_.model));
    for (uint64_t i = 0; i < count_; ++i) {
      if (!Wanted(i)) continue;
      COHORT_ASSIGN_OR_RETURN(std::optional<ProblemResult> problem,
                              evaluator.IfTooLong(i, model.max_position_embeddings));
      if (!problem) {
        return absl::UnavailableError(
            absl::StrCat("problem ", i, " could not be sampled by any worker; ", FleetFolder(),
                         "/logs say why, --resume tries", " again"));
      }
      SayTooLong(i);
      results_.problems[i] = *std::move(problem);
    }
    return absl::OkStatus();
  }

  static void SayTooLong(uint64_t index) {
    std::cerr << "cohort eval: problem " << index << " is longer than the model's context; skipped"
              << std::endl;
  }

  void Progress(size_t done) {
    if (done < shown_ + kProgressEvery || done == count_) return;
    shown_ = done;
    std::cerr << "cohort eval: " << done << " of " << count_ << " problems" << std::endl;
  }

  // ---- report ----

  absl::Status Report() const {
    const Accuracy accuracy = MeanAccuracy(Scores(results_), args_.seed);
    const Totals totals(results_);
    const std::string source = results_.header["source"];
    if (accuracy.problems == 0) {
      return absl::FailedPreconditionError(absl::StrCat(
          "no completion could be judged: ", totals.too_long, " prompts were too long, ",
          totals.unscorable, " completions unscorable (verifier ",
          std::string(results_.header["reward"]), ")"));
    }
    std::cout << absl::StrFormat(
                     "%s (%s): accuracy %.4f, 95 %% interval [%.4f, %.4f] (%s), %d problems x %d "
                     "samples",
                     source, args_.split, accuracy.mean, accuracy.low, accuracy.high,
                     accuracy.method, accuracy.problems, args_.samples)
              << std::endl;
    COHORT_ASSIGN_OR_RETURN(const auto pass, PassCurve(results_, ks_, args_.seed));
    COHORT_ASSIGN_OR_RETURN(const auto average, AverageCurve(results_, ks_, args_.seed));
    COHORT_ASSIGN_OR_RETURN(const auto majority, MajorityCurve(results_, ks_, args_.seed));
    if (args_.samples > 1 || !args_.ks.empty()) PrintCurves(pass, average, majority);
    std::cout << absl::StrFormat(
                     "length %.1f tokens, truncated %.1f %%, entropy %.3f nats per token",
                     Share(totals.tokens, totals.samples),
                     100 * Share(totals.truncated, totals.samples),
                     Share(totals.entropy, totals.tokens))
              << std::endl;
    if (args_.out.empty()) return absl::OkStatus();
    json result = Result(accuracy, totals);
    result["pass_at_k"] = CurveJson(pass);
    result["avg_at_k"] = CurveJson(average);
    result["maj_at_k"] = CurveJson(majority);
    result["maj_votes"] =
        "canonical answers (equal values vote together); of all samples ties go to the first, of "
        "fewer "
        "the exact expectation";
    return WriteFileAtomic(args_.out,
                           result.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
  }

  static void PrintCurves(const std::vector<MetricAtK>& pass, const std::vector<MetricAtK>& average,
                          const std::vector<MetricAtK>& majority) {
    const auto cell = [](const MetricAtK& metric) {
      return absl::StrFormat("%.4f [%.4f, %.4f]", metric.value.mean, metric.value.low,
                             metric.value.high);
    };
    std::cout << absl::StrFormat("%6s  %-24s  %-24s  %-24s\n", "k", "pass@k", "avg@k", "maj@k");
    for (size_t i = 0; i < pass.size(); ++i) {
      std::cout << absl::StrFormat("%6d  %-24s  %-24s  %-24s\n", pass[i].k, cell(pass[i]),
                                   cell(average[i]), cell(majority[i]));
    }
  }

  json Result(const Accuracy& accuracy, const Totals& totals) const {
    json problems = json::array();
    for (const auto& [index, problem] : results_.problems) {
      if (problem.too_long) continue;
      const ProblemCount count = problem.Count();
      problems.push_back(
          {{"index", index},
           {"answer", problem.answer},
           {"correct", count.correct},
           {"samples", count.samples},
           {"first_completion", problem.samples.empty() ? "" : problem.samples[0].text}});
    }
    json result = {{"model", args_.model},
                   {"accuracy", accuracy.mean},
                   {"interval", {accuracy.low, accuracy.high}},
                   {"interval_method", accuracy.method},
                   {"problems", accuracy.problems},
                   {"skipped_too_long", totals.too_long},
                   {"unscorable", totals.unscorable},
                   {"truncated_share", Share(totals.truncated, totals.samples)},
                   {"mean_response_tokens", Share(totals.tokens, totals.samples)},
                   {"mean_entropy", Share(totals.entropy, totals.tokens)},
                   {"seconds", seconds_},
                   {"results", path_},
                   {"per_problem", problems}};
    for (const char* key : {"source", "split", "reward", "samples", "temperature", "top_p",
                            "max_new_tokens", "seed", "em_inf", "model_sha256"}) {
      result[key] = results_.header[key];
    }
    result.update(SampleMeans(results_));
    return result;
  }

  const EvalArgs& args_;
  const EvaluatorOptions options_;
  std::vector<int64_t> ks_;
  uint64_t count_ = 0;  // problems to evaluate
  std::string path_;    // of the results; empty: none
  std::unique_ptr<TemporaryFolder> folder_;
  EvalResults results_;
  size_t shown_ = 0;
  double seconds_ = 0;
};

}  // namespace

int RunEval(const EvalArgs& args) {
  const absl::Status status = EvalCommand(args).Run();
  return status.ok() ? 0 : Fail("eval", status);
}

}  // namespace cohort

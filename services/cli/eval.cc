#include <algorithm>
#include <cstdio>
#include <deque>
#include <iostream>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/ids.h"
#include "common/base/status_macros.h"
#include "common/rewards/reward_set.h"
#include "common/tasks/prompt_source.h"
#include "services/cli/accuracy.h"
#include "services/cli/commands.h"
#include "services/cli/local_engine.h"

namespace cohort {
namespace {

using nlohmann::json;

constexpr int kMaxRows = 64;
constexpr uint64_t kEndlessPrompts = 64;  // of a task whose split has no end

class Evaluation {
 public:
  Evaluation(const EvalArgs& args, const LocalModel& local) : args_(args), local_(local) {}

  absl::Status Run() {
    COHORT_RETURN_IF_ERROR(Open());
    COHORT_ASSIGN_OR_RETURN(const auto engine,
                            MakeLocalEngine(local_, std::max(kMaxRows, args_.samples)));
    const absl::Time start = absl::Now();
    COHORT_RETURN_IF_ERROR(GenerateInOrder(
        *engine, [this] { return Next(); },
        [this](const FinishedGroup& group) { return Take(group); }));
    seconds_ = absl::ToDoubleSeconds(absl::Now() - start);
    return Report();
  }

 private:
  absl::Status Open() {
    SourceOptions options;
    options.task = args_.task;
    options.path = args_.data;
    options.seed = args_.seed;
    COHORT_ASSIGN_OR_RETURN(source_, MakeSource(options));
    COHORT_ASSIGN_OR_RETURN(rewards_, RewardSet::Create({}, args_.seed));
    split_ = args_.split == "train" ? Split::kTrain : Split::kHeldout;
    const uint64_t size = source_->Size(split_);
    const auto asked = static_cast<uint64_t>(args_.prompts);
    count_ = asked > 0 ? asked : kEndlessPrompts;
    if (size > 0) count_ = asked > 0 ? std::min(asked, size) : size;
    return absl::OkStatus();
  }

  absl::StatusOr<std::optional<GroupRequest>> Next() {
    if (next_ >= count_) return std::nullopt;
    COHORT_ASSIGN_OR_RETURN(Prompt prompt, source_->At(next_, split_));
    GroupRequest request;
    request.id = MakeGroupId(args_.seed, next_, Purpose::kEval);
    request.ordinal = next_++;
    request.purpose = Purpose::kEval;
    COHORT_ASSIGN_OR_RETURN(request.prompt, EncodePrompt(prompt, {}, *local_.tokenizer));
    SamplePlan plan;
    plan.temperature = static_cast<float>(args_.temperature);
    plan.max_new_tokens = args_.max_new_tokens;
    request.plans.assign(static_cast<size_t>(args_.samples), plan);
    pending_.push_back(std::move(prompt));
    return request;
  }

  absl::Status Take(const FinishedGroup& finished) {
    const Prompt prompt = std::move(pending_.front());
    pending_.pop_front();
    if (absl::IsOutOfRange(finished.status)) {
      ++skipped_;
      std::cerr << "cohort eval: prompt " << finished.id << ": "
                << std::string(finished.status.message()) << "; skipped" << std::endl;
      return absl::OkStatus();
    }
    COHORT_RETURN_IF_ERROR(finished.status);
    return ScoreGroup(prompt, finished.group);
  }

  absl::Status ScoreGroup(const Prompt& prompt, const Group& group) {
    COHORT_ASSIGN_OR_RETURN(const auto reward_prompt,
                            MakeRewardPrompt(prompt.columns_json, prompt.reward, group.id));
    std::vector<RewardInput> inputs;
    for (const Row& row : group.rows) {
      RewardInput input;
      input.prompt = reward_prompt;
      COHORT_ASSIGN_OR_RETURN(input.completion, local_.tokenizer->Decode(row.tokens, true));
      input.response_tokens = static_cast<int32_t>(row.tokens.size());
      input.truncated = row.finish == FinishReason::kLength;
      input.row = static_cast<int32_t>(inputs.size());
      truncated_ += input.truncated ? 1 : 0;
      tokens_ += input.response_tokens;
      inputs.push_back(std::move(input));
    }
    ProblemScore score;
    for (const RowReward& row : rewards_->Score(inputs)) {
      if (row.unscorable) ++unscorable_;
      if (row.unscorable || !row.judged) continue;
      ++score.samples;
      score.correct += row.correct ? 1 : 0;
    }
    scores_.push_back(score);
    problems_.push_back({{"index", group.ordinal},
                         {"answer", prompt.answer},
                         {"correct", score.correct},
                         {"samples", score.samples},
                         {"first_completion", inputs[0].completion}});
    Progress();
    return absl::OkStatus();
  }

  void Progress() const {
    if (scores_.size() % 16 != 0) return;
    std::cerr << "cohort eval: " << scores_.size() << " of " << count_ << " problems, accuracy "
              << absl::StrFormat("%.3f", MeanAccuracy(scores_, args_.seed).mean) << std::endl;
  }

  absl::Status Report() const {
    const Accuracy accuracy = MeanAccuracy(scores_, args_.seed);
    if (accuracy.problems == 0) {
      return absl::FailedPreconditionError(
          absl::StrCat("no completion could be judged: ", skipped_, " prompts were too long, ",
                       unscorable_, " completions unscorable (verifier ", source_->reward(), ")"));
    }
    std::cout << absl::StrFormat(
                     "%s (%s): accuracy %.4f, 95 %% interval [%.4f, %.4f] (%s), %d problems x %d "
                     "samples",
                     source_->name(), args_.split, accuracy.mean, accuracy.low, accuracy.high,
                     accuracy.method, accuracy.problems, args_.samples)
              << std::endl;
    if (args_.out.empty()) return absl::OkStatus();
    return WriteFileAtomic(args_.out, Result(accuracy).dump(2) + "\n");
  }

  json Result(const Accuracy& accuracy) const {
    const double rows = std::max<double>(1, static_cast<double>(scores_.size()) * args_.samples);
    return {{"model", args_.model},
            {"source", source_->name()},
            {"split", args_.split},
            {"reward", source_->reward()},
            {"samples", args_.samples},
            {"temperature", args_.temperature},
            {"max_new_tokens", args_.max_new_tokens},
            {"seed", args_.seed},
            {"accuracy", accuracy.mean},
            {"interval", {accuracy.low, accuracy.high}},
            {"interval_method", accuracy.method},
            {"problems", accuracy.problems},
            {"skipped_too_long", skipped_},
            {"unscorable", unscorable_},
            {"truncated_share", static_cast<double>(truncated_) / rows},
            {"mean_response_tokens", static_cast<double>(tokens_) / rows},
            {"seconds", seconds_},
            {"per_problem", problems_}};
  }

  const EvalArgs& args_;
  const LocalModel& local_;
  std::unique_ptr<PromptSource> source_;
  std::unique_ptr<RewardSet> rewards_;
  Split split_ = Split::kHeldout;
  uint64_t count_ = 0;  // prompts to evaluate
  uint64_t next_ = 0;
  std::deque<Prompt> pending_;  // in the engine, in order
  std::vector<ProblemScore> scores_;
  json problems_ = json::array();
  int64_t skipped_ = 0;
  int64_t unscorable_ = 0;
  int64_t truncated_ = 0;
  int64_t tokens_ = 0;
  double seconds_ = 0;
};

}  // namespace

int RunEval(const EvalArgs& args) {
  const auto local = LoadLocalModelAndTokenizer(args.model, args.dtype, args.device, args.threads);
  if (!local.ok()) return Fail("eval", local.status());
  const absl::Status status = Evaluation(args, *local).Run();
  return status.ok() ? 0 : Fail("eval", status);
}

}  // namespace cohort

#include "services/cli/evaluator.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/ids.h"
#include "common/base/status_macros.h"
#include "common/rl/metrics.h"
#include "common/text/response_text.h"
#include "services/cli/local_engine.h"

namespace cohort {
namespace {

constexpr int kMaxRows = 64;
constexpr uint64_t kEndlessPrompts = 64;  // of a task whose split has no end

std::string PromptText(const Prompt& prompt) {
  std::string text;
  for (const ChatMessage& message : prompt.messages) {
    absl::StrAppend(&text, text.empty() ? "" : "\n", message.content);
  }
  return text;
}

void DescribeEntropies(const Group& group, ProblemResult* problem) {
  problem->entropy_histogram.assign(kEntropyBins, 0);
  std::vector<double> entropies;
  for (const Row& row : group.rows)
    entropies.insert(entropies.end(), row.entropy.begin(), row.entropy.end());
  for (const double entropy : entropies) {
    const double bin = std::max(0.0, entropy) / kEntropyBinWidth;
    ++problem->entropy_histogram[std::min(kEntropyBins - 1, static_cast<size_t>(bin))];
  }
  if (!entropies.empty()) problem->top_entropy = TopShareMean(std::move(entropies), kTopShare);
}

ProblemResult TooLong(const Prompt& prompt) {
  ProblemResult problem;
  problem.index = prompt.ordinal;
  problem.prompt = PromptText(prompt);
  problem.answer = prompt.answer;
  problem.too_long = true;
  return problem;
}

// The first right completion, where none of those that are kept is right.
void KeepARightOne(const std::vector<std::string>& completions, ProblemResult* problem) {
  for (size_t i = 0; i < completions.size(); ++i) {
    const SampleResult& sample = problem->samples[i];
    if (!sample.correct) continue;
    if (sample.ids.empty()) problem->right_text = completions[i];
    return;
  }
}

}  // namespace

uint64_t CountProblems(const PromptSource& source, Split split, int prompts) {
  const uint64_t size = source.Size(split);
  const auto asked = static_cast<uint64_t>(std::max(0, prompts));
  if (asked == 0 && size != kEndless) return size;
  return std::min(asked > 0 ? asked : kEndlessPrompts, size);
}

absl::StatusOr<std::unique_ptr<Evaluator>> Evaluator::Create(const EvaluatorOptions& options,
                                                             const Tokenizer* tokenizer) {
  std::unique_ptr<Evaluator> evaluator(new Evaluator(options, tokenizer));
  COHORT_ASSIGN_OR_RETURN(evaluator->source_, MakeSource(options.source));
  COHORT_ASSIGN_OR_RETURN(evaluator->rewards_, RewardSet::Create({}, options.seed));
  evaluator->count_ = CountProblems(*evaluator->source_, options.split, options.prompts);
  return evaluator;
}

absl::StatusOr<GroupRequest> Evaluator::MakeRequest(const Prompt& prompt, uint64_t index) const {
  GroupRequest request;
  request.id = MakeGroupId(options_.seed, index, Purpose::kEval);
  request.ordinal = index;
  request.purpose = Purpose::kEval;
  request.with_entropy = true;
  COHORT_ASSIGN_OR_RETURN(request.prompt, EncodePrompt(prompt, options_.format, *tokenizer_));
  SamplePlan plan;
  plan.temperature = static_cast<float>(options_.temperature);
  plan.top_p = static_cast<float>(options_.top_p);
  plan.max_new_tokens = options_.max_new_tokens;
  request.plans.assign(static_cast<size_t>(options_.samples), plan);
  return request;
}

absl::Status Evaluator::Run(const CausalLm& model, const std::function<bool(uint64_t)>& wanted,
                            const std::function<absl::Status(const ProblemResult&)>& take) {
  EngineOptions engine_options;
  engine_options.max_rows = std::max(kMaxRows, options_.samples);
  engine_options.stop_tokens = tokenizer_->eos_ids();
  engine_options.tokenizer = tokenizer_;
  engine_options.em_inf = options_.em_inf;
  COHORT_ASSIGN_OR_RETURN(const auto engine, GroupGenerator::Create(&model, engine_options));
  uint64_t next = 0;
  std::deque<Prompt> pending;  // in the engine, in order
  const auto request = [&]() -> absl::StatusOr<std::optional<GroupRequest>> {
    while (next < count_ && wanted && !wanted(next)) ++next;
    if (next >= count_) return std::nullopt;
    COHORT_ASSIGN_OR_RETURN(Prompt prompt, source_->At(next, options_.split));
    COHORT_ASSIGN_OR_RETURN(GroupRequest made, MakeRequest(prompt, next));
    prompt.ordinal = next++;
    pending.push_back(std::move(prompt));
    return made;
  };
  return GenerateInOrder(*engine, request, [&](const FinishedGroup& finished) -> absl::Status {
    const Prompt prompt = std::move(pending.front());
    pending.pop_front();
    if (absl::IsOutOfRange(finished.status)) return take(TooLong(prompt));
    COHORT_RETURN_IF_ERROR(finished.status);
    COHORT_ASSIGN_OR_RETURN(const ProblemResult problem, Judge(prompt, finished.group));
    return take(problem);
  });
}

absl::StatusOr<SampleResult> Evaluator::DescribeRow(const Row& row, std::string* completion) const {
  SampleResult sample;
  COHORT_ASSIGN_OR_RETURN(*completion, ResponseText(*tokenizer_, row.tokens));
  sample.tokens = static_cast<int>(row.tokens.size());
  sample.truncated = row.finish == FinishReason::kLength;
  for (float logprob : row.logprobs) sample.logprob += static_cast<double>(logprob);
  for (float entropy : row.entropy) sample.entropy += static_cast<double>(entropy);
  if (!row.entropy.empty()) sample.entropy /= static_cast<double>(row.entropy.size());
  return sample;
}

// All but the verdicts.
absl::StatusOr<ProblemResult> Evaluator::Describe(const Prompt& prompt, const Group& group,
                                                  std::vector<std::string>* completions) const {
  ProblemResult problem;
  problem.index = prompt.ordinal;
  problem.prompt = PromptText(prompt);
  problem.answer = prompt.answer;
  problem.prompt_ids = group.prompt;
  DescribeEntropies(group, &problem);
  for (const Row& row : group.rows) {
    std::string completion;
    COHORT_ASSIGN_OR_RETURN(SampleResult sample, DescribeRow(row, &completion));
    sample.answer = VotingAnswer(prompt.reward, completion);
    if (static_cast<int>(problem.samples.size()) < options_.keep) {
      sample.text = completion;
      sample.ids = row.tokens;
    }
    problem.samples.push_back(std::move(sample));
    completions->push_back(std::move(completion));
  }
  return problem;
}

absl::StatusOr<ProblemResult> Evaluator::Judge(const Prompt& prompt, const Group& group) {
  COHORT_ASSIGN_OR_RETURN(const auto reward_prompt,
                          MakeRewardPrompt(prompt.columns_json, prompt.reward, group.id));
  std::vector<std::string> completions;
  COHORT_ASSIGN_OR_RETURN(ProblemResult problem, Describe(prompt, group, &completions));
  std::vector<RewardInput> inputs(completions.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    inputs[i].prompt = reward_prompt;
    inputs[i].row = static_cast<int32_t>(i);
    inputs[i].completion = completions[i];
    inputs[i].response_tokens = problem.samples[i].tokens;
    inputs[i].truncated = problem.samples[i].truncated;
  }
  const std::vector<RowReward> rewards = rewards_->Score(inputs);
  for (size_t i = 0; i < rewards.size(); ++i) {
    SampleResult& sample = problem.samples[i];
    sample.unscorable = rewards[i].unscorable;
    sample.judged = rewards[i].judged && !rewards[i].unscorable;
    sample.correct = sample.judged && rewards[i].correct;
  }
  KeepARightOne(completions, &problem);
  return problem;
}

absl::StatusOr<ProblemResult> Evaluator::FromGroup(const Group& group) const {
  COHORT_ASSIGN_OR_RETURN(Prompt prompt, source_->At(group.ordinal, options_.split));
  prompt.ordinal = group.ordinal;
  std::vector<std::string> completions;
  COHORT_ASSIGN_OR_RETURN(ProblemResult problem, Describe(prompt, group, &completions));
  for (size_t i = 0; i < group.rows.size(); ++i) {
    const Row& row = group.rows[i];
    SampleResult& sample = problem.samples[i];
    sample.unscorable = row.unscorable;
    sample.judged = !row.unscorable && !std::isnan(row.truth);
    sample.correct = sample.judged && row.truth > 0.5f;
  }
  KeepARightOne(completions, &problem);
  return problem;
}

absl::StatusOr<std::optional<ProblemResult>> Evaluator::IfTooLong(uint64_t index,
                                                                  int64_t context) const {
  COHORT_ASSIGN_OR_RETURN(Prompt prompt, source_->At(index, options_.split));
  COHORT_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                          EncodePrompt(prompt, options_.format, *tokenizer_));
  if (static_cast<int64_t>(ids.size()) + options_.max_new_tokens <= context) return std::nullopt;
  prompt.ordinal = index;
  return TooLong(prompt);
}

}  // namespace cohort

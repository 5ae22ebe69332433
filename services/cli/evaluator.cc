#include "services/cli/evaluator.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/ids.h"
#include "common/base/status_macros.h"
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

void CountEntropies(const Row& row, std::vector<int64_t>* histogram) {
  for (float entropy : row.entropy) {
    const double bin = std::max(0.0, static_cast<double>(entropy)) / kEntropyBinWidth;
    ++(*histogram)[std::min(kEntropyBins - 1, static_cast<size_t>(bin))];
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
    if (absl::IsOutOfRange(finished.status)) {
      ProblemResult problem;
      problem.index = prompt.ordinal;
      problem.prompt = PromptText(prompt);
      problem.answer = prompt.answer;
      problem.too_long = true;
      return take(problem);
    }
    COHORT_RETURN_IF_ERROR(finished.status);
    COHORT_ASSIGN_OR_RETURN(const ProblemResult problem, Judge(prompt, finished.group));
    return take(problem);
  });
}

absl::StatusOr<SampleResult> Evaluator::Describe(const Row& row, RewardInput* input) const {
  SampleResult sample;
  COHORT_ASSIGN_OR_RETURN(input->completion, tokenizer_->Decode(row.tokens, true));
  sample.tokens = static_cast<int>(row.tokens.size());
  sample.truncated = row.finish == FinishReason::kLength;
  input->response_tokens = sample.tokens;
  input->truncated = sample.truncated;
  for (float logprob : row.logprobs) sample.logprob += static_cast<double>(logprob);
  for (float entropy : row.entropy) sample.entropy += static_cast<double>(entropy);
  if (!row.entropy.empty()) sample.entropy /= static_cast<double>(row.entropy.size());
  return sample;
}

absl::StatusOr<ProblemResult> Evaluator::Judge(const Prompt& prompt, const Group& group) {
  COHORT_ASSIGN_OR_RETURN(const auto reward_prompt,
                          MakeRewardPrompt(prompt.columns_json, prompt.reward, group.id));
  ProblemResult problem;
  problem.index = prompt.ordinal;
  problem.prompt = PromptText(prompt);
  problem.answer = prompt.answer;
  problem.prompt_ids = group.prompt;
  problem.entropy_histogram.assign(kEntropyBins, 0);
  std::vector<RewardInput> inputs;
  for (const Row& row : group.rows) {
    RewardInput input;
    input.prompt = reward_prompt;
    input.row = static_cast<int32_t>(inputs.size());
    COHORT_ASSIGN_OR_RETURN(SampleResult sample, Describe(row, &input));
    sample.answer = VotingAnswer(prompt.reward, input.completion);
    if (input.row < options_.keep) {
      sample.text = input.completion;
      sample.ids = row.tokens;
    }
    CountEntropies(row, &problem.entropy_histogram);
    problem.samples.push_back(std::move(sample));
    inputs.push_back(std::move(input));
  }
  const std::vector<RowReward> rewards = rewards_->Score(inputs);
  bool kept_right = false;
  for (size_t i = 0; i < rewards.size(); ++i) {
    SampleResult& sample = problem.samples[i];
    sample.unscorable = rewards[i].unscorable;
    sample.judged = rewards[i].judged && !rewards[i].unscorable;
    sample.correct = sample.judged && rewards[i].correct;
    kept_right = kept_right || (sample.correct && !sample.ids.empty());
    if (sample.correct && !kept_right && problem.right_text.empty()) {
      problem.right_text = inputs[i].completion;
    }
  }
  return problem;
}

}  // namespace cohort

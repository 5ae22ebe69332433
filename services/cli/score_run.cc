#include "services/cli/score_run.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/reward_sources.h"
#include "common/base/status_macros.h"
#include "common/config/algorithm.h"
#include "common/rewards/answer_text.h"
#include "common/rewards/extract.h"
#include "common/rl/shaping.h"
#include "common/rl/signals.h"
#include "common/run_rewards/run_rewards.h"
#include "common/tasks/prompt_source.h"
#include "common/train/batch.h"

namespace cohort {
namespace {

// The verifier of the first data source, by its name or by the form of its file.
absl::StatusOr<std::string> TaskVerifier(const v1::RunConfig& config) {
  if (config.data().sources().empty()) return std::string();
  const v1::DataSource& source = config.data().sources(0);
  if (!source.reward().empty()) return source.reward();
  SourceOptions options;
  options.task = source.task();
  options.path = source.path();
  const auto made = MakeSource(options);
  if (made.ok()) return (*made)->reward();
  return absl::Status(made.status().code(),
                      absl::StrCat("which verifier the data source has is not known: ",
                                   made.status().message(), "; name it with --reward"));
}

absl::StatusOr<std::vector<RewardComponent>> LineComponents(
    std::vector<ScoredComponent> components) {
  std::vector<RewardComponent> rows;
  for (ScoredComponent& component : components) {
    if (component.group) {
      return absl::FailedPreconditionError(
          absl::StrCat("algorithm.reward.sources: ", component.row.name,
                       " looks at all answers of a group or at the sampler's own numbers; ",
                       "cohort score judges one line at a time: leave it out with --set"));
    }
    rows.push_back(std::move(component.row));
  }
  return rows;
}

// Who reads replies: the first rule, as in training.
void ChooseReader(const std::vector<RewardComponent>& components, std::string* reader,
                  bool* after_thinking) {
  for (const RewardComponent& component : components) {
    if (!IsRuleReward(component.name)) continue;
    if (component.name != kTaskReward) *reader = component.name;
    *after_thinking = component.options.after_thinking;
    return;
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<RunScorer>> RunScorer::Create(
    const v1::RunConfig& config, const std::string& task,
    const std::shared_ptr<const Security>& security) {
  std::unique_ptr<RunScorer> scorer(new RunScorer());
  COHORT_ASSIGN_OR_RETURN(scorer->spec_, ToAlgorithmSpec(config));
  COHORT_ASSIGN_OR_RETURN(RewardPlan plan, PlanRewards(config, security));
  COHORT_ASSIGN_OR_RETURN(std::vector<RewardComponent> components,
                          LineComponents(std::move(plan.components)));
  scorer->task_ = task;
  if (task.empty()) {
    COHORT_ASSIGN_OR_RETURN(scorer->task_, TaskVerifier(config));
  }
  plan.options.rewards.required.push_back(scorer->task_);
  scorer->reader_ = scorer->task_;
  ChooseReader(components, &scorer->reader_, &scorer->after_thinking_);
  COHORT_ASSIGN_OR_RETURN(
      scorer->rewards_,
      RewardSet::Create(std::move(components), plan.options.run_seed, plan.options.rewards));
  auto tokenizer = Tokenizer::Load(config.model().path());
  if (tokenizer.ok()) {
    scorer->tokenizer_ = *std::move(tokenizer);
  } else if (!scorer->spec_.shaping.empty()) {
    return absl::Status(tokenizer.status().code(),
                        absl::StrCat("algorithm.reward.shaping counts tokens, and model.path has "
                                     "no tokenizer: ",
                                     tokenizer.status().message()));
  }
  return scorer;
}

absl::StatusOr<ScoreResult> RunScorer::Score(const ScoreLine& line) {
  RewardInput input;
  const auto prompt = MakeRewardPrompt(line.columns_json, task_, 0);
  if (!prompt.ok()) {
    return absl::Status(prompt.status().code(),
                        absl::StrCat(line.where, ": ", prompt.status().message()));
  }
  if (!line.options.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(line.where, ": `options` go with --reward; here the configuration has them"));
  }
  input.prompt = *prompt;
  input.completion = line.completion;
  if (tokenizer_ != nullptr) {
    COHORT_ASSIGN_OR_RETURN(input.response_ids,
                            tokenizer_->Encode(line.completion, /*add_special=*/false));
  }
  input.response_tokens = static_cast<int32_t>(input.response_ids.size());
  const auto truncated = line.json.find("truncated");
  input.truncated = truncated != line.json.end() && truncated->is_boolean() && *truncated;
  const absl::Time start = absl::Now();
  const RowReward row = rewards_->Score({input})[0];
  ScoreResult result;
  result.spent = absl::Now() - start;
  result.outcome = row.outcome;
  const absl::string_view looked =
      after_thinking_ ? AfterThinking(line.completion) : absl::string_view(line.completion);
  result.reply = ReadAnswer(reader_, looked);
  for (size_t i = 0; i < rewards_->names().size() && i < row.components.size(); ++i) {
    result.components[rewards_->names()[i]] = static_cast<double>(row.components[i]);
  }
  const std::string note =
      row.note.empty() && !row.limits.empty() ? std::string(row.limits[0]) : row.note;
  result.reason = ReasonOf(row.outcome, note, result.reply, **prompt);
  Shape(input, row, &result);
  return result;
}

// A group of one row: terms that compare rows leave it alone.
void RunScorer::Shape(const RewardInput& input, const RowReward& scored,
                      ScoreResult* result) const {
  Group group;
  group.reward_names = rewards_->names();
  Row row;
  row.rewards = scored.components;
  ShapingRow shaped;
  shaped.reward = scored.total;
  shaped.scorable = !scored.unscorable;
  shaped.correct = shaped.scorable && RowAccuracy(group, row, spec_.reward_scale) > 0.5;
  shaped.truncated = input.truncated;
  shaped.has_answer = result->reply.has_value();
  shaped.length = input.response_tokens;
  shaped.tokens = input.response_ids;
  const auto target = input.prompt->columns.find(kTargetTokens);
  if (target != input.prompt->columns.end() && target->is_number()) {
    shaped.target_length = target->get<int64_t>();
  }
  ApplyShaping(spec_.shaping, /*step=*/0, absl::MakeSpan(&shaped, 1));
  result->reward = scored.unscorable ? 0 : shaped.reward;
}

}  // namespace cohort

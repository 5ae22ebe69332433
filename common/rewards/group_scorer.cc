#include "common/rewards/group_scorer.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/reward_sources.h"
#include "common/base/status_macros.h"
#include "common/rewards/answer_text.h"
#include "common/rl/signals.h"
#include "common/text/response_text.h"

namespace cohort {
namespace {

absl::StatusOr<std::vector<RewardInput>> MakeInputs(
    const Tokenizer& tokenizer, const std::shared_ptr<const RewardPrompt>& prompt,
    const Group& group) {
  std::vector<RewardInput> inputs;
  for (size_t row = 0; row < group.rows.size(); ++row) {
    const std::vector<int32_t> response = group.ResponseOf(group.rows[row]);
    RewardInput input;
    input.prompt = prompt;
    input.row = static_cast<int32_t>(row);
    input.response_tokens = static_cast<int32_t>(response.size());
    input.response_ids = response;
    input.truncated = group.rows[row].finish == FinishReason::kLength;
    COHORT_ASSIGN_OR_RETURN(input.completion, ResponseText(tokenizer, response));
    inputs.push_back(std::move(input));
  }
  return inputs;
}

// The row's own tokens that spell the last occurrence of `answer`; empty: it does not occur.
absl::StatusOr<std::vector<uint8_t>> Locate(const Tokenizer& tokenizer, const Row& row,
                                            const std::string& answer) {
  std::vector<size_t> ends;  // in the text, after each token
  std::string text;
  IncrementalDecoder decoder(&tokenizer, /*skip_special=*/false);
  for (const int32_t token : row.tokens) {
    COHORT_ASSIGN_OR_RETURN(const std::string piece, decoder.Append(token));
    text += piece;
    ends.push_back(text.size());
  }
  COHORT_ASSIGN_OR_RETURN(const std::string rest, decoder.Finish());
  text += rest;
  if (!ends.empty()) ends.back() = text.size();
  return TokensSpelling(text, ends, answer);
}

void MarkUnscorable(const std::string& name, const std::string& why, Row* row) {
  row->unscorable = true;
  if (row->note.empty()) row->note = absl::StrCat(name, ": ", why);
}

}  // namespace

absl::StatusOr<std::unique_ptr<GroupScorer>> GroupScorer::Create(
    std::vector<ScoredComponent> components, const GroupScorerOptions& options) {
  std::unique_ptr<GroupScorer> scorer(new GroupScorer());
  scorer->reward_free_ = components.empty();
  scorer->cluster_ = scorer->compare_ = options.cluster;
  if (components.empty()) components.push_back({{kTaskReward, 1, {}}, std::nullopt});
  std::vector<RewardComponent> rows;
  for (ScoredComponent& component : components) {
    const std::string& name = component.row.name;
    if (component.group) {
      component.group->seed = options.run_seed;
      scorer->needs_entropy_ = scorer->needs_entropy_ || NeedsEntropy(component.group->source);
      scorer->locate_ = scorer->locate_ || component.group->span == EntropySpan::kAnswer;
      const GroupSource source = component.group->source;
      scorer->compare_ = scorer->compare_ || ComparesAnswers(source);
      scorer->cluster_ = scorer->cluster_ || source == GroupSource::kSemanticFrequency;
      continue;
    }
    rows.push_back(component.row);
    if (!IsRuleReward(name) || component.row.inverse) continue;
    if (!scorer->judged_ && name != kTaskReward) scorer->reader_ = name;
    scorer->judged_ = true;
  }
  if (!rows.empty()) {
    COHORT_ASSIGN_OR_RETURN(scorer->rows_,
                            RewardSet::Create(std::move(rows), options.run_seed, options.rewards));
  }
  if (!scorer->judged_) {
    COHORT_ASSIGN_OR_RETURN(scorer->truth_, RewardSet::Create({RewardComponent{kTaskReward, 1, {}}},
                                                              options.run_seed, options.rewards));
  }
  scorer->components_ = std::move(components);
  scorer->NameColumns();
  const std::set<std::string> distinct(scorer->names_.begin(), scorer->names_.end());
  if (distinct.size() < scorer->names_.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("algorithm.reward.sources: two components of one name (",
                     absl::StrJoin(scorer->names_, ", "), "); give them a label each"));
  }
  return scorer;
}

absl::Status GroupScorer::Alive() const {
  for (const ScoredComponent& component : components_) {
    if (component.row.scorer != nullptr) COHORT_RETURN_IF_ERROR(component.row.scorer->Alive());
  }
  return absl::OkStatus();
}

// As the RewardSet names its own, in the order of the configuration.
void GroupScorer::NameColumns() {
  for (const ScoredComponent& component : components_) {
    const RewardComponent& row = component.row;
    const std::string name = row.label.empty() ? row.name : absl::StrCat(row.name, ":", row.label);
    names_.push_back(name);
    widths_.push_back(1);
    if (row.scorer == nullptr) continue;
    for (const std::string& part : row.scorer->PartNames()) {
      names_.push_back(absl::StrCat(name, ".", part));
      ++widths_.back();
    }
  }
}

// Of a row that only votes nothing is asked.
std::vector<RowReward> GroupScorer::ScoreRows(const std::vector<RewardInput>& inputs,
                                              const Group& group) {
  std::vector<RewardInput> asked;
  for (const RewardInput& input : inputs) {
    if (group.rows[static_cast<size_t>(input.row)].role != RowRole::kVote) asked.push_back(input);
  }
  std::vector<RowReward> scored(inputs.size());
  if (rows_ == nullptr) return scored;
  std::vector<RowReward> answers = rows_->Score(asked);
  for (size_t i = 0; i < asked.size(); ++i) {
    scored[static_cast<size_t>(asked[i].row)] = std::move(answers[i]);
  }
  return scored;
}

absl::StatusOr<std::vector<GroupAnswer>> GroupScorer::ReadAnswers(
    const Tokenizer& tokenizer, const RewardPrompt& prompt, const std::vector<RewardInput>& inputs,
    const Group& group) const {
  std::vector<GroupAnswer> answers;
  for (size_t i = 0; i < inputs.size(); ++i) {
    GroupAnswer answer;
    answer.row = &group.rows[i];
    answer.completion = inputs[i].completion;
    answer.answer = ReadAnswer(reader_.empty() ? prompt.reward : reader_, answer.completion);
    if (locate_ && answer.answer) {
      COHORT_ASSIGN_OR_RETURN(answer.answer_mask, Locate(tokenizer, group.rows[i], *answer.answer));
    }
    answers.push_back(std::move(answer));
  }
  if (compare_) AddCanonicalForms(&answers);
  return answers;
}

void GroupScorer::DescribeLabel(const RewardPrompt& prompt, const GroupVerdicts& verdicts,
                                Group* group) const {
  double agreed = 0, known = 0;
  for (size_t i = 0; i < group->rows.size(); ++i) {
    const Row& row = group->rows[i];
    if (row.role != RowRole::kTrain || std::isnan(row.truth)) continue;
    known += 1;
    agreed += (verdicts.rows[i].value > 0.5) == (row.truth > 0.5f) ? 1 : 0;
  }
  if (known == 0) return;
  group->signals[kRewardAccuracy] = agreed / known;
  if (prompt.reward == "code_tests") return;  // a label is no program to run here
  RewardInput label;
  label.prompt = std::make_shared<RewardPrompt>(prompt);
  if (verdicts.label) label.completion = WriteAnswer(prompt.reward, *verdicts.label);
  const auto verifier = MakeVerifier(prompt.reward, {});
  group->signals[kLabelAccuracy] =
      verdicts.label && verifier.ok() && (*verifier)->Verify(label).outcome == Outcome::kCorrect;
}

void GroupScorer::AddGroupSources(const RewardPrompt& prompt,
                                  const std::vector<GroupAnswer>& answers, Group* group) {
  const SemanticClusters clusters = cluster_ ? ClusterByValue(answers) : SemanticClusters();
  if (cluster_) AddClusterSignals(clusters, &group->signals);
  size_t column = 0;
  for (size_t c = 0; c < components_.size(); column += widths_[c++]) {
    const ScoredComponent& component = components_[c];
    if (!component.group) continue;
    const GroupVerdicts verdicts =
        ScoreGroupSource(*component.group, prompt, answers, clusters, &group->signals);
    if (component.group->source == GroupSource::kMajorityOnline) {
      DescribeLabel(prompt, verdicts, group);
    }
    for (size_t i = 0; i < group->rows.size(); ++i) {
      Row& row = group->rows[i];
      if (row.role == RowRole::kVote) continue;
      const RewardVerdict& verdict = verdicts.rows[i];
      const bool bad = verdict.outcome == Outcome::kUnscorable || !std::isfinite(verdict.value);
      if (bad) {
        MarkUnscorable(component.row.name, verdict.note, &row);
        continue;
      }
      const double value = component.row.inverse ? 1 - verdict.value : verdict.value;
      row.rewards[column] = static_cast<float>(value);
      row.reward += component.row.weight * value;
    }
  }
}

// What the reward itself judged is not judged again.
void GroupScorer::AddTruth(const std::vector<RewardInput>& inputs,
                           const std::vector<RowReward>& scored, Group* group) {
  const bool knows = !inputs.empty() && inputs[0].prompt != nullptr &&
                     inputs[0].prompt->columns.contains("answer");
  std::vector<RowReward> own;
  if (!judged_ && knows && truth_ != nullptr) own = truth_->Score(inputs);
  for (size_t i = 0; i < group->rows.size(); ++i) {
    const RowReward* verdict = judged_ ? &scored[i] : own.empty() ? nullptr : &own[i];
    if (verdict == nullptr || !verdict->judged || (verdict == &scored[i] && verdict->unscorable)) {
      continue;
    }
    group->rows[i].truth = verdict->correct ? 1.0f : 0.0f;
  }
}

void GroupScorer::FillRows(const std::vector<RowReward>& scored, Group* group) const {
  // Training on no reward needs no verdict; an evaluation is nothing without one.
  const bool none = reward_free_ && group->purpose == Purpose::kTrain;
  group->reward_names = none ? std::vector<std::string>() : names_;
  for (size_t i = 0; i < group->rows.size(); ++i) {
    Row& row = group->rows[i];
    row.rewards.clear();
    if (none) continue;
    const std::vector<float>& own = scored[i].components;
    row.rewards.assign(names_.size(), 0);
    size_t next = 0, column = 0;
    for (size_t c = 0; c < components_.size(); column += widths_[c++]) {
      if (components_[c].group) continue;
      for (size_t k = 0; k < widths_[c] && next < own.size(); ++k) {
        row.rewards[column + k] = own[next++];
      }
    }
    row.reward = scored[i].total;
    row.unscorable = scored[i].unscorable;
    row.note = scored[i].note;
  }
}

absl::StatusOr<std::vector<RowReward>> GroupScorer::Score(
    const Tokenizer& tokenizer, const std::shared_ptr<const RewardPrompt>& prompt, Group* group) {
  COHORT_ASSIGN_OR_RETURN(const std::vector<RewardInput> inputs,
                          MakeInputs(tokenizer, prompt, *group));
  std::vector<RowReward> scored = ScoreRows(inputs, *group);
  FillRows(scored, group);
  AddTruth(inputs, scored, group);
  COHORT_ASSIGN_OR_RETURN(const std::vector<GroupAnswer> answers,
                          ReadAnswers(tokenizer, *prompt, inputs, *group));
  for (size_t i = 0; i < group->rows.size(); ++i) group->rows[i].no_answer = !answers[i].answer;
  AddGroupSources(*prompt, answers, group);
  const auto target = prompt->columns.find(kTargetTokens);
  if (target != prompt->columns.end() && target->is_number()) {
    group->signals[kTargetTokens] = target->get<double>();
  }
  for (size_t i = 0; i < scored.size(); ++i) {
    scored[i].unscorable = group->rows[i].unscorable;
    scored[i].note = group->rows[i].note;
  }
  return scored;
}

absl::StatusOr<std::vector<RowReward>> GroupScorer::Judge(
    const Tokenizer& tokenizer, const std::shared_ptr<const RewardPrompt>& prompt, Group* group) {
  if (judged_ || truth_ == nullptr) return Score(tokenizer, prompt, group);
  COHORT_ASSIGN_OR_RETURN(const std::vector<RewardInput> inputs,
                          MakeInputs(tokenizer, prompt, *group));
  std::vector<RowReward> scored = truth_->Score(inputs);
  group->reward_names = truth_->names();
  for (size_t i = 0; i < group->rows.size(); ++i) {
    Row& row = group->rows[i];
    row.rewards = scored[i].components;
    row.reward = scored[i].total;
    row.unscorable = scored[i].unscorable;
    row.note = scored[i].note;
    if (scored[i].judged && !scored[i].unscorable) row.truth = scored[i].correct ? 1.0f : 0.0f;
  }
  return scored;
}

}  // namespace cohort

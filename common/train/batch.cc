#include "common/train/batch.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/base/reward_sources.h"
#include "common/base/status_macros.h"
#include "common/rl/advantage.h"
#include "common/rl/filter.h"
#include "common/rl/kl.h"
#include "common/rl/shaping.h"
#include "common/rl/signals.h"
#include "common/train/non_finite.h"

namespace cohort {
namespace {

template <typename T>
absl::Span<const T> RowSpan(const std::vector<T>& values, const TrainRow& row) {
  return absl::MakeConstSpan(values).subspan(static_cast<size_t>(row.begin),
                                             static_cast<size_t>(row.length));
}

size_t AccuracyComponent(const Group& group) {
  for (size_t i = 0; i < group.reward_names.size(); ++i) {
    if (IsRuleReward(group.reward_names[i])) return i;
  }
  return 0;
}

absl::Status CheckRow(const TrainBatch& batch, const TrainRow& row) {
  const Row& source = batch.SourceRow(row);
  const size_t n = source.tokens.size();
  if (source.logprobs.size() != n || source.mask.size() != n) {
    return absl::InvalidArgumentError(
        absl::StrCat(batch.Describe(row), ": expected one log-prob and one mask entry per token (",
                     n, "), found ", source.logprobs.size(), " and ", source.mask.size()));
  }
  for (size_t t = 0; t < n; ++t) {
    if (source.mask[t] == 0 || std::isfinite(source.logprobs[t])) continue;
    return NonFiniteError(
        absl::StatusCode::kInvalidArgument, NonFinite::kLogprob,
        absl::StrCat(batch.Describe(row), " token ", t, " has ", source.logprobs[t]));
  }
  if (row.scorable && !std::isfinite(source.reward)) {
    return NonFiniteError(absl::StatusCode::kInvalidArgument, NonFinite::kReward,
                          absl::StrCat(batch.Describe(row), " has ", source.reward));
  }
  return absl::OkStatus();
}

void PushTokens(const Row& source, size_t count, bool scorable, TrainBatch* batch) {
  for (size_t t = 0; t < count; ++t) {
    batch->mask.push_back(scorable && source.mask[t] != 0 ? 1 : 0);
    batch->rollout.push_back(static_cast<double>(source.logprobs[t]));
  }
}

// Tokens that the row continues, its parents' before its parent's.
void PushInherited(const Group& group, const Row& source, bool scorable, TrainBatch* batch) {
  if (source.parent < 0 || source.parent_tokens == 0) return;
  const Row& parent = group.rows[static_cast<size_t>(source.parent)];
  PushInherited(group, parent, scorable, batch);
  PushTokens(parent, static_cast<size_t>(source.parent_tokens), scorable, batch);
}

absl::Status AddRow(int64_t group, int64_t index, bool with_prefix, TrainBatch* batch) {
  TrainRow row;
  row.group = group;
  row.index = index;
  row.begin = batch->tokens();
  const Row& source = batch->SourceRow(row);
  row.reward = source.reward;
  row.scorable = !source.unscorable && source.finish != FinishReason::kAborted;
  row.truncated = source.finish == FinishReason::kLength;
  COHORT_RETURN_IF_ERROR(CheckRow(*batch, row));
  if (with_prefix) {
    PushInherited(batch->groups[static_cast<size_t>(group)], source, row.scorable, batch);
  }
  row.inherited = batch->tokens() - row.begin;
  PushTokens(source, source.tokens.size(), row.scorable, batch);
  row.length = batch->tokens() - row.begin;
  batch->rows.push_back(row);
  return absl::OkStatus();
}

void MaskRow(const TrainRow& row, TrainBatch* batch) {
  const auto begin = batch->mask.begin() + row.begin;
  std::fill(begin, begin + row.length, uint8_t{0});
}

absl::Span<TrainRow> RowsOf(int64_t group, TrainBatch* batch) {
  const auto begin = batch->group_rows[static_cast<size_t>(group)];
  const auto end = batch->group_rows[static_cast<size_t>(group) + 1];
  return absl::MakeSpan(batch->rows)
      .subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
}

bool Scorable(const Row& row) { return !row.unscorable && row.finish != FinishReason::kAborted; }

// `tokens`: the whole response, outlives the result.
ShapingRow ShapingOf(const Group& group, const Row& row, const std::vector<int32_t>& tokens,
                     const RewardScaleSpec& scale) {
  ShapingRow shaped;
  shaped.reward = row.reward;
  shaped.scorable = Scorable(row);
  shaped.correct = shaped.scorable && RowAccuracy(group, row, scale) > 0.5;
  shaped.truncated = row.finish == FinishReason::kLength;
  shaped.has_answer = !row.no_answer;
  shaped.length = static_cast<int64_t>(tokens.size());
  shaped.target_length = RequestedLength(group);
  shaped.tokens = tokens;
  if (row.parent >= 0) shaped.exit = row.parent_tokens;
  return shaped;
}

void ShapeGroup(int64_t group_index, const AlgorithmSpec& spec, int64_t step, TrainBatch* batch) {
  const Group& group = batch->groups[static_cast<size_t>(group_index)];
  absl::Span<TrainRow> rows = RowsOf(group_index, batch);
  std::vector<std::vector<int32_t>> tokens;
  for (const TrainRow& row : rows) tokens.push_back(group.ResponseOf(batch->SourceRow(row)));
  std::vector<ShapingRow> shaping;
  for (size_t i = 0; i < rows.size(); ++i) {
    shaping.push_back(ShapingOf(group, batch->SourceRow(rows[i]), tokens[i], spec.reward_scale));
  }
  ApplyShaping(spec.shaping, step, absl::MakeSpan(shaping));
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].reward = shaping[i].reward;
    if (shaping[i].masked) MaskRow(rows[i], batch);
  }
}

// The greedy row's reward, shaped as a group of its own: terms that compare rows leave it alone.
void AddBaseline(int64_t group_index, const AlgorithmSpec& spec, int64_t step, TrainBatch* batch) {
  const Group& group = batch->groups[static_cast<size_t>(group_index)];
  const auto greedy = std::find_if(group.rows.begin(), group.rows.end(),
                                   [](const Row& row) { return row.role == RowRole::kBaseline; });
  double& baseline = batch->baseline.emplace_back(std::numeric_limits<double>::quiet_NaN());
  if (greedy != group.rows.end() && Scorable(*greedy)) {
    const std::vector<int32_t> tokens = group.ResponseOf(*greedy);
    ShapingRow shaped = ShapingOf(group, *greedy, tokens, spec.reward_scale);
    ApplyShaping(spec.shaping, step, absl::MakeSpan(&shaped, 1));
    baseline = shaped.reward;
    return;
  }
  if (spec.advantage.baseline != AdvantageBaseline::kGreedy) return;
  for (TrainRow& row : RowsOf(group_index, batch)) {
    row.scorable = false;
    MaskRow(row, batch);
  }
}

// Terms that compare with a requested length need one.
absl::Status CheckTarget(const Group& group, const AlgorithmSpec& spec) {
  const bool needed =
      std::any_of(spec.shaping.begin(), spec.shaping.end(), [](const ShapingSpec& shaping) {
        return shaping.kind == Shaping::kL1Exact || shaping.kind == Shaping::kL1Max;
      });
  if (!needed || RequestedLength(group) > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("group ", group.ordinal, " from ", group.worker,
                   ": algorithm.reward.shaping l1_* needs the signal ", kTargetTokens,
                   ", the length that the prompt asked for; found none"));
}

void DropRow(const RowFilterSpec& spec, TrainRow* row, TrainBatch* batch) {
  row->scorable = false;  // advantage 0, left out of the statistics
  const bool counted = spec.kind == RowFilter::kTopk && spec.denominator == RowDenominator::kAll;
  if (!counted) MaskRow(*row, batch);
}

void FilterRows(int64_t group, const RowFilterSpec& spec, TrainBatch* batch) {
  absl::Span<TrainRow> rows = RowsOf(group, batch);
  if (spec.kind == RowFilter::kDropTruncated) {
    for (TrainRow& row : rows) {
      if (row.truncated) DropRow(spec, &row, batch);
    }
    return;
  }
  std::vector<double> rewards;
  std::vector<int64_t> lengths;
  std::vector<size_t> candidates;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!rows[i].scorable) continue;
    candidates.push_back(i);
    rewards.push_back(rows[i].reward);
    lengths.push_back(rows[i].length);
  }
  std::vector<bool> kept(rows.size(), false);
  for (size_t i : TopRows(spec, rewards, lengths)) kept[candidates[i]] = true;
  for (size_t i : candidates) {
    if (!kept[i]) DropRow(spec, &rows[i], batch);
  }
}

std::vector<double> KlPenalty(const AlgorithmSpec& spec, double coef, const TrainBatch& batch) {
  std::vector<double> penalty;
  if (spec.kl.placement != KlPlacement::kReward) return penalty;
  return KlTokenPenalty(spec.kl, coef, batch.old, batch.reference, batch.mask);
}

// A sequence-level reward takes the row's whole penalty (RLOO's form, algorithms.md 2.5).
double SequencePenalty(const AlgorithmSpec& spec, absl::Span<const double> penalty) {
  if (penalty.empty() || spec.advantage.level == AdvantageLevel::kReturns) return 0;
  double sum = 0;
  for (double p : penalty) sum += p;
  return sum;
}

}  // namespace

int64_t TrainBatch::ValidTokens(const TrainRow& row) const {
  const absl::Span<const uint8_t> valid = RowSpan(mask, row);
  return std::count(valid.begin(), valid.end(), uint8_t{1});
}

std::vector<int32_t> TrainBatch::TokensOf(const TrainRow& row) const {
  const Row& source = SourceRow(row);
  if (row.inherited == 0) return source.tokens;
  return groups[static_cast<size_t>(row.group)].ResponseOf(source);
}

std::string TrainBatch::Describe(const TrainRow& row) const {
  const Group& group = groups[static_cast<size_t>(row.group)];
  return absl::StrCat("group ", group.ordinal, " row ", row.index, " (id ",
                      absl::Hex(group.id, absl::kZeroPad16), ", worker ", group.worker, ")");
}

int64_t RequestedLength(const Group& group) {
  const auto target = group.signals.find(kTargetTokens);
  return target == group.signals.end() ? 0 : static_cast<int64_t>(target->second);
}

double RowAccuracy(const Group& group, const Row& row, const RewardScaleSpec& scale) {
  const size_t component = AccuracyComponent(group);
  if (component >= row.rewards.size()) return 0;
  const auto given = static_cast<double>(row.rewards[component]);
  // Only rules give their verdict on the configured scale.
  if (!IsRuleReward(group.reward_names[component])) return std::clamp(given, 0.0, 1.0);
  const double span = scale.correct - scale.wrong;
  if (span == 0) return 0;
  return std::clamp((given - scale.wrong) / span, 0.0, 1.0);
}

double RowTruth(const Group& group, const Row& row, const RewardScaleSpec& scale) {
  if (!std::isnan(row.truth)) return static_cast<double>(row.truth);
  const bool judged = std::any_of(group.reward_names.begin(), group.reward_names.end(),
                                  [](const std::string& name) { return IsRuleReward(name); });
  return judged ? RowAccuracy(group, row, scale) : std::numeric_limits<double>::quiet_NaN();
}

absl::StatusOr<TrainBatch> PrepareBatch(absl::Span<const Group> groups, const AlgorithmSpec& spec,
                                        int64_t step) {
  TrainBatch batch;
  batch.groups = groups;
  batch.group_rows.push_back(0);
  for (int64_t g = 0; g < batch.num_groups(); ++g) {
    const std::vector<Row>& rows = groups[static_cast<size_t>(g)].rows;
    for (size_t i = 0; i < rows.size(); ++i) {
      if (rows[i].role != RowRole::kTrain) continue;
      COHORT_RETURN_IF_ERROR(AddRow(g, static_cast<int64_t>(i), spec.train_prefix, &batch));
    }
    batch.group_rows.push_back(static_cast<int64_t>(batch.rows.size()));
  }
  for (int64_t g = 0; g < batch.num_groups(); ++g) {
    COHORT_RETURN_IF_ERROR(CheckTarget(groups[static_cast<size_t>(g)], spec));
    ShapeGroup(g, spec, step, &batch);
    AddBaseline(g, spec, step, &batch);
    for (const TrainRow& row : RowsOf(g, &batch)) batch.unscorable_rows += row.scorable ? 0 : 1;
    if (spec.row_filter.kind != RowFilter::kNone) FilterRows(g, spec.row_filter, &batch);
  }
  batch.start.assign(batch.mask.size(), std::numeric_limits<double>::quiet_NaN());
  return batch;
}

absl::Status AddAdvantages(const AlgorithmSpec& spec, double kl_coef, TrainBatch* batch) {
  if (spec.objective.kind != Objective::kPolicyGradient) {
    batch->advantage.assign(batch->mask.size(), 0);
    return absl::OkStatus();
  }
  const std::vector<double> penalty = KlPenalty(spec, kl_coef, *batch);
  std::vector<AdvantageRow> rows;
  for (const TrainRow& row : batch->rows) {
    AdvantageRow in;
    in.group = row.group;
    in.reward = row.reward;
    in.scorable = row.scorable;
    in.mask = RowSpan(batch->mask, row);
    const double baseline = batch->baseline[static_cast<size_t>(row.group)];
    if (!std::isnan(baseline)) in.greedy_reward = baseline;
    if (!batch->value.empty()) in.value = RowSpan(batch->value, row);
    if (!batch->process.empty()) in.process = RowSpan(batch->process, row);
    if (!penalty.empty()) {
      in.reward += SequencePenalty(spec, RowSpan(penalty, row));
      if (spec.advantage.level == AdvantageLevel::kReturns) in.token_reward = RowSpan(penalty, row);
    }
    rows.push_back(in);
  }
  COHORT_ASSIGN_OR_RETURN(const Advantages advantages, ComputeAdvantages(spec.advantage, rows));
  batch->advantage.assign(batch->mask.size(), 0);
  if (!batch->value.empty()) batch->returns.assign(batch->mask.size(), 0);
  for (size_t i = 0; i < batch->rows.size(); ++i) {
    const TrainRow& row = batch->rows[i];
    for (int64_t t = 0; t < row.length; ++t) {
      const size_t at = static_cast<size_t>(row.begin + t);
      if (batch->mask[at] == 0) continue;
      batch->advantage[at] = advantages.At(i, static_cast<size_t>(t));
      if (!batch->returns.empty())
        batch->returns[at] = advantages.returns[i][static_cast<size_t>(t)];
    }
  }
  batch->degenerate_groups = advantages.degenerate_groups;
  batch->scorable_groups = advantages.groups;
  batch->valid_fraction_alpha = advantages.alpha;
  batch->whitening_skipped = advantages.whitening_skipped;
  return absl::OkStatus();
}

std::vector<OffPolicyRow> OffPolicyRows(const TrainBatch& batch, const std::vector<double>& old) {
  std::vector<OffPolicyRow> rows;
  rows.reserve(batch.rows.size());
  for (const TrainRow& row : batch.rows) {
    rows.push_back({RowSpan(old, row), RowSpan(batch.rollout, row), RowSpan(batch.mask, row)});
  }
  return rows;
}

absl::Status AddCorrection(const OffPolicySpec& spec, TrainBatch* batch) {
  COHORT_ASSIGN_OR_RETURN(const Correction correction,
                          CorrectOffPolicy(spec, OffPolicyRows(*batch, batch->old)));
  batch->correction.assign(batch->mask.size(), 0);
  for (size_t i = 0; i < batch->rows.size(); ++i) {
    const auto begin = static_cast<std::ptrdiff_t>(batch->rows[i].begin);
    std::copy(correction.weight[i].begin(), correction.weight[i].end(),
              batch->correction.begin() + begin);
    std::copy(correction.mask[i].begin(), correction.mask[i].end(), batch->mask.begin() + begin);
  }
  return absl::OkStatus();
}

}  // namespace cohort

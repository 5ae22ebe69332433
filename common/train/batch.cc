#include "common/train/batch.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/rl/advantage.h"
#include "common/rl/filter.h"
#include "common/rl/kl.h"
#include "common/rl/shaping.h"

namespace cohort {
namespace {

template <typename T>
absl::Span<const T> RowSpan(const std::vector<T>& values, const TrainRow& row) {
  return absl::MakeConstSpan(values).subspan(static_cast<size_t>(row.begin),
                                             static_cast<size_t>(row.length));
}

bool IsRule(const std::string& name) {
  return name == "task" || absl::StartsWith(name, "rule_") || absl::StartsWith(name, "code_");
}

size_t AccuracyComponent(const Group& group) {
  for (size_t i = 0; i < group.reward_names.size(); ++i) {
    if (IsRule(group.reward_names[i])) return i;
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
    return absl::InvalidArgumentError(absl::StrCat("non-finite logprob: ", batch.Describe(row),
                                                   " token ", t, " has ", source.logprobs[t]));
  }
  if (row.scorable && !std::isfinite(source.reward)) {
    return absl::InvalidArgumentError(
        absl::StrCat("non-finite reward: ", batch.Describe(row), " has ", source.reward));
  }
  return absl::OkStatus();
}

absl::Status AddRow(int64_t group, int64_t index, TrainBatch* batch) {
  TrainRow row;
  row.group = group;
  row.index = index;
  row.begin = batch->tokens();
  const Row& source = batch->SourceRow(row);
  row.length = static_cast<int64_t>(source.tokens.size());
  row.reward = source.reward;
  row.scorable = !source.unscorable && source.finish != FinishReason::kAborted;
  row.truncated = source.finish == FinishReason::kLength;
  COHORT_RETURN_IF_ERROR(CheckRow(*batch, row));
  for (size_t t = 0; t < source.tokens.size(); ++t) {
    batch->mask.push_back(row.scorable && source.mask[t] != 0 ? 1 : 0);
    batch->rollout.push_back(static_cast<double>(source.logprobs[t]));
  }
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

void ShapeGroup(int64_t group_index, const AlgorithmSpec& spec, int64_t step, TrainBatch* batch) {
  const Group& group = batch->groups[static_cast<size_t>(group_index)];
  absl::Span<TrainRow> rows = RowsOf(group_index, batch);
  std::vector<ShapingRow> shaping;
  for (const TrainRow& row : rows) {
    const Row& source = batch->SourceRow(row);
    ShapingRow shaped;
    shaped.reward = row.reward;
    shaped.scorable = row.scorable;
    shaped.correct = row.scorable && RowAccuracy(group, source, spec.reward_scale) > 0.5;
    shaped.truncated = row.truncated;
    shaped.length = row.length;
    shaped.tokens = source.tokens;
    shaping.push_back(shaped);
  }
  ApplyShaping(spec.shaping, step, absl::MakeSpan(shaping));
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].reward = shaping[i].reward;
    if (shaping[i].masked) MaskRow(rows[i], batch);
  }
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

std::string TrainBatch::Describe(const TrainRow& row) const {
  const Group& group = groups[static_cast<size_t>(row.group)];
  return absl::StrCat("group ", group.ordinal, " row ", row.index, " (id ",
                      absl::Hex(group.id, absl::kZeroPad16), ", worker ", group.worker, ")");
}

double RowAccuracy(const Group& group, const Row& row, const RewardScaleSpec& scale) {
  const size_t component = AccuracyComponent(group);
  if (component >= row.rewards.size()) return 0;
  const double span = scale.correct - scale.wrong;
  if (span == 0) return 0;
  const double value = (static_cast<double>(row.rewards[component]) - scale.wrong) / span;
  return std::clamp(value, 0.0, 1.0);
}

absl::StatusOr<TrainBatch> PrepareBatch(absl::Span<const Group> groups, const AlgorithmSpec& spec,
                                        int64_t step) {
  TrainBatch batch;
  batch.groups = groups;
  batch.group_rows.push_back(0);
  for (int64_t g = 0; g < batch.num_groups(); ++g) {
    const int64_t rows = static_cast<int64_t>(groups[static_cast<size_t>(g)].rows.size());
    for (int64_t i = 0; i < rows; ++i) COHORT_RETURN_IF_ERROR(AddRow(g, i, &batch));
    batch.group_rows.push_back(static_cast<int64_t>(batch.rows.size()));
  }
  for (int64_t g = 0; g < batch.num_groups(); ++g) {
    ShapeGroup(g, spec, step, &batch);
    if (spec.row_filter.kind != RowFilter::kNone) FilterRows(g, spec.row_filter, &batch);
  }
  batch.start.assign(batch.mask.size(), std::numeric_limits<double>::quiet_NaN());
  return batch;
}

absl::Status AddAdvantages(const AlgorithmSpec& spec, double kl_coef, TrainBatch* batch) {
  const std::vector<double> penalty = KlPenalty(spec, kl_coef, *batch);
  std::vector<AdvantageRow> rows;
  for (const TrainRow& row : batch->rows) {
    AdvantageRow in;
    in.group = row.group;
    in.reward = row.reward;
    in.scorable = row.scorable;
    in.mask = RowSpan(batch->mask, row);
    if (!penalty.empty()) {
      in.reward += SequencePenalty(spec, RowSpan(penalty, row));
      if (spec.advantage.level == AdvantageLevel::kReturns) in.token_reward = RowSpan(penalty, row);
    }
    rows.push_back(in);
  }
  COHORT_ASSIGN_OR_RETURN(const Advantages advantages, ComputeAdvantages(spec.advantage, rows));
  batch->advantage.assign(batch->mask.size(), 0);
  for (size_t i = 0; i < batch->rows.size(); ++i) {
    const TrainRow& row = batch->rows[i];
    for (int64_t t = 0; t < row.length; ++t) {
      const size_t at = static_cast<size_t>(row.begin + t);
      if (batch->mask[at]) batch->advantage[at] = advantages.At(i, static_cast<size_t>(t));
    }
  }
  batch->degenerate_groups = advantages.degenerate_groups;
  batch->scorable_groups = advantages.groups;
  batch->unscorable_rows = advantages.unscorable_rows;
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

#include "common/rl/shaping.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace cohort {

double OverlongPenalty(int64_t length, int64_t max_length, int64_t cache_length) {
  const int64_t expected = max_length - cache_length;
  if (length <= expected) return 0;
  if (length > max_length || cache_length <= 0) return -1;
  return static_cast<double>(expected - length) / static_cast<double>(cache_length);
}

std::vector<double> KimiLengthRewards(absl::Span<const int64_t> lengths,
                                      const std::vector<bool>& correct) {
  std::vector<double> rewards(lengths.size(), 0);
  if (lengths.empty()) return rewards;
  const auto [low, high] = std::minmax_element(lengths.begin(), lengths.end());
  if (*low == *high) return rewards;
  for (size_t i = 0; i < lengths.size(); ++i) {
    const double lambda =
        0.5 - static_cast<double>(lengths[i] - *low) / static_cast<double>(*high - *low);
    rewards[i] = correct[i] ? lambda : std::min(0.0, lambda);
  }
  return rewards;
}

double L1ExactReward(bool correct, int64_t target, int64_t length, double alpha) {
  return (correct ? 1 : 0) - alpha * static_cast<double>(std::abs(target - length));
}

double L1MaxReward(bool correct, int64_t target, int64_t length, double alpha, double delta,
                   bool code_slope) {
  if (!correct) return 0;
  const double slack = alpha * static_cast<double>(target - length);
  if (code_slope) return (std::clamp(slack, -1.0, 1.0) + 1) / 2;
  return std::clamp(slack + delta, 0.0, 1.0);
}

double DastReward(bool correct, int64_t length, double accuracy, double mean_correct_length,
                  int64_t max_length) {
  const double longest = static_cast<double>(max_length);
  const double budget =
      accuracy > 0 ? accuracy * mean_correct_length + (1 - accuracy) * longest : longest;
  const double lambda = (static_cast<double>(length) - budget) / budget;
  return correct ? std::max(-0.5 * lambda + 0.5, 0.1) : std::min(0.9 * lambda - 0.1, -0.1);
}

double CosineReward(const ShapingSpec& spec, bool correct, int64_t length) {
  const double progress =
      std::min(static_cast<double>(length) / static_cast<double>(spec.max_length), 1.0);
  const double low = correct ? spec.min_correct : spec.max_wrong;
  const double high = correct ? spec.max_correct : spec.min_wrong;
  return low + 0.5 * (high - low) * (1 + std::cos(std::numbers::pi * progress));
}

double RepetitionPenalty(absl::Span<const int32_t> ids, int64_t n, double max_penalty) {
  const int64_t total = static_cast<int64_t>(ids.size()) - n + 1;
  if (total <= 0 || n <= 0) return 0;
  std::vector<absl::Span<const int32_t>> grams;
  for (int64_t i = 0; i < total; ++i) {
    grams.push_back(ids.subspan(static_cast<size_t>(i), static_cast<size_t>(n)));
  }
  const auto less = [](absl::Span<const int32_t> a, absl::Span<const int32_t> b) {
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end());
  };
  const auto same = [](absl::Span<const int32_t> a, absl::Span<const int32_t> b) {
    return std::equal(a.begin(), a.end(), b.begin());
  };
  std::sort(grams.begin(), grams.end(), less);
  const auto unique = std::unique(grams.begin(), grams.end(), same) - grams.begin();
  return (1 - static_cast<double>(unique) / static_cast<double>(total)) * max_penalty;
}

std::vector<double> SerialDecayRewards(const std::vector<bool>& correct) {
  std::vector<double> rewards;
  double next = 1;
  for (bool right : correct) {
    rewards.push_back(right ? next : 0);
    if (right) next /= 2;
  }
  return rewards;
}

namespace {

void ApplyKimi(const ShapingSpec& spec, int64_t step, absl::Span<ShapingRow> group) {
  if (step < spec.warmup_steps) return;
  std::vector<int64_t> lengths;
  std::vector<bool> correct;
  for (const ShapingRow& row : group) {
    if (!row.scorable) continue;
    lengths.push_back(row.length);
    correct.push_back(row.correct);
  }
  const std::vector<double> rewards = KimiLengthRewards(lengths, correct);
  size_t next = 0;
  for (ShapingRow& row : group) {
    if (row.scorable) row.reward += spec.weight * rewards[next++];
  }
}

void ApplyDast(const ShapingSpec& spec, absl::Span<ShapingRow> group) {
  double correct = 0, scorable = 0, length = 0;
  for (const ShapingRow& row : group) {
    if (!row.scorable) continue;
    scorable += 1;
    if (row.correct) correct += 1, length += static_cast<double>(row.length);
  }
  const double accuracy = scorable > 0 ? correct / scorable : 0;
  const double mean_length = correct > 0 ? length / correct : 0;
  for (ShapingRow& row : group) {
    row.reward = DastReward(row.correct, row.length, accuracy, mean_length, spec.max_length);
  }
}

void ApplySerialDecay(absl::Span<ShapingRow> group) {
  std::vector<size_t> order;
  for (size_t i = 0; i < group.size(); ++i) {
    if (group[i].scorable) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return group[a].exit < group[b].exit; });
  std::vector<bool> correct;
  for (size_t i : order) correct.push_back(group[i].correct);
  const std::vector<double> rewards = SerialDecayRewards(correct);
  for (size_t k = 0; k < order.size(); ++k) group[order[k]].reward = rewards[k];
}

void ApplyTruncated(const ShapingSpec& spec, ShapingRow* row) {
  if (!row->truncated) return;
  switch (spec.truncated) {
    case TruncatedAction::kZero:
      row->reward = 0;
      break;
    case TruncatedAction::kScale:
      row->reward *= spec.value;
      break;
    case TruncatedAction::kSet:
      row->reward = spec.value;
      break;
    case TruncatedAction::kMask:
      row->masked = true;
      break;
  }
}

// Terms that look at one row only.
void ApplyToRow(const ShapingSpec& spec, ShapingRow* row) {
  switch (spec.kind) {
    case Shaping::kOverlongSoft:
      row->reward += spec.weight * OverlongPenalty(row->length, spec.max_length, spec.cache_length);
      break;
    case Shaping::kTruncated:
      ApplyTruncated(spec, row);
      break;
    case Shaping::kL1Exact:
      row->reward = L1ExactReward(row->correct, row->target_length, row->length, spec.alpha);
      break;
    case Shaping::kL1Max:
      row->reward = L1MaxReward(row->correct, row->target_length, row->length, spec.alpha,
                                spec.delta, spec.code_slope);
      break;
    case Shaping::kCosine:
      row->reward = CosineReward(spec, row->correct, row->length);
      break;
    case Shaping::kRepetition:
      row->reward += spec.weight * RepetitionPenalty(row->tokens, spec.ngram, spec.max_penalty);
      break;
    case Shaping::kFormatFloor:
      if (!row->has_answer) row->reward = spec.value;
      break;
    case Shaping::kClip:
      row->reward = std::clamp(row->reward, spec.low, spec.high);
      break;
    case Shaping::kKimiLength:
    case Shaping::kDast:
    case Shaping::kSerialDecay:
      break;
  }
}

}  // namespace

void ApplyShaping(absl::Span<const ShapingSpec> shaping, int64_t step,
                  absl::Span<ShapingRow> group) {
  for (const ShapingSpec& spec : shaping) {
    if (spec.kind == Shaping::kKimiLength) ApplyKimi(spec, step, group);
    if (spec.kind == Shaping::kDast) ApplyDast(spec, group);
    if (spec.kind == Shaping::kSerialDecay) ApplySerialDecay(group);
    for (ShapingRow& row : group) ApplyToRow(spec, &row);
  }
}

}  // namespace cohort

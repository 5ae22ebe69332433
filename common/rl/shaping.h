// Reward shaping: length, truncation and repetition terms (algorithms.md sections 6.2 to 6.4).
// Lengths are response tokens including the end-of-sequence token. Pure functions.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "common/rl/algorithm_spec.h"

namespace cohort {

// DAPO eq. 13: 0 up to max_length - cache_length, linear to -1 at max_length, -1 beyond.
double OverlongPenalty(int64_t length, int64_t max_length, int64_t cache_length);

// Kimi k1.5: in [-0.5, 0.5] by the length's place in its group; a wrong answer never gains.
std::vector<double> KimiLengthRewards(absl::Span<const int64_t> lengths,
                                      const std::vector<bool>& correct);

// L1-Exact: 1[correct] - alpha * |target - length|.
double L1ExactReward(bool correct, int64_t target, int64_t length, double alpha);
// L1-Max of the paper, clip(alpha * (target - length) + delta, 0, 1) when correct, or of the
// authors' code, (clip(alpha * (target - length), -1, 1) + 1) / 2.
double L1MaxReward(bool correct, int64_t target, int64_t length, double alpha, double delta,
                   bool code_slope);

// DAST: `accuracy` and `mean_correct_length` are the group's; with accuracy 0 the budget is
// max_length.
double DastReward(bool correct, int64_t length, double accuracy, double mean_correct_length,
                  int64_t max_length);

// Cosine: from max_correct at length 0 to min_correct at max_length; wrong answers from min_wrong
// up to max_wrong.
double CosineReward(const ShapingSpec& spec, bool correct, int64_t length);

// (1 - unique / total n-grams) * max_penalty; 0 when shorter than n.
double RepetitionPenalty(absl::Span<const int32_t> ids, int64_t n, double max_penalty);

// S-GRPO: the k-th correct exit, in order of position, earns 2^-(k-1).
std::vector<double> SerialDecayRewards(const std::vector<bool>& correct);

// A row that was not cut short comes after every exit.
inline constexpr int64_t kFullResponse = std::numeric_limits<int64_t>::max();

// One row as shaping sees it. `reward` and `masked` are changed, the rest is read.
struct ShapingRow {
  double reward = 0;
  bool scorable = true;
  bool correct = false;
  bool truncated = false;
  bool has_answer = true;
  int64_t length = 0;
  int64_t target_length = 0;         // l1_*: the prompt's budget
  absl::Span<const int32_t> tokens;  // repetition
  int64_t exit = kFullResponse;      // serial_decay: where it left its parent, tokens
  bool masked = false;               // out: leave the row out of the loss, not of the statistics
};

// Applies the list in order to the rows of one group. `step`: optimizer steps done, for warm-ups.
void ApplyShaping(absl::Span<const ShapingSpec> shaping, int64_t step,
                  absl::Span<ShapingRow> group);

}  // namespace cohort

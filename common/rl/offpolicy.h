// Corrections for the mismatch between the policy that sampled and the trainer's policy at the
// start of the batch (algorithms.md section 5). lr = old - rollout per token, clamped to +-20;
// nats. Pure functions; a NaN log-ratio is an error that names the row.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/rl/algorithm_spec.h"

namespace cohort {

// Spans of one row, one entry per token; masked entries are junk. They stay the caller's.
struct OffPolicyRow {
  absl::Span<const double> old;      // the trainer's, never the current policy's
  absl::Span<const double> rollout;  // the engine's
  absl::Span<const uint8_t> mask;
};

struct Correction {
  std::vector<std::vector<double>> weight;  // multiplies the loss after the clip; 0 where masked
  std::vector<std::vector<uint8_t>> mask;   // the rows' masks, less what `reject` removes
  double weight_mean = 1;                   // over the valid tokens, before batch_normalize
  int64_t rejected_tokens = 0;              // removed from the mask or given weight 0
};

absl::StatusOr<Correction> CorrectOffPolicy(const OffPolicySpec& spec,
                                            absl::Span<const OffPolicyRow> rows);

// Sums over valid tokens; add those of other ranks, then read the means.
struct MismatchSums {
  double tokens = 0, log_ratio = 0, k3 = 0, ratio = 0, ratio_squared = 0;
  double old = 0, rollout = 0;                  // log-probs
  double rows = 0, sequence_ratio_squared = 0;  // per row: exp(2 * sum of lr), clamped
  double max_log_difference = 0;                // |old - rollout|, unclamped
  double max_probability_difference = 0;        // |exp(old) - exp(rollout)|

  MismatchSums& operator+=(const MismatchSums& other);

  double Kl() const;  // KL(rollout || old) = -mean lr
  double K3() const;
  double Ess() const;  // effective sample size over the number of tokens, in (0, 1]
  double Chi2Token() const;
  double Chi2Sequence() const;
  double PerplexityOld() const;
  double PerplexityRollout() const;
};

absl::StatusOr<MismatchSums> MeasureMismatch(absl::Span<const OffPolicyRow> rows);

// Negative-sequence mask (DeepSeek-V3.2): false for a row with advantage < 0 whose mean of
// rollout - current exceeds `delta`. `current` is the policy being trained.
bool KeepNegativeSequence(double advantage, absl::Span<const double> rollout,
                          absl::Span<const double> current, absl::Span<const uint8_t> mask,
                          double delta);

}  // namespace cohort

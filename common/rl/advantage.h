// Advantages of a rollout batch (algorithms.md sections 2.4, 2.7 and 3).
//
// Computed once on the whole batch of all ranks, before it is split, so no split changes group or
// batch statistics. Pure functions on plain arrays; advantages are dimensionless and carry no
// gradient. Every estimator of section 3 is a value of AdvantageSpec:
//   centre by adv.baseline -> scale -> (level returns: last token + token rewards, returns-to-go)
//   -> (token_whiten: over all valid tokens of the batch).
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/rl/algorithm_spec.h"

namespace cohort {

// One row of the batch. The spans stay the caller's; those of tokens have equal lengths.
struct AdvantageRow {
  int64_t group = 0;               // rows with the same number form a group; groups may be ragged
  double reward = 0;               // shaped; on the last valid token when tokens have rewards
  bool scorable = true;            // false: left out of the statistics, advantage 0 (section 2.7)
  absl::Span<const uint8_t> mask;  // 1: valid response token; masked entries of the others are junk
  absl::Span<const double> token_reward;  // e.g. the KL penalty of kl.reward; empty: none
  absl::Span<const double> value;         // critic_gae
  absl::Span<const double> process;       // prime_loo: log phi - log phi_ref
  double greedy_reward = 0;               // greedy
};

struct Advantages {
  std::vector<double> row;                   // [rows] at level sequence
  std::vector<std::vector<double>> token;    // [rows][tokens] at level returns; 0 where masked
  std::vector<std::vector<double>> returns;  // before whitening; critic_gae: advantage + value
  double alpha = 1;                          // valid_fraction: rows / rows of mixed groups
  int64_t groups = 0;                        // with at least one scorable row
  int64_t degenerate_groups = 0;             // all scorable rewards equal (also: one scorable row)
  bool whitening_skipped = false;            // fewer than two valid tokens: all advantages are 0

  double At(size_t row_index, size_t t) const {
    return token.empty() ? row[row_index] : token[row_index][t];
  }
  bool AllDegenerate() const { return degenerate_groups == groups; }
};

// Fails on a reward (or token reward, value, process reward) that is not finite and names the row.
absl::StatusOr<Advantages> ComputeAdvantages(const AdvantageSpec& spec,
                                             absl::Span<const AdvantageRow> rows);

// PRIME's batch norm (section 9): process rewards divided in place by the batch's largest
// |reverse cumulative sum| + eps; masked entries become 0.
void NormalizeProcessRewards(absl::Span<const std::vector<uint8_t>> mask,
                             std::vector<std::vector<double>>* process, double eps = 1e-6);

// PRIME's model loss: BCE(sigmoid(beta * sum of process), accuracy), mean over rows with a token.
double ProcessModelLoss(absl::Span<const std::vector<uint8_t>> mask,
                        absl::Span<const std::vector<double>> process,
                        absl::Span<const double> accuracy, double beta);
// Derivative of one row's term (before the mean) with respect to each of its process rewards.
double ProcessRowGradient(double process_sum, double accuracy, double beta);

}  // namespace cohort

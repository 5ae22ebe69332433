// How per-token losses become one number (algorithms.md section 2.6): loss = sum of w_i * l_{i,t}
// over the valid tokens t of the rows i. The weights come from counts of the whole mini-batch (all
// ranks, all micro-batches), so any split of it gives the same gradient when gradients are summed;
// where they are averaged over W ranks, multiply by W.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/rl/algorithm_spec.h"

namespace cohort {

// The aggregation that an algorithm's loss uses: algorithm.agg, or the reduction of
// objective.entropy_direct (7.5, 7.6).
AggregationSpec LossAggregation(const AlgorithmSpec& spec);
AggregationSpec EntropyAggregation(EntropyReduction reduction);

// One row of the mini-batch. Rows that were dropped (aborted) are left out; rows that are fully
// masked are in, with valid_tokens 0.
struct AggregationRow {
  int64_t valid_tokens = 0;  // sum of the row's mask
  int64_t group = 0;         // token_mean_group: its prompt
  int64_t micro_batch = 0;   // token_mean_local: unique over ranks
};

// What must be summed over ranks for the modes that look at neither group nor micro-batch.
struct AggregationCounts {
  double tokens = 0;
  double valid_rows = 0;  // with at least one valid token
  double all_rows = 0;

  AggregationCounts& operator+=(const AggregationCounts& other);
};

AggregationCounts CountForAggregation(absl::Span<const AggregationRow> rows);

// Weight of each valid token of a row with `valid_tokens` of them; 0 when the mini-batch is empty.
// Not for token_mean_group and token_mean_local.
double TokenWeight(const AggregationSpec& spec, const AggregationCounts& counts,
                   int64_t valid_tokens);

// Weight of each valid token, per row. `rows` are all rows of the mini-batch on all ranks.
std::vector<double> AggregationWeights(const AggregationSpec& spec,
                                       absl::Span<const AggregationRow> rows);

}  // namespace cohort

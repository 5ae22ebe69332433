// The critic's loss (algorithms.md 3.9): clipped squared error, and how well values explain
// returns. Pure functions on arrays of valid tokens; fp64.
#pragma once

#include <vector>

#include "absl/types/span.h"

namespace cohort {

struct ValueLoss {
  double loss = 0;               // sum_t w_t / 2 max((v - R)^2, (clip(v, old +- clip) - R)^2)
  std::vector<double> gradient;  // d loss / d value; 0 where the clipped branch is the larger one
  double clipped = 0;            // tokens where it is
};

// One entry per token in each span. `old`: values at the start of the batch; `clip` 0: none.
ValueLoss ComputeValueLoss(absl::Span<const double> value, absl::Span<const double> old,
                           absl::Span<const double> returns, absl::Span<const double> weight,
                           double clip);

// 1 - Var(returns - value) / Var(returns); 0 when the returns do not vary. 1: the values say all.
double ExplainedVariance(absl::Span<const double> value, absl::Span<const double> returns);

}  // namespace cohort

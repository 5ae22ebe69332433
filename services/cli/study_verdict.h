// From one value per seed to a verdict. Pure functions.
#pragma once

#include "absl/types/span.h"
#include "services/cli/study.h"

namespace cohort {

// The t that a Student's t variable exceeds in absolute value with probability 5 %.
double StudentT95(int degrees);

struct MeanInterval {
  double mean = 0, low = 0, high = 0;  // 95 %; of one value: the value itself
};
MeanInterval IntervalOf(absl::Span<const double> values);

// holds: the interval lies on the right side; fails: it lies on the wrong one; of no values:
// missing. Fills mean, low, high and verdict from result->values.
void JudgeClaim(const v1::StudyClaim& claim, ClaimResult* result);

}  // namespace cohort

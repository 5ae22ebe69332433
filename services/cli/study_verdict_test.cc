#include "services/cli/study_verdict.h"

#include <cmath>

#include "common/base/status_matchers.h"

namespace cohort {
namespace {

using testing::DoubleNear;

v1::StudyClaim Above(double bound) {
  v1::StudyClaim claim;
  claim.set_above(bound);
  return claim;
}
v1::StudyClaim Below(double bound) {
  v1::StudyClaim claim;
  claim.set_below(bound);
  return claim;
}
v1::StudyClaim Within(double bound) {
  v1::StudyClaim claim;
  claim.set_within(bound);
  return claim;
}

Verdict Judge(const v1::StudyClaim& claim, const std::vector<double>& values) {
  ClaimResult result;
  for (double value : values) result.values[static_cast<int>(result.values.size()) + 1] = value;
  JudgeClaim(claim, &result);
  return result.verdict;
}

// Of tables of the t distribution.
TEST(StudentT, QuantilesAreThoseOfTheTables) {
  EXPECT_THAT(StudentT95(1), DoubleNear(12.7062, 1e-4));
  EXPECT_THAT(StudentT95(2), DoubleNear(4.3027, 1e-4));
  EXPECT_THAT(StudentT95(4), DoubleNear(2.7764, 1e-4));
  EXPECT_THAT(StudentT95(30), DoubleNear(2.0423, 1e-4));
  EXPECT_THAT(StudentT95(40), DoubleNear(2.0211, 1e-4));
  EXPECT_THAT(StudentT95(120), DoubleNear(1.9799, 1e-4));
  EXPECT_THAT(StudentT95(1000000), DoubleNear(1.959966, 1e-5));
}

// Mean 2, standard deviation 1, three values: 2 -+ 4.30265 / sqrt(3).
TEST(IntervalOf, IsStudents) {
  const MeanInterval interval = IntervalOf({1, 2, 3});
  EXPECT_THAT(interval.mean, DoubleNear(2, 1e-12));
  EXPECT_THAT(interval.low, DoubleNear(2 - 4.30265 / std::sqrt(3.0), 1e-9));
  EXPECT_THAT(interval.high, DoubleNear(2 + 4.30265 / std::sqrt(3.0), 1e-9));
  EXPECT_EQ(IntervalOf({5}).low, 5);
  EXPECT_EQ(IntervalOf({5, 5}).high, 5);
}

TEST(Verdicts, HoldsWhenTheIntervalLiesOnTheRightSide) {
  EXPECT_EQ(Judge(Above(0), {1, 1.1, 0.9}), Verdict::kHolds);
  EXPECT_EQ(Judge(Above(0), {-1, -1.1, -0.9}), Verdict::kFails);
  EXPECT_EQ(Judge(Above(0), {1, 2, -1}), Verdict::kUnclear);
  EXPECT_EQ(Judge(Below(0), {-1, -1.1, -0.9}), Verdict::kHolds);
  EXPECT_EQ(Judge(Below(0), {1, 1.1, 0.9}), Verdict::kFails);
  EXPECT_EQ(Judge(Within(0.5), {0.1, 0.11, 0.09}), Verdict::kHolds);
  EXPECT_EQ(Judge(Within(0.5), {1, 1.1, 0.9}), Verdict::kFails);
  EXPECT_EQ(Judge(Within(0.5), {-1, -1.1, -0.9}), Verdict::kFails);
  EXPECT_EQ(Judge(Within(0.5), {0.4, 0.5, 0.45}), Verdict::kUnclear);
}

TEST(Verdicts, OneSeedDecidesByItself) {
  EXPECT_EQ(Judge(Above(0), {0.01}), Verdict::kHolds);
  EXPECT_EQ(Judge(Above(0), {0}), Verdict::kFails);
  EXPECT_EQ(Judge(Below(1), {2}), Verdict::kFails);
  EXPECT_EQ(Judge(Within(1), {-1}), Verdict::kHolds);
  EXPECT_EQ(Judge(Above(0), {}), Verdict::kMissing);
}

}  // namespace
}  // namespace cohort

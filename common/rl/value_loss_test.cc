#include "common/rl/value_loss.h"

#include <gtest/gtest.h>

namespace cohort {
namespace {

TEST(ValueLoss, TakesTheLargerErrorAndCutsItsGradient) {
  // Inside the clip, beyond it towards the return (the clipped value is worse), beyond it away.
  const std::vector<double> value = {1.2, 3.0, -2.0}, old = {1, 1, 1}, returns = {2, 3, 2};
  const std::vector<double> weight = {0.5, 0.25, 0.25};
  const ValueLoss loss = ComputeValueLoss(value, old, returns, weight, 0.5);
  EXPECT_DOUBLE_EQ(loss.loss, 0.5 / 2 * 0.64 + 0.25 / 2 * 2.25 + 0.25 / 2 * 16);
  EXPECT_EQ(loss.clipped, 1);
  EXPECT_DOUBLE_EQ(loss.gradient[0], 0.5 * -0.8);
  EXPECT_EQ(loss.gradient[1], 0);
  EXPECT_DOUBLE_EQ(loss.gradient[2], 0.25 * -4);
}

TEST(ValueLoss, TheGradientIsTheFiniteDifference) {
  const std::vector<double> old = {0.3, -0.7, 1.1, 0.0}, returns = {1, 0, 0.5, -1};
  const std::vector<double> weight = {0.1, 0.2, 0.3, 0.4};
  std::vector<double> value = {0.9, -0.9, 0.4, 0.05};
  const ValueLoss at = ComputeValueLoss(value, old, returns, weight, 0.2);
  const double h = 1e-6;
  for (size_t t = 0; t < value.size(); ++t) {
    std::vector<double> up = value, down = value;
    up[t] += h;
    down[t] -= h;
    const double expected = (ComputeValueLoss(up, old, returns, weight, 0.2).loss -
                             ComputeValueLoss(down, old, returns, weight, 0.2).loss) /
                            (2 * h);
    EXPECT_NEAR(at.gradient[t], expected, 1e-9) << t;
  }
}

TEST(ValueLoss, WithoutAClipItIsTheSquaredError) {
  const ValueLoss loss = ComputeValueLoss({5.0}, {0.0}, {1.0}, {1.0}, 0);
  EXPECT_DOUBLE_EQ(loss.loss, 8);
  EXPECT_DOUBLE_EQ(loss.gradient[0], 4);
}

TEST(ExplainedVariance, IsOneForPerfectValuesAndZeroForConstantOnes) {
  EXPECT_DOUBLE_EQ(ExplainedVariance({1, 2, 3}, {1, 2, 3}), 1);
  EXPECT_DOUBLE_EQ(ExplainedVariance({7, 7, 7}, {1, 2, 3}), 0);
  EXPECT_DOUBLE_EQ(ExplainedVariance({1, 2, 3}, {4, 4, 4}), 0);
  EXPECT_EQ(ExplainedVariance({}, {}), 0);
}

}  // namespace
}  // namespace cohort

#include "common/telemetry/metric_history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace cohort {
namespace {

TEST(MetricHistoryTest, KeepsEveryStepWhileThereIsRoom) {
  MetricHistory history(8, 8);
  for (int step = 1; step <= 8; ++step) history.Add("reward", step, step * 0.5);
  history.Add("reward", 9, std::numeric_limits<double>::quiet_NaN());
  const auto points = history.Points("reward");
  ASSERT_EQ(points.size(), 8u);
  EXPECT_EQ(points[7].step, 8);
  EXPECT_EQ(points[7].value, 4);
  EXPECT_EQ(points[7].low, 4);
  EXPECT_TRUE(history.Points("none").empty());
}

TEST(MetricHistoryTest, IsBoundedAndItsOlderPointsAreMeansWithTheirRange) {
  for (const size_t older : {2, 7, 8}) {
    MetricHistory history(4, older);
    constexpr int kSteps = 1000;
    for (int step = 1; step <= kSteps; ++step) {
      const double value = step == 300 ? 1e6 : std::sin(step);
      history.Add("kl", step, value);
    }
    const auto points = history.Points("kl");
    ASSERT_LE(points.size(), 4 + older);
    ASSERT_GT(points.size(), 4u);
    double most = 0;
    for (size_t i = 0; i < points.size(); ++i) {
      most = std::max(most, points[i].high);
      EXPECT_LE(points[i].low, points[i].value);
      EXPECT_GE(points[i].high, points[i].value);
      EXPECT_TRUE(i == 0 || points[i].step > points[i - 1].step);
    }
    EXPECT_EQ(most, 1e6) << "the spike is still there";
    EXPECT_EQ(points.back().step, kSteps);
    EXPECT_EQ(points[points.size() - 4].step, kSteps - 3);
  }
}

TEST(MetricHistoryTest, AMergedCurveKeepsItsLine) {
  MetricHistory history(4, 8);
  for (int step = 1; step <= 500; ++step) history.Add("line", step, 3.0 * step);
  for (const HistoryPoint& point : history.Points("line")) {
    EXPECT_NEAR(point.value, 3 * point.step, 1e-9);
  }
}

}  // namespace
}  // namespace cohort

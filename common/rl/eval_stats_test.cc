#include "common/rl/eval_stats.h"

#include <chrono>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/rng.h"
#include "common/base/status_matchers.h"
#include "common/rl/metrics.h"

namespace cohort {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST(PassAtKsTest, TenThousandProblemsWith256SamplesTakeLessThanASecond) {
  CounterRng rng(1);
  std::vector<ProblemCount> problems(10000);
  for (ProblemCount& problem : problems) {
    problem = {256, static_cast<int64_t>(rng.Below(257))};
  }
  const std::vector<int64_t> ks = PowersOfTwoUpTo(256);
  const auto start = std::chrono::steady_clock::now();
  COHORT_ASSERT_OK_AND_ASSIGN(const auto values, PassAtKs(problems, ks));
  const auto end = std::chrono::steady_clock::now();
  EXPECT_LT(std::chrono::duration<double>(end - start).count(), 1.0);
  for (size_t k = 0; k < ks.size(); ++k) {
    for (size_t p = 0; p < problems.size(); ++p) {
      ASSERT_TRUE(values[k][p] >= 0 && values[k][p] <= 1) << values[k][p];
      ASSERT_GE(values[k][p], k > 0 ? values[k - 1][p] : 0);
    }
  }
}

TEST(PassAtKsTest, HugeCountsDoNotOverflow) {
  COHORT_ASSERT_OK_AND_ASSIGN(const auto values, PassAtKs({{1000000, 1}}, {1, 1000, 1000000}));
  EXPECT_NEAR(values[0][0], 1e-6, 1e-15);
  EXPECT_NEAR(values[1][0], 1e-3, 1e-12);
  EXPECT_EQ(values[2][0], 1);
}

TEST(PassAtKsTest, RefusesMoreThanThereAreSamples) {
  EXPECT_THAT(PassAtKs({{8, 2}, {4, 1}}, {1, 8}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("found k 8, samples 4")));
  EXPECT_THAT(PassAtKs({{8, 2}}, {0}).status(), Not(IsOk()));
}

TEST(PassAtKsTest, PowersEndWithTheNumberItself) {
  EXPECT_THAT(PowersOfTwoUpTo(1), ElementsAre(1));
  EXPECT_THAT(PowersOfTwoUpTo(8), ElementsAre(1, 2, 4, 8));
  EXPECT_THAT(PowersOfTwoUpTo(12), ElementsAre(1, 2, 4, 8, 12));
}

TEST(BootstrapTest, CoversTheTruthAboutAsOftenAsItSays) {
  CounterRng rng(5);
  int covered = 0;
  constexpr int kTrials = 400;
  for (int trial = 0; trial < kTrials; ++trial) {
    std::vector<double> values(60);
    for (double& value : values) value = rng.Uniform() < 0.3 ? 1 : 0;
    const Interval interval = BootstrapMeans({values}, static_cast<uint64_t>(trial), 500)[0];
    covered += interval.low <= 0.3 && 0.3 <= interval.high;
  }
  EXPECT_GT(covered, kTrials * 0.90);
  EXPECT_LT(covered, kTrials * 0.99);
}

TEST(BootstrapTest, IsSeededAndExactWhereNothingVaries) {
  const std::vector<std::vector<double>> values = {{0.5, 0.5, 0.5}, {0, 1, 1}};
  const auto a = BootstrapMeans(values, 3), b = BootstrapMeans(values, 3);
  EXPECT_EQ(a[0].low, 0.5);
  EXPECT_EQ(a[0].high, 0.5);
  EXPECT_EQ(a[1].low, b[1].low);
  EXPECT_NEAR(a[1].mean, 2.0 / 3, 1e-15);
  EXPECT_TRUE(BootstrapMeans({}, 1).empty());
}

TEST(McNemarTest, IsTheBinomialTail) {
  EXPECT_EQ(McNemarExact(0, 0), 1);
  EXPECT_EQ(McNemarExact(3, 3), 1);
  EXPECT_NEAR(McNemarExact(0, 5), 2.0 / 32, 1e-12);
  EXPECT_NEAR(McNemarExact(8, 1), 2.0 * (1 + 9) / 512, 1e-12);
  EXPECT_EQ(McNemarExact(2, 7), McNemarExact(7, 2));
  const double many = McNemarExact(5200, 4800);
  EXPECT_GT(many, 0);
  EXPECT_LT(many, 1e-3);
}

TEST(CrossingTest, IsWhereTheDifferenceChangesItsSign) {
  const std::vector<int64_t> ks = {1, 2, 4, 8};
  EXPECT_EQ(CrossingPoint(ks, {0.5, 0.6, 0.7, 0.8}, {0.1, 0.2, 0.3, 0.4}), std::nullopt);
  EXPECT_EQ(CrossingPoint(ks, {0.5, 0.5, 0.5, 0.5}, {0.5, 0.5, 0.5, 0.5}), std::nullopt);
  const std::optional<double> k = CrossingPoint(ks, {0.5, 0.6, 0.7, 0.7}, {0.1, 0.4, 0.6, 0.8});
  ASSERT_TRUE(k.has_value());
  EXPECT_NEAR(*k, std::exp((std::log(4.0) + std::log(8.0)) / 2), 1e-9);
}

TEST(CalibrationTest, ErrorIsTheGapOfTheBins) {
  const Calibration exact = Calibrate({0.05, 0.95, 0.95}, {0, 1, 1});
  EXPECT_NEAR(exact.error, 0.05, 1e-12);
  const Calibration sure = Calibrate({1, 1, 1, 1}, {1, 0, 0, 0});
  EXPECT_NEAR(sure.error, 0.75, 1e-12);
  EXPECT_EQ(sure.bins.back().count, 4);
}

TEST(MomentTest, TheFourthIsThatOfTwoPasses) {
  CounterRng rng(9);
  std::vector<double> values(500);
  MomentAccumulator moments;
  double mean = 0, m2 = 0, m4 = 0;
  for (double& value : values) {
    value = 100 + rng.Uniform() * rng.Uniform();
    moments.Add(value);
    mean += value / 500;
  }
  for (double value : values) {
    m2 += std::pow(value - mean, 2) / 500;
    m4 += std::pow(value - mean, 4) / 500;
  }
  EXPECT_NEAR(moments.kurtosis(), m4 / (m2 * m2), 1e-8);
  EXPECT_EQ(MomentAccumulator().kurtosis(), 0);
}

TEST(MajorityTest, ManySamplesStayFastAndAgreeWithCounting) {
  // 256 samples: the right answer 60 times, 40 wrong ones.
  std::vector<Answer> answers(60, Answer("7"));
  for (int i = 60; i < 256; ++i) answers.push_back(Answer(absl::StrCat("w", i % 40)));
  const auto start = std::chrono::steady_clock::now();
  for (int64_t k : PowersOfTwoUpTo(256)) {
    COHORT_ASSERT_OK_AND_ASSIGN(const double value, MajorityAtK(answers, "7", k));
    if (k == 1 || k == 256) {
      EXPECT_NEAR(value, k == 1 ? 60.0 / 256 : 1, 1e-12);
    }
  }
  const auto end = std::chrono::steady_clock::now();
  EXPECT_LT(std::chrono::duration<double>(end - start).count(), 2.0);
}

}  // namespace
}  // namespace cohort

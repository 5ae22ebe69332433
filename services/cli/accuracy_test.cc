#include "services/cli/accuracy.h"

#include <gtest/gtest.h>

namespace cohort {
namespace {

TEST(MeanAccuracyTest, OneSamplePerProblemGivesTheWilsonInterval) {
  std::vector<ProblemScore> scores(10, {0, 1});
  for (int i = 0; i < 8; ++i) scores[static_cast<size_t>(i)].correct = 1;
  const Accuracy accuracy = MeanAccuracy(scores, 0);
  EXPECT_DOUBLE_EQ(accuracy.mean, 0.8);
  EXPECT_NEAR(accuracy.low, 0.4902, 1e-4);  // R: binom::binom.confint(8, 10, method = "wilson")
  EXPECT_NEAR(accuracy.high, 0.9433, 1e-4);
  EXPECT_EQ(accuracy.method, "wilson");
}

TEST(MeanAccuracyTest, SeveralSamplesGiveABootstrapOverProblems) {
  std::vector<ProblemScore> scores;
  for (int i = 0; i < 100; ++i) scores.push_back({i % 2 == 0 ? 4 : 0, 4});
  const Accuracy accuracy = MeanAccuracy(scores, 3);
  EXPECT_DOUBLE_EQ(accuracy.mean, 0.5);
  EXPECT_NEAR(accuracy.low, 0.5 - 1.96 * 0.05, 0.015);  // the standard error of 100 coin flips
  EXPECT_NEAR(accuracy.high, 0.5 + 1.96 * 0.05, 0.015);
  EXPECT_EQ(accuracy.low, MeanAccuracy(scores, 3).low);
}

TEST(MeanAccuracyTest, ProblemsWithoutAVerdictAreLeftOut) {
  const Accuracy accuracy = MeanAccuracy({{0, 0}, {1, 2}}, 1);
  EXPECT_EQ(accuracy.problems, 1);
  EXPECT_DOUBLE_EQ(accuracy.mean, 0.5);
  EXPECT_EQ(MeanAccuracy({}, 1).problems, 0);
}

}  // namespace
}  // namespace cohort

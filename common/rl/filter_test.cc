#include "common/rl/filter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/rl/staleness.h"

namespace cohort {
namespace {

using testing::ElementsAre;

PromptFilterSpec Dynamic() {
  PromptFilterSpec spec;
  spec.kind = PromptFilter::kDynamic;
  return spec;
}

TEST(PromptFilter, DynamicSamplingDropsAllRightAndAllWrong) {
  EXPECT_EQ(JudgePrompt(Dynamic(), {1, 1, 1}), PromptVerdict::kAllRight);
  EXPECT_EQ(JudgePrompt(Dynamic(), {0, 0}), PromptVerdict::kAllWrong);
  EXPECT_EQ(JudgePrompt(Dynamic(), {0, 1}), PromptVerdict::kKeep);
  EXPECT_EQ(JudgePrompt(Dynamic(), {}), PromptVerdict::kOutOfBand);
}

TEST(PromptFilter, TheSurplusIsNamedAndAShortBatchAsksForMore) {
  const std::vector<std::vector<double>> accuracy = {{0, 1}, {1, 1}, {1, 0}, {0, 1}};
  const PromptSelection full = SelectPrompts(Dynamic(), accuracy, 2);
  EXPECT_THAT(full.kept, ElementsAre(0, 2));
  EXPECT_THAT(full.surplus, ElementsAre(3));
  EXPECT_FALSE(full.need_more);
  EXPECT_TRUE(SelectPrompts(Dynamic(), accuracy, 4).need_more);
}

TEST(PromptFilter, TheBandIsInclusive) {
  PromptFilterSpec spec;
  spec.kind = PromptFilter::kBand;
  spec.low = 0.2, spec.high = 0.8;
  EXPECT_EQ(JudgePrompt(spec, {1, 1, 1, 1, 0}), PromptVerdict::kKeep);
  EXPECT_EQ(JudgePrompt(spec, {1, 1, 1, 1, 1, 0}), PromptVerdict::kOutOfBand);
}

TEST(PromptFilter, NoFilterKeepsEverything) {
  EXPECT_EQ(JudgePrompt(PromptFilterSpec{}, {1, 1}), PromptVerdict::kKeep);
}

TEST(RowFilter, TiesInTheMetricGoToTheLowerIndex) {
  RowFilterSpec spec;
  spec.kind = RowFilter::kTopk;
  spec.k = 2;
  EXPECT_THAT(TopRows(spec, {1, 1, 1}, {5, 5, 5}), ElementsAre(0, 1));
  spec.metric = RowMetric::kTokenEfficiency;
  EXPECT_THAT(TopRows(spec, {0, 1, 1}, {1, 10, 0}), ElementsAre(1, 2));
}

TEST(Selection, APerfectMeanCurveScoresOne) {
  const std::vector<std::vector<double>> curves = {{1, 1}, {1, 1}};
  EXPECT_THAT(LimScores(curves), ElementsAre(1, 1));
}

TEST(Staleness, BoundZeroIsSynchronous) {
  EXPECT_EQ(AdmissionWindow(2, 4), 12);
  EXPECT_FALSE(IsStale(5, 5, 0));
  EXPECT_TRUE(IsStale(4, 5, 0));
  EXPECT_FALSE(IsStale(4, 5, 1));
  EXPECT_EQ(Staleness(7, 5), 0);
}

TEST(RankByVarianceTest, EqualDeviationsKeepTheDataOrder) {
  // Both are 0.4; summed, they differ in the last bit.
  const std::vector<std::vector<double>> history = {{0, 0, 0, 0, 1}, {0, 0, 1, 0, 0}};
  EXPECT_THAT(RankByVariance(history).ranking, testing::ElementsAre(0, 1));
}

}  // namespace
}  // namespace cohort

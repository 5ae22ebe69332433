#include "common/rl/learning_curves.h"

#include <cmath>

#include "common/base/status_matchers.h"

namespace cohort {
namespace {

using testing::ElementsAre;

constexpr std::nullopt_t kMissing = std::nullopt;

TEST(LearningCurvesTest, AMissingEpochTakesTheNextValue) {
  const CompleteCurves complete = CompleteHistory({{kMissing, 0.5, kMissing, 1.0}, {0.0, 1, 1, 0}});
  EXPECT_THAT(complete.prompts, ElementsAre(0, 1));
  EXPECT_THAT(complete.curves[0], ElementsAre(0.5, 0.5, 1.0, 1.0));
}

TEST(LearningCurvesTest, APromptWithNothingLeftIsDropped) {
  const CompleteCurves complete = CompleteHistory({{0.5, kMissing}, {0.5}, {0.1, 0.2}, {}});
  EXPECT_THAT(complete.prompts, ElementsAre(2));
  EXPECT_TRUE(CompleteHistory({}).prompts.empty());
}

TEST(LearningCurvesTest, VarianceRanksThePromptThatChangedMostFirst) {
  const auto ranked =
      RankByHistoryVariance({{1.0, 1.0}, {0.0, 1.0}, {kMissing}, {0.0, kMissing, 0.5}});
  ASSERT_EQ(ranked.size(), 3u);
  EXPECT_EQ(ranked[0].prompt, 1u);
  EXPECT_EQ(ranked[0].score, 0.5);
  EXPECT_EQ(ranked[1].prompt, 3u);
  EXPECT_EQ(ranked[2].prompt, 0u);
}

TEST(LearningCurvesTest, LimKeepsWhatGoesWithTheMean) {
  // The mean is (0.25, 0.75): the first curve follows it, the others do not.
  const AccuracyHistory history = {{0.25, 0.75}, {0.0, 1.0}, {0.5, 0.5}};
  const auto all = RankByLim(history, -100);
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].prompt, 0u);
  EXPECT_EQ(all[0].score, 1);
  const double off = 1 - (0.0625 + 0.0625) / (0.5625 + 0.0625);
  EXPECT_NEAR(all[1].score, off, 1e-12);
  EXPECT_EQ(all[1].prompt, 1u) << "ties stay in data order";
  EXPECT_EQ(RankByLim(history, 0.9).size(), 1u);
}

}  // namespace
}  // namespace cohort

#include "common/rl/shaping.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cohort {
namespace {

std::vector<ShapingRow> Group(int64_t n) {
  std::vector<ShapingRow> group(static_cast<size_t>(n));
  for (size_t i = 0; i < group.size(); ++i) {
    group[i].length = 100 * static_cast<int64_t>(i + 1);
    group[i].correct = i == 0;
    group[i].reward = group[i].correct ? 1 : 0;
  }
  return group;
}

std::vector<double> RewardsAfter(const ShapingSpec& spec, std::vector<ShapingRow> group,
                                 int64_t step = 0) {
  ApplyShaping({&spec, 1}, step, absl::MakeSpan(group));
  std::vector<double> rewards;
  for (const ShapingRow& row : group) rewards.push_back(row.reward);
  return rewards;
}

TEST(EdgeCaseTruncatedResponse, IsZeroedScaledSetOrMasked) {
  std::vector<ShapingRow> group = Group(1);
  group[0].truncated = true;
  ShapingSpec spec;
  spec.kind = Shaping::kTruncated;
  spec.value = 0.5;
  for (const auto& [action, reward] :
       std::vector<std::pair<TruncatedAction, double>>{{TruncatedAction::kZero, 0},
                                                       {TruncatedAction::kScale, 0.5},
                                                       {TruncatedAction::kSet, 0.5},
                                                       {TruncatedAction::kMask, 1}}) {
    spec.truncated = action;
    std::vector<ShapingRow> copy = group;
    ApplyShaping({&spec, 1}, 0, absl::MakeSpan(copy));
    EXPECT_EQ(copy[0].reward, reward);
    EXPECT_EQ(copy[0].masked, action == TruncatedAction::kMask);
  }
  group[0].truncated = false;
  EXPECT_THAT(RewardsAfter(spec, group), testing::ElementsAre(1));
}

TEST(Shaping, SoftOverlongIsAddedToTheReward) {
  ShapingSpec spec;
  spec.max_length = 200, spec.cache_length = 100;
  EXPECT_THAT(RewardsAfter(spec, Group(3)), testing::ElementsAre(1, -1, -1));
  EXPECT_EQ(OverlongPenalty(150, 200, 100), -0.5);
  EXPECT_EQ(OverlongPenalty(10000, 200, 0), -1);
  EXPECT_EQ(OverlongPenalty(200, 200, 0), 0);
}

TEST(Shaping, KimiStartsAfterItsWarmUpAndSkipsUnscorableRows) {
  ShapingSpec spec;
  spec.kind = Shaping::kKimiLength;
  spec.warmup_steps = 10;
  std::vector<ShapingRow> group = Group(3);
  group[2].scorable = false;
  EXPECT_THAT(RewardsAfter(spec, group, 9), testing::ElementsAre(1, 0, 0));
  EXPECT_THAT(RewardsAfter(spec, group, 10), testing::ElementsAre(1.5, -0.5, 0));
}

TEST(Shaping, DastWithoutACorrectRowUsesTheLongestBudget) {
  ShapingSpec spec;
  spec.kind = Shaping::kDast;
  spec.max_length = 400;
  std::vector<ShapingRow> group = Group(2);
  group[0].correct = false;
  const std::vector<double> rewards = RewardsAfter(spec, group);
  EXPECT_DOUBLE_EQ(rewards[0], 0.9 * -0.75 - 0.1);
  EXPECT_DOUBLE_EQ(rewards[1], 0.9 * -0.5 - 0.1);
}

TEST(Shaping, StepsApplyInOrder) {
  std::vector<ShapingSpec> list(2);
  list[0].max_length = 100, list[0].cache_length = 50;
  list[1].kind = Shaping::kClip;
  list[1].low = -0.25, list[1].high = 0.5;
  std::vector<ShapingRow> group = Group(3);
  ApplyShaping(list, 0, absl::MakeSpan(group));
  EXPECT_EQ(group[0].reward, 0);
  EXPECT_EQ(group[1].reward, -0.25);
}

TEST(Shaping, FormatFloorReplacesTheRewardOfARowWithoutAnswer) {
  ShapingSpec spec;
  spec.kind = Shaping::kFormatFloor;
  spec.value = -7;
  std::vector<ShapingRow> group = Group(2);
  group[0].has_answer = false;
  EXPECT_THAT(RewardsAfter(spec, group), testing::ElementsAre(-7, 0));
}

TEST(Shaping, EqualLengthsGiveNoLengthReward) {
  EXPECT_THAT(KimiLengthRewards({5, 5}, {true, false}), testing::Each(0.0));
  EXPECT_TRUE(KimiLengthRewards({}, {}).empty());
}

TEST(Shaping, RepetitionOfAShortRowIsZero) {
  const std::vector<int32_t> ids = {1, 1};
  EXPECT_EQ(RepetitionPenalty(ids, 3, -1), 0);
  EXPECT_EQ(RepetitionPenalty(ids, 1, -1), -0.5);
}

}  // namespace
}  // namespace cohort

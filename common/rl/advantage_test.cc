#include "common/rl/advantage.h"

#include <cmath>
#include <limits>

#include "common/base/rng.h"
#include "common/base/status_matchers.h"

namespace cohort {
namespace {

using testing::Each;
using testing::HasSubstr;

// Owns what the rows' spans point to.
struct Batch {
  std::vector<std::vector<uint8_t>> masks;
  std::vector<std::vector<double>> token_rewards;
  std::vector<AdvantageRow> rows;

  void Add(int64_t group, double reward, std::vector<uint8_t> mask = {1}, bool scorable = true) {
    masks.push_back(std::move(mask));
    AdvantageRow row;
    row.group = group;
    row.reward = reward;
    row.scorable = scorable;
    rows.push_back(row);
    for (size_t i = 0; i < rows.size(); ++i) rows[i].mask = masks[i];
  }
};

Batch OneGroup(const std::vector<double>& rewards) {
  Batch batch;
  for (double r : rewards) batch.Add(0, r);
  return batch;
}

Advantages Compute(const AdvantageSpec& spec, const Batch& batch) {
  absl::StatusOr<Advantages> a = ComputeAdvantages(spec, batch.rows);
  EXPECT_THAT(a, IsOk());
  return *a;
}

AdvantageSpec Spec(AdvantageBaseline baseline, AdvantageScale scale) {
  AdvantageSpec spec;
  spec.baseline = baseline;
  spec.scale = scale;
  return spec;
}

const std::vector<AdvantageBaseline> kCentred = {
    AdvantageBaseline::kGroupMean, AdvantageBaseline::kLeaveOneOut,
    AdvantageBaseline::kLengthWeighted, AdvantageBaseline::kSecondBest};

// --- edge-case matrix of section 12.1 ---------------------------------------------------------

TEST(EdgeCaseEqualRewards, EightRewardsOfNineTenthsGiveExactlyZero) {
  for (AdvantageBaseline baseline : kCentred) {
    for (AdvantageScale scale : {AdvantageScale::kNone, AdvantageScale::kGroupStd,
                                 AdvantageScale::kBatchRewardStd, AdvantageScale::kValidFraction}) {
      const Advantages a = Compute(Spec(baseline, scale), OneGroup(std::vector<double>(8, 0.9)));
      EXPECT_THAT(a.row, Each(0.0));
      EXPECT_EQ(a.degenerate_groups, 1);
      EXPECT_TRUE(a.AllDegenerate());
    }
  }
}

TEST(EdgeCaseEqualRewards, ADegenerateGroupIsNotZeroAfterTokenWhitening) {
  Batch batch;
  batch.Add(0, 1, {1, 1, 1});
  batch.Add(0, 0, {1});
  batch.Add(1, 1, {1, 1});
  batch.Add(1, 1, {1});
  const Advantages a =
      Compute(Spec(AdvantageBaseline::kGroupMean, AdvantageScale::kTokenWhiten), batch);
  EXPECT_EQ(a.row[2], a.row[3]);
  EXPECT_LT(a.row[2], -0.1);
}

TEST(EdgeCaseAllGroupsDegenerate, GivesGpgAlphaZero) {
  Batch batch = OneGroup({1, 1});
  batch.Add(1, 0);
  batch.Add(1, 0);
  const Advantages a =
      Compute(Spec(AdvantageBaseline::kGroupMean, AdvantageScale::kValidFraction), batch);
  EXPECT_EQ(a.alpha, 0);
  EXPECT_THAT(a.row, Each(0.0));
  EXPECT_TRUE(a.AllDegenerate());
}

TEST(EdgeCaseGroupOfOne, IsZeroOrRawAsAsked) {
  for (AdvantageBaseline baseline : kCentred) {
    AdvantageSpec spec = Spec(baseline, AdvantageScale::kGroupStd);
    EXPECT_EQ(Compute(spec, OneGroup({3})).row[0], 0);
    spec.n1 = SingleRowGroup::kRaw;
    EXPECT_DOUBLE_EQ(Compute(spec, OneGroup({3})).row[0], 3 / (1 + 1e-6));
  }
}

TEST(EdgeCaseFewerThanTwoTokensToWhiten, GiveZeroAndAFlag) {
  Batch batch;
  batch.Add(0, 1, {1, 0});
  batch.Add(1, 2, {0, 0});
  const Advantages a = Compute(Spec(AdvantageBaseline::kNone, AdvantageScale::kTokenWhiten), batch);
  EXPECT_TRUE(a.whitening_skipped);
  EXPECT_THAT(a.row, Each(0.0));
}

TEST(EdgeCaseRowWithoutTokens, StaysInTheGroupStatistics) {
  Batch batch;
  batch.Add(0, 1, {1, 1});
  batch.Add(0, 0, {0, 0});
  const Advantages a = Compute(Spec(AdvantageBaseline::kGroupMean, AdvantageScale::kNone), batch);
  EXPECT_EQ(a.row[0], 0.5);
}

TEST(EdgeCaseRowWithoutTokens, GivesNoNanInPrime) {
  Batch batch;
  batch.Add(0, 1, {1, 1});
  batch.Add(0, 0, {0, 0});
  batch.Add(0, 0, {1, 0});
  const std::vector<double> q = {0.5, -0.5};
  for (AdvantageRow& row : batch.rows) row.process = q;
  AdvantageSpec spec = Spec(AdvantageBaseline::kPrimeLoo, AdvantageScale::kTokenWhiten);
  spec.level = AdvantageLevel::kReturns;
  const Advantages a = Compute(spec, batch);
  for (const auto& row : a.token) {
    for (double x : row) EXPECT_TRUE(std::isfinite(x));
  }
  EXPECT_THAT(a.token[1], Each(0.0));
}

TEST(EdgeCaseUnparsableGold, UnscorableRowsAreLeftOutAndGetZero) {
  Batch batch = OneGroup({1, 0});
  batch.Add(0, 100, {1}, /*scorable=*/false);
  for (AdvantageBaseline baseline : kCentred) {
    const Advantages with = Compute(Spec(baseline, AdvantageScale::kGroupStd), batch);
    const Advantages without = Compute(Spec(baseline, AdvantageScale::kGroupStd), OneGroup({1, 0}));
    EXPECT_EQ(with.row[0], without.row[0]);
    EXPECT_EQ(with.row[2], 0);
  }
}

TEST(EdgeCaseUnparsableGold, AnUnscorableRowMayCarryNan) {
  Batch batch = OneGroup({1, 0});
  batch.Add(0, std::numeric_limits<double>::quiet_NaN(), {1}, /*scorable=*/false);
  EXPECT_EQ(Compute(AdvantageSpec{}, batch).row[2], 0);
}

TEST(Advantage, ANanRewardIsRefusedAndItsRowNamed) {
  const Batch batch = OneGroup({1, std::nan("")});
  EXPECT_THAT(ComputeAdvantages(AdvantageSpec{}, batch.rows),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("row 1")));
}

TEST(EdgeCaseGreedyEqualsASample, ThatSampleIsNoSpecialCase) {
  Batch batch = OneGroup({1, 0, 1});
  for (AdvantageRow& row : batch.rows) row.greedy_reward = 1;
  const Advantages a = Compute(Spec(AdvantageBaseline::kGreedy, AdvantageScale::kNone), batch);
  EXPECT_THAT(a.row, testing::ElementsAre(0, -1, 0));
}

TEST(EdgeCaseDuplicatePrompts, AreGroupsOfTheirOwn) {
  Batch batch = OneGroup({1, 0});
  batch.Add(1, 5);
  batch.Add(1, 3);
  const Advantages a = Compute(Spec(AdvantageBaseline::kGroupMean, AdvantageScale::kNone), batch);
  EXPECT_THAT(a.row, testing::ElementsAre(0.5, -0.5, 1.0, -1.0));
}

TEST(Advantage, ALengthWeightedBaselineOfEmptyRowsIsTheMean) {
  Batch batch;
  batch.Add(0, 1, {0});
  batch.Add(0, 0, {0});
  const Advantages a =
      Compute(Spec(AdvantageBaseline::kLengthWeighted, AdvantageScale::kNone), batch);
  EXPECT_EQ(a.row[0], 0.5);
}

// --- properties -------------------------------------------------------------------------------

Batch RandomBatch(uint64_t seed) {
  CounterRng rng(seed);
  Batch batch;
  for (int64_t group = 0; group < 6; ++group) {
    const int64_t n = rng.Between(2, 6);
    for (int64_t i = 0; i < n; ++i) {
      std::vector<uint8_t> mask(static_cast<size_t>(rng.Between(1, 5)));
      for (uint8_t& m : mask) m = rng.Below(4) != 0;
      batch.Add(group, rng.Uniform(), mask);
    }
  }
  return batch;
}

TEST(Advantage, DoesNotChangeWhenAConstantIsAddedToTheRewards) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    for (AdvantageBaseline baseline : kCentred) {
      const AdvantageSpec spec = Spec(baseline, AdvantageScale::kGroupStd);
      Batch batch = RandomBatch(seed);
      const Advantages before = Compute(spec, batch);
      for (AdvantageRow& row : batch.rows) row.reward += 7;
      const Advantages after = Compute(spec, batch);
      for (size_t i = 0; i < before.row.size(); ++i) {
        EXPECT_NEAR(before.row[i], after.row[i], 1e-9);
      }
    }
  }
}

TEST(Advantage, DoesNotChangeWithTheScaleOfTheRewardsWhenDividedByTheirDeviation) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    AdvantageSpec spec = Spec(AdvantageBaseline::kGroupMean, AdvantageScale::kGroupStd);
    spec.eps = 0;
    Batch batch = RandomBatch(seed);
    const Advantages before = Compute(spec, batch);
    for (AdvantageRow& row : batch.rows) row.reward *= 1000;
    const Advantages after = Compute(spec, batch);
    for (size_t i = 0; i < before.row.size(); ++i) {
      EXPECT_NEAR(before.row[i], after.row[i], 1e-12);
    }
  }
}

TEST(Advantage, LeaveOneOutIsTheMeanOfTheOthers) {
  const std::vector<double> r = {0.3, 1.7, -2, 4};
  const Advantages a =
      Compute(Spec(AdvantageBaseline::kLeaveOneOut, AdvantageScale::kNone), OneGroup(r));
  for (size_t i = 0; i < r.size(); ++i) {
    double others = 0;
    for (size_t j = 0; j < r.size(); ++j) others += j == i ? 0 : r[j];
    EXPECT_NEAR(a.row[i], r[i] - others / 3, 1e-12);
  }
}

TEST(Advantage, WhitenedTokensHaveMeanZeroAndVarianceOne) {
  for (uint64_t seed = 0; seed < 10; ++seed) {
    AdvantageSpec spec = Spec(AdvantageBaseline::kNone, AdvantageScale::kTokenWhiten);
    spec.level = AdvantageLevel::kReturns;
    const Batch batch = RandomBatch(seed);
    const Advantages a = Compute(spec, batch);
    double sum = 0, squares = 0, n = 0;
    for (size_t i = 0; i < batch.rows.size(); ++i) {
      for (size_t t = 0; t < batch.masks[i].size(); ++t) {
        if (!batch.masks[i][t]) {
          EXPECT_EQ(a.token[i][t], 0);
          continue;
        }
        sum += a.token[i][t], squares += a.token[i][t] * a.token[i][t], n += 1;
      }
    }
    EXPECT_NEAR(sum / n, 0, 1e-9);
    EXPECT_NEAR(squares / n, 1, 1e-6);
  }
}

TEST(Advantage, MaskedTokensCostNoDiscountAndTheRewardSitsOnTheLastValidToken) {
  Batch batch;
  batch.Add(0, 1, {1, 0, 1, 0});
  AdvantageSpec spec = Spec(AdvantageBaseline::kNone, AdvantageScale::kNone);
  spec.level = AdvantageLevel::kReturns;
  spec.gamma = 0.5;
  EXPECT_THAT(Compute(spec, batch).token[0], testing::ElementsAre(0.5, 0, 1, 0));
}

}  // namespace
}  // namespace cohort

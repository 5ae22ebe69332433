#include "common/rl/offpolicy.h"

#include <cmath>

#include "common/base/status_matchers.h"

namespace cohort {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

// Rows with given log-ratios; the third token is masked and holds junk.
struct Rows {
  std::vector<std::vector<double>> old, rollout;
  std::vector<uint8_t> mask{1, 1, 0};
  std::vector<OffPolicyRow> rows;

  explicit Rows(const std::vector<std::array<double, 2>>& log_ratios) {
    for (const auto& lr : log_ratios) {
      old.push_back({-1 + lr[0], -1 + lr[1], std::nan("")});
      rollout.push_back({-1, -1, 7});
    }
    for (size_t i = 0; i < old.size(); ++i) rows.push_back({old[i], rollout[i], mask});
  }
};

Correction Correct(const OffPolicySpec& spec, const Rows& rows) {
  absl::StatusOr<Correction> c = CorrectOffPolicy(spec, rows.rows);
  EXPECT_THAT(c, IsOk());
  return *c;
}

OffPolicySpec Spec(OffPolicy kind) {
  OffPolicySpec spec;
  spec.kind = kind;
  return spec;
}

TEST(OffPolicy, NoneAndBypassGiveWeightOneOnValidTokensAndZeroElsewhere) {
  for (OffPolicy kind : {OffPolicy::kNone, OffPolicy::kBypass}) {
    const Correction c = Correct(Spec(kind), Rows({{3, -3}}));
    EXPECT_THAT(c.weight[0], ElementsAre(1, 1, 0));
    EXPECT_EQ(c.rejected_tokens, 0);
  }
}

TEST(OffPolicy, EqualPoliciesGiveWeightsOfExactlyOneAndFullEss) {
  const Rows rows({{0, 0}, {0, 0}});
  EXPECT_THAT(Correct(Spec(OffPolicy::kTis), rows).weight, Each(ElementsAre(1, 1, 0)));
  COHORT_ASSERT_OK_AND_ASSIGN(const MismatchSums sums, MeasureMismatch(rows.rows));
  EXPECT_EQ(sums.Ess(), 1);
  EXPECT_EQ(sums.Kl(), 0);
  EXPECT_EQ(sums.Chi2Token(), 0);
  EXPECT_EQ(sums.max_log_difference, 0);
}

TEST(OffPolicy, DifferentVersionsGiveWeightsThatDifferFromOne) {
  EXPECT_NE(Correct(Spec(OffPolicy::kTis), Rows({{0.1, -0.1}})).weight[0][0], 1);
}

TEST(OffPolicy, TisCapsFromAboveOnly) {
  const Correction c = Correct(Spec(OffPolicy::kTis), Rows({{5, -5}}));
  EXPECT_EQ(c.weight[0][0], 2);
  EXPECT_DOUBLE_EQ(c.weight[0][1], std::exp(-5));
}

TEST(EdgeCaseLogRatio, InfiniteIsClampedAndNanIsAnErrorThatNamesTheRow) {
  OffPolicySpec spec = Spec(OffPolicy::kTis);
  spec.cap = 1e30;
  EXPECT_DOUBLE_EQ(Correct(spec, Rows({{HUGE_VAL, 0}})).weight[0][0], std::exp(20));
  EXPECT_THAT(CorrectOffPolicy(spec, Rows({{0, 0}, {0, std::nan("")}}).rows),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("row 1 token 1")));
}

TEST(OffPolicy, TheGeometricMaskKeepsTokenWeights) {
  OffPolicySpec spec = Spec(OffPolicy::kSeqMask);
  spec.stat = OffPolicyStat::kSeqMeanK1;
  spec.high = 1.2;
  const Correction c = Correct(spec, Rows({{0.3, -0.1}, {1, 1}}));
  EXPECT_NEAR(c.weight[0][0], std::exp(0.3), 1e-12);
  EXPECT_THAT(c.weight[1], Each(0.0));
  EXPECT_EQ(c.rejected_tokens, 2);
}

TEST(OffPolicy, RejectionChangesTheMaskAndNotTheWeights) {
  OffPolicySpec spec = Spec(OffPolicy::kReject);
  for (OffPolicyStat stat :
       {OffPolicyStat::kSeqSumK1, OffPolicyStat::kSeqMeanK1, OffPolicyStat::kSeqSumK2,
        OffPolicyStat::kSeqSumK3, OffPolicyStat::kSeqMeanK2, OffPolicyStat::kSeqMeanK3,
        OffPolicyStat::kSeqMaxK2, OffPolicyStat::kSeqMaxK3}) {
    spec.stat = stat;
    spec.high = 1.05;
    if (stat != OffPolicyStat::kSeqSumK1 && stat != OffPolicyStat::kSeqMeanK1) spec.high = 0.01;
    const Correction c = Correct(spec, Rows({{0.01, -0.01}, {1, 1}}));
    EXPECT_THAT(c.mask[0], ElementsAre(1, 1, 0));
    EXPECT_THAT(c.mask[1], ElementsAre(0, 0, 0));
    EXPECT_THAT(c.weight[1], ElementsAre(1, 1, 0));
  }
}

TEST(OffPolicy, TokenRejectionDropsSingleTokens) {
  OffPolicySpec spec = Spec(OffPolicy::kReject);
  for (OffPolicyStat stat :
       {OffPolicyStat::kTokenK1, OffPolicyStat::kTokenK2, OffPolicyStat::kTokenK3}) {
    spec.stat = stat;
    spec.high = stat == OffPolicyStat::kTokenK1 ? 1.1 : 0.01;
    EXPECT_THAT(Correct(spec, Rows({{0.01, 2}})).mask[0], ElementsAre(1, 0, 0));
  }
}

TEST(OffPolicy, TheK1BoundsAreThoseOfTheInverseRatio) {
  OffPolicySpec spec = Spec(OffPolicy::kReject);
  spec.stat = OffPolicyStat::kTokenK1;
  spec.low = 0.9;
  spec.high = 3;
  EXPECT_THAT(Correct(spec, Rows({{1, -1}})).mask[0], ElementsAre(0, 1, 0));
}

TEST(OffPolicy, BatchNormalisationGivesMeanOne) {
  OffPolicySpec spec = Spec(OffPolicy::kTis);
  spec.batch_normalize = true;
  const Correction c = Correct(spec, Rows({{0.3, -0.7}, {0.1, 0.2}}));
  double sum = 0;
  for (const auto& row : c.weight) sum += row[0] + row[1];
  EXPECT_NEAR(sum / 4, 1, 1e-12);
}

TEST(OffPolicy, MismatchOfRanksAddsUp) {
  const Rows both({{0.3, -0.7}, {0.1, 0.2}}), first({{0.3, -0.7}}), second({{0.1, 0.2}});
  COHORT_ASSERT_OK_AND_ASSIGN(const MismatchSums whole, MeasureMismatch(both.rows));
  COHORT_ASSERT_OK_AND_ASSIGN(MismatchSums sum, MeasureMismatch(first.rows));
  COHORT_ASSERT_OK_AND_ASSIGN(const MismatchSums rest, MeasureMismatch(second.rows));
  sum += rest;
  EXPECT_NEAR(sum.Ess(), whole.Ess(), 1e-12);
  EXPECT_NEAR(sum.Chi2Sequence(), whole.Chi2Sequence(), 1e-12);
  EXPECT_NEAR(sum.PerplexityOld(), whole.PerplexityOld(), 1e-12);
  EXPECT_NEAR(sum.max_log_difference, 0.7, 1e-12);
}

TEST(OffPolicy, ABatchWithoutValidTokensMeasuresNothing) {
  COHORT_ASSERT_OK_AND_ASSIGN(const MismatchSums sums, MeasureMismatch({}));
  EXPECT_EQ(sums.Kl(), 0);
  EXPECT_EQ(sums.Ess(), 1);
}

TEST(OffPolicy, OnlyNegativeRowsFarFromTheSamplerAreDropped) {
  const std::vector<double> sampled = {-1, -1}, near = {-1.1, -1.2}, far = {-1.9, -1.8};
  const std::vector<uint8_t> mask = {1, 1};
  EXPECT_TRUE(KeepNegativeSequence(1, sampled, far, mask, 0.5));
  EXPECT_FALSE(KeepNegativeSequence(-1, sampled, far, mask, 0.5));
  EXPECT_TRUE(KeepNegativeSequence(-1, sampled, near, mask, 0.5));
}

}  // namespace
}  // namespace cohort

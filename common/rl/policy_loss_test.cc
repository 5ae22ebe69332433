#include "common/rl/policy_loss.h"

#include <cmath>
#include <functional>
#include <limits>

#include "common/base/status_matchers.h"
#include "common/rl/kl.h"
#include "common/rl/policy_loss_testing.h"

namespace cohort {
namespace {

using testing::HasSubstr;

struct NamedSpec {
  const char* name;
  PolicyLossSpec spec;
  Aggregation agg = Aggregation::kTokenMean;
};

std::vector<NamedSpec> AllLosses() {
  PolicyLossSpec clip, dual, pg, gspo, prod, gmpo, sapo, quadratic, plain, kl_cov;
  clip.trust.clip = ClipSpec{0.2, 0.28, {}, {}};
  dual.trust.clip = ClipSpec{0.1, 0.1, 1.2, 1.3};
  pg.ratio = Ratio::kNone;
  gspo.ratio = Ratio::kSequenceGeo;
  gspo.trust.clip = ClipSpec{0.1, 0.1, {}, {}};
  prod.ratio = Ratio::kSequenceProd;
  prod.trust.clip = ClipSpec{0.4, 0.4, {}, {}};
  gmpo.ratio = Ratio::kGeoClipped;
  gmpo.trust.log_clip = LogClipSpec{0.2, 0.2};
  sapo.trust.soft_gate = SoftGateSpec{};
  quadratic.trust.quadratic = QuadraticSpec{0.3};
  kl_cov.trust.kl_cov = KlCovSpec{0.3, 0.7};
  for (PolicyLossSpec* spec : {&clip, &pg}) {
    spec->kl.placement = KlPlacement::kLoss;
    spec->kl_coef = 0.3;
  }
  pg.kl.estimator = KlEstimator::kK2;
  clip.entropy_coef = 0.1;
  const Aggregation seq = Aggregation::kSeqMeanTokenMean;
  return {{"clip", clip},      {"dual", dual},      {"pg", pg},     {"gspo", gspo, seq},
          {"prod", prod, seq}, {"gmpo", gmpo, seq}, {"sapo", sapo}, {"quadratic", quadratic},
          {"plain", plain},    {"kl_cov", kl_cov}};
}

// --- gradients --------------------------------------------------------------------------------

TEST(PolicyLoss, GradientsOfEveryLossAgreeWithFiniteDifferences) {
  for (const NamedSpec& loss : AllLosses()) {
    for (uint64_t seed = 0; seed < 10; ++seed) {
      MiniBatch b = RandomBatch(seed);
      b.SetWeights(Agg(loss.agg));
      std::vector<uint8_t> selected =
          SelectByCovariance(loss.spec.trust, b.logprob, b.old, b.advantage, b.mask, seed);
      const auto value = [&](const MiniBatch& x) {
        PolicyTokens tokens = x.View();
        tokens.selected = selected;
        return *ComputePolicyLoss(loss.spec, tokens);
      };
      const PolicyLoss exact = value(b);
      for (size_t t = 0; t < b.logprob.size(); ++t) {
        const double h = 1e-7;
        MiniBatch up = b, down = b;
        up.logprob[t] += h, down.logprob[t] -= h;
        const double numeric = (value(up).loss - value(down).loss) / (2 * h);
        EXPECT_NEAR(exact.d_logprob[t], numeric, 1e-7)
            << loss.name << " seed " << seed << " ratio " << std::exp(b.logprob[t] - b.old[t])
            << " advantage " << b.advantage[t];
        if (!b.mask[t]) {
          EXPECT_EQ(exact.d_logprob[t], 0);
        }
      }
    }
  }
}

TEST(PolicyLoss, TheEntropyGradientIsMinusCoefficientTimesWeight) {
  PolicyLossSpec spec;
  spec.entropy_coef = 0.1;
  MiniBatch b = RandomBatch(1);
  b.SetWeights(Agg(Aggregation::kTokenMean));
  const PolicyLoss loss = Evaluate(spec, b);
  for (size_t t = 0; t < b.weight.size(); ++t) {
    EXPECT_DOUBLE_EQ(loss.d_entropy[t], -0.1 * b.weight[t]);
  }
}

TEST(PolicyLoss, TheDetachedClipHasTheGradientOfItsSurrogate) {
  PolicyLossSpec spec;
  spec.trust.detach_clip = DetachClipSpec{0, 1.1, {}};
  MiniBatch b = RandomBatch(3);
  b.SetWeights(Agg(Aggregation::kTokenMean));
  const PolicyLoss loss = Evaluate(spec, b);
  for (size_t t = 0; t < b.weight.size(); ++t) {
    if (!b.mask[t]) continue;
    const double ratio = std::min(std::exp(b.logprob[t] - b.old[t]), 1.1);
    EXPECT_NEAR(loss.d_logprob[t], -ratio * b.advantage[t] * b.weight[t], 1e-12);
  }
}

TEST(PolicyLoss, TheDetachedClipsMaskDropsWhatPpoWouldClip) {
  PolicyLossSpec spec;
  spec.trust.detach_clip = DetachClipSpec{0, 5, ClipSpec{0.2, 0.2, {}, {}}};
  MiniBatch b;
  b.logprob = {-0.5, -0.5}, b.old = {-1, -0.6}, b.advantage = {1, 1}, b.mask = {1, 1};
  b.correction = {1, 1}, b.offsets = {0, 2}, b.groups = {0};
  b.SetWeights(Agg(Aggregation::kTokenMean));
  const PolicyLoss loss = Evaluate(spec, b);
  EXPECT_EQ(loss.d_logprob[0], 0);
  EXPECT_LT(loss.d_logprob[1], 0);
  EXPECT_EQ(loss.stats.clipped_high, 1);
}

TEST(EdgeCaseOldLogprobMissing, TheRatioIsOneAndTheGradientThatOfPolicyGradient) {
  PolicyLossSpec spec;
  spec.trust.clip = ClipSpec{};
  MiniBatch b = RandomBatch(4);
  b.SetWeights(Agg(Aggregation::kTokenMean));
  PolicyTokens tokens = b.View();
  tokens.old = {};
  const PolicyLoss loss = *ComputePolicyLoss(spec, tokens);
  for (size_t t = 0; t < b.weight.size(); ++t) {
    const double expected = b.mask[t] ? -b.advantage[t] * b.weight[t] : 0;
    EXPECT_DOUBLE_EQ(loss.d_logprob[t], expected);
  }
  EXPECT_EQ(loss.stats.ppo_kl, 0);
}

// --- splits -----------------------------------------------------------------------------------

TEST(PolicyLoss, AnySplitOverRanksAndMicroBatchesGivesTheSameSum) {
  for (Aggregation mode : {Aggregation::kTokenMean, Aggregation::kSeqMeanTokenMean,
                           Aggregation::kSeqMeanTokenSum, Aggregation::kSeqMeanTokenSumConst,
                           Aggregation::kTokenMeanGroup, Aggregation::kTokenMeanLocal}) {
    for (const NamedSpec& loss : AllLosses()) {
      MiniBatch b = RandomBatch(11, 8);
      b.SetWeights(Agg(mode));
      const PolicyLoss whole = Evaluate(loss.spec, b);
      for (size_t size : {1U, 2U, 3U, 5U}) {
        double total = 0;
        std::vector<double> gradient;
        PolicyStats stats;
        for (size_t first = 0; first < b.rows(); first += size) {
          const PolicyLoss part =
              Evaluate(loss.spec, b.Slice(first, std::min(b.rows(), first + size)));
          total += part.loss;
          stats += part.stats;
          gradient.insert(gradient.end(), part.d_logprob.begin(), part.d_logprob.end());
        }
        EXPECT_NEAR(total, whole.loss, 1e-12);
        EXPECT_NEAR(stats.ppo_kl, whole.stats.ppo_kl, 1e-12);
        for (size_t t = 0; t < gradient.size(); ++t) {
          EXPECT_NEAR(gradient[t], whole.d_logprob[t], 1e-12) << loss.name;
        }
      }
    }
  }
}

TEST(PolicyLoss, JunkBehindTheMaskChangesNothing) {
  for (const NamedSpec& loss : AllLosses()) {
    MiniBatch b = RandomBatch(5);
    b.SetWeights(Agg(loss.agg));
    const PolicyLoss before = Evaluate(loss.spec, b);
    for (size_t t = 0; t < b.mask.size(); ++t) {
      if (b.mask[t]) continue;
      b.logprob[t] = b.old[t] = b.reference[t] = std::nan("");
      b.entropy[t] = b.correction[t] = b.advantage[t] = HUGE_VAL;
    }
    const PolicyLoss after = Evaluate(loss.spec, b);
    EXPECT_EQ(before.loss, after.loss) << loss.name;
    EXPECT_EQ(before.d_logprob, after.d_logprob);
  }
}

TEST(EdgeCaseFullyMaskedBatch, ContributesZero) {
  MiniBatch b = RandomBatch(6);
  b.mask.assign(b.mask.size(), 0);
  b.SetWeights(Agg(Aggregation::kTokenMean));
  const PolicyLoss loss = Evaluate(AllLosses()[0].spec, b);
  EXPECT_EQ(loss.loss, 0);
  EXPECT_THAT(loss.d_logprob, testing::Each(0.0));
}

TEST(PolicyLoss, AnEmptyMicroBatchIsZero) {
  MiniBatch b;
  EXPECT_EQ(Evaluate(PolicyLossSpec{}, b).loss, 0);
}

// --- corrections, clamps, non-finite ----------------------------------------------------------

TEST(PolicyLoss, CorrectionsMultiplyAfterTheClipAndLeaveTheDenominator) {
  PolicyLossSpec spec;
  spec.trust.clip = ClipSpec{};
  MiniBatch b = RandomBatch(7);
  b.SetWeights(Agg(Aggregation::kTokenMean));
  const PolicyLoss plain = Evaluate(spec, b);
  b.correction.assign(b.correction.size(), 0.5);
  EXPECT_NEAR(Evaluate(spec, b).loss, plain.loss / 2, 1e-12);
}

MiniBatch OneToken(double logprob, double old, double advantage) {
  MiniBatch b;
  b.logprob = {logprob}, b.old = {old}, b.advantage = {advantage};
  b.mask = {1}, b.correction = {1}, b.offsets = {0, 1}, b.groups = {0};
  b.SetWeights(Agg(Aggregation::kTokenMean));
  return b;
}

TEST(EdgeCaseLogRatio, IsClampedAtTwentyAndTheClampHasNoGradient) {
  const PolicyLoss loss = Evaluate(PolicyLossSpec{}, OneToken(-1, -50, -1));
  EXPECT_DOUBLE_EQ(loss.loss, std::exp(20));
  EXPECT_EQ(loss.d_logprob[0], 0);
  const PolicyLoss infinite = Evaluate(PolicyLossSpec{}, OneToken(-1, -HUGE_VAL, -1));
  EXPECT_DOUBLE_EQ(infinite.loss, std::exp(20));
}

TEST(EdgeCaseLogRatio, NanIsAnErrorThatNamesTheRow) {
  MiniBatch b = RandomBatch(8);
  b.SetWeights(Agg(Aggregation::kTokenMean));
  b.mask[b.Begin(3)] = 1;
  b.old[b.Begin(3)] = std::nan("");
  EXPECT_THAT(ComputePolicyLoss(PolicyLossSpec{}, b.View()),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("row 3 token 0")));
}

TEST(PolicyLoss, AnInfiniteLossIsAnErrorThatNamesTheRow) {
  PolicyLossSpec spec;
  spec.ratio = Ratio::kNone;
  EXPECT_THAT(ComputePolicyLoss(spec, OneToken(-HUGE_VAL, -1, 1).View()),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("row 0")));
}

TEST(PolicyLoss, ClipFractionsCountEachSideApart) {
  PolicyLossSpec spec;
  spec.trust.clip = ClipSpec{0.2, 0.2, 3.0, {}};
  EXPECT_EQ(Evaluate(spec, OneToken(-0.1, -1, 1)).stats.clipped_high, 1);
  EXPECT_EQ(Evaluate(spec, OneToken(-1, -0.1, -1)).stats.clipped_low, 1);
  EXPECT_EQ(Evaluate(spec, OneToken(-0.1, -3, -1)).stats.clipped_dual, 1);
  const PolicyStats inside = Evaluate(spec, OneToken(-1, -1, 1)).stats;
  EXPECT_EQ(inside.clipped_high + inside.clipped_low + inside.clipped_dual, 0);
}

// --- KL ---------------------------------------------------------------------------------------

TEST(Kl, GradientsAgreeWithFiniteDifferencesInsideTheClamps) {
  for (KlEstimator estimator :
       {KlEstimator::kK1, KlEstimator::kK2, KlEstimator::kK3, KlEstimator::kAbs}) {
    KlSpec spec;
    spec.estimator = estimator;
    for (double x : {-1.5, -0.2, 0.1, 2.0}) {
      const double h = 1e-6;
      const double numeric =
          (EstimateKl(spec, x + h, 0).value - EstimateKl(spec, x - h, 0).value) / (2 * h);
      EXPECT_NEAR(EstimateKl(spec, x, 0).gradient, numeric, 1e-7);
    }
  }
}

TEST(Kl, K3WithTheGradientOfK2) {
  KlSpec spec;
  spec.estimator = KlEstimator::kK3K2grad;
  EXPECT_DOUBLE_EQ(EstimateKl(spec, -1, -1.5).gradient, 0.5);
  spec.estimator = KlEstimator::kK3;
  EXPECT_NEAR(EstimateKl(spec, -1, -1.5).value, 0.106530659713, 1e-12);
}

TEST(Kl, ClampsCanBeTurnedOff) {
  KlSpec spec;
  EXPECT_EQ(EstimateKl(spec, -30, -1).value, 10);
  EXPECT_EQ(EstimateKl(spec, -30, -1).gradient, 0);
  spec.value_clamp = spec.log_ratio_clamp = 0;
  EXPECT_DOUBLE_EQ(EstimateKl(spec, -30, -1).value, std::expm1(29) - 29);
}

TEST(Kl, TheAdaptiveControllerMovesTowardsItsTargetByAtMostAFifth) {
  KlSpec spec{KlPlacement::kReward, KlEstimator::kK1, 0.01, KlControllerKind::kAdaptive};
  KlController controller(spec);
  controller.Update(/*kl=*/100, /*rows=*/10000);
  EXPECT_NEAR(controller.coef(), 0.012, 1e-15);
  controller.Restore(0.01);
  controller.Update(0, 10000);
  EXPECT_NEAR(controller.coef(), 0.008, 1e-15);
  spec.controller = KlControllerKind::kFixed;
  KlController fixed(spec);
  fixed.Update(100, 10000);
  EXPECT_EQ(fixed.coef(), 0.01);
}

// --- covariance selection ---------------------------------------------------------------------

TEST(Covariance, ClipCovDrawsItsQuotaFromTheBandBySeed) {
  TrustSpec trust;
  trust.clip_cov = ClipCovSpec{0.02, 0.0, 100};
  MiniBatch b;
  CounterRng rng(1);
  for (int i = 0; i < 200; ++i) {
    b.logprob.push_back(-rng.Uniform());
    b.advantage.push_back(rng.Uniform() - 0.5);
  }
  const auto first = SelectByCovariance(trust, b.logprob, {}, b.advantage, {}, 1);
  EXPECT_EQ(std::count(first.begin(), first.end(), 1), 4);
  EXPECT_EQ(first, SelectByCovariance(trust, b.logprob, {}, b.advantage, {}, 1));
  EXPECT_NE(first, SelectByCovariance(trust, b.logprob, {}, b.advantage, {}, 2));
}

TEST(Covariance, KlCovTakesAtLeastOneToken) {
  TrustSpec trust;
  trust.kl_cov = KlCovSpec{1e-6, 1};
  const std::vector<double> logprob = {-1, -2, -0.1}, advantage = {0, -1, 1};
  const auto selected = SelectByCovariance(trust, logprob, {}, advantage, {}, 0);
  EXPECT_EQ(std::count(selected.begin(), selected.end(), 1), 1);
}

TEST(ClippedLossTest, TheGradientIsThatOfTheBranchWhichDecides) {
  const ClipSpec clip{0.2, 0.2, {}, 1.1};  // a cap below the clip
  const TokenLoss wrong = ClippedLoss(clip, -1, 1.15);
  EXPECT_DOUBLE_EQ(wrong.loss, 1.15);
  EXPECT_DOUBLE_EQ(wrong.gradient, 1.15);
  const TokenLoss right = ClippedLoss(clip, 1, 1.15);
  EXPECT_DOUBLE_EQ(right.loss, -1.1);
  EXPECT_DOUBLE_EQ(right.gradient, 0);
}

}  // namespace
}  // namespace cohort

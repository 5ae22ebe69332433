// Every combination of ratio, trust region, KL and aggregation that validates: the gradient is the
// loss's derivative, whatever stands behind the mask and however the batch is split.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/rl/algorithm_names.h"
#include "common/rl/policy_loss_testing.h"

namespace cohort {
namespace {

struct Combination {
  std::string name;
  AlgorithmSpec spec;
};

std::vector<Combination> TrustRegions() {
  std::vector<Combination> out;
  const auto add = [&](const char* name, const TrustSpec& trust) {
    AlgorithmSpec spec;
    spec.trust = trust;
    out.push_back({name, spec});
  };
  TrustSpec t;
  add("none", t);
  t.clip = ClipSpec{0.2, 0.28, {}, {}};
  add("clip", t);
  t.clip = ClipSpec{0.1, 0.1, 1.2, 1.3};
  add("clip two-sided", t);
  t.clip = ClipSpec{0.3, 0.3, {}, {}};
  t.clip_cov = ClipCovSpec{0.3, -1, 1};
  add("clip_cov", t);
  t = {};
  t.detach_clip = DetachClipSpec{0.9, 1.1, {}};
  add("detach_clip", t);
  t.detach_clip = DetachClipSpec{0, 5, ClipSpec{0.1, 0.1, {}, {}}};
  add("detach_clip with mask", t);
  t = {};
  t.soft_gate = SoftGateSpec{};
  add("soft_gate", t);
  t = {};
  t.log_clip = LogClipSpec{0.2, 0.15};
  add("log_clip", t);
  t = {};
  t.kl_cov = KlCovSpec{0.3, 0.7};
  add("kl_cov", t);
  t = {};
  t.quadratic = QuadraticSpec{0.3};
  add("quadratic", t);
  return out;
}

// All of 14.1's product that ValidateAlgorithm accepts, with a KL term of each estimator in turn.
std::vector<Combination> ValidCombinations() {
  AlgorithmContext context;
  context.group_size = 2;
  std::vector<Combination> out;
  int64_t turn = 0;
  for (const Combination& trust : TrustRegions()) {
    for (Ratio ratio : {Ratio::kNone, Ratio::kToken, Ratio::kSequenceGeo, Ratio::kSequenceProd,
                        Ratio::kGeoClipped}) {
      for (Aggregation mode : {Aggregation::kTokenMean, Aggregation::kSeqMeanTokenMean,
                               Aggregation::kSeqMeanTokenSum, Aggregation::kSeqMeanTokenSumConst,
                               Aggregation::kTokenMeanGroup, Aggregation::kTokenMeanLocal}) {
        AlgorithmSpec spec = trust.spec;
        spec.ratio = ratio;
        spec.agg = Agg(mode);
        spec.kl.placement = KlPlacement::kLoss;
        spec.kl.estimator = static_cast<KlEstimator>(turn++ % 4);
        spec.kl.coef = 0.3;
        spec.entropy_coef = 0.1;
        if (!ValidateAlgorithm(spec, context).ok()) continue;
        out.push_back({absl::StrCat(NameOf(ratio), " x ", trust.name, " x ", NameOf(mode)), spec});
      }
    }
  }
  return out;
}

// What the loss is a function of while its gradient is taken.
struct Frozen {
  std::vector<uint8_t> selected;
  std::vector<double> ratio;  // detach_clip: the detached weight; empty: free
};

double PolicyValue(const Combination& c, const MiniBatch& b, const Frozen& frozen) {
  PolicyTokens tokens = b.View();
  tokens.selected = frozen.selected;
  const PolicyLoss loss = *ComputePolicyLoss(MakePolicyLossSpec(c.spec), tokens);
  if (frozen.ratio.empty()) return loss.loss;
  double surrogate = loss.loss - loss.policy;
  const DetachClipSpec& clip = *c.spec.trust.detach_clip;
  for (size_t t = 0; t < b.mask.size(); ++t) {
    const double ratio = frozen.ratio[t], a = b.advantage[t];
    const bool dropped = clip.mask && ((a > 0 && ratio > 1 + clip.mask->high) ||
                                       (a < 0 && ratio < 1 - clip.mask->low));
    if (!b.mask[t] || dropped) continue;
    surrogate -= b.weight[t] * std::clamp(ratio, clip.min, clip.max) * a * b.logprob[t];
  }
  return surrogate;
}

TEST(LossCombinations, ThereAreAsManyAsTheRulesAllow) {
  // none: 4 ratios of which one fits one aggregation only; and so on for each trust region.
  EXPECT_EQ(ValidCombinations().size(), 19 + 13 + 13 + 6 + 7 + 7 + 13 + 6 + 6 + 6);
}

TEST(LossCombinations, EveryGradientIsTheDerivativeOfItsLoss) {
  for (const Combination& c : ValidCombinations()) {
    for (uint64_t seed = 0; seed < 3; ++seed) {
      MiniBatch b = RandomBatch(seed);
      b.SetWeights(c.spec.agg);
      Frozen frozen;
      frozen.selected =
          SelectByCovariance(c.spec.trust, b.logprob, b.old, b.advantage, b.mask, seed);
      PolicyTokens tokens = b.View();
      tokens.selected = frozen.selected;
      const PolicyLoss exact = *ComputePolicyLoss(MakePolicyLossSpec(c.spec), tokens);
      if (c.spec.trust.detach_clip) frozen.ratio = exact.ratio;
      for (size_t t = 0; t < b.logprob.size(); ++t) {
        const double h = 1e-7;
        MiniBatch up = b, down = b;
        up.logprob[t] += h, down.logprob[t] -= h;
        const double numeric =
            (PolicyValue(c, up, frozen) - PolicyValue(c, down, frozen)) / (2 * h);
        ASSERT_NEAR(exact.d_logprob[t], numeric, 2e-7) << c.name << " seed " << seed << " at " << t;
        EXPECT_EQ(exact.d_entropy[t], -0.1 * b.weight[t]);
      }
    }
  }
}

TEST(LossCombinations, JunkBehindTheMaskChangesNothing) {
  for (const Combination& c : ValidCombinations()) {
    for (double junk : {std::numeric_limits<double>::quiet_NaN(), 1e30, -1e30}) {
      MiniBatch b = RandomBatch(7);
      b.SetWeights(c.spec.agg);
      const PolicyLoss before = Evaluate(MakePolicyLossSpec(c.spec), b);
      for (size_t t = 0; t < b.mask.size(); ++t) {
        if (b.mask[t]) continue;
        b.logprob[t] = b.old[t] = b.reference[t] = junk;
        b.entropy[t] = b.correction[t] = b.advantage[t] = junk;
      }
      const PolicyLoss after = Evaluate(MakePolicyLossSpec(c.spec), b);
      ASSERT_EQ(before.loss, after.loss) << c.name;
      ASSERT_EQ(before.d_logprob, after.d_logprob) << c.name;
      ASSERT_EQ(before.d_entropy, after.d_entropy) << c.name;
    }
  }
}

TEST(LossCombinations, AnySplitOverRanksAndMicroBatchesAddsUp) {
  for (const Combination& c : ValidCombinations()) {
    MiniBatch b = RandomBatch(11, 8);
    b.SetWeights(c.spec.agg);
    const PolicyLoss whole = Evaluate(MakePolicyLossSpec(c.spec), b);
    CounterRng rng(3);
    for (int split = 0; split < 5; ++split) {
      double loss = 0;
      std::vector<double> gradient;
      for (size_t first = 0; first < b.rows();) {
        const size_t last = std::min<size_t>(b.rows(), first + 1 + rng.Below(5));
        const PolicyLoss part = Evaluate(MakePolicyLossSpec(c.spec), b.Slice(first, last));
        loss += part.loss;
        gradient.insert(gradient.end(), part.d_logprob.begin(), part.d_logprob.end());
        first = last;
      }
      ASSERT_NEAR(loss, whole.loss, 1e-12) << c.name;
      ASSERT_EQ(gradient, whole.d_logprob) << c.name;
    }
  }
}

}  // namespace
}  // namespace cohort

// algorithms.md 13: what a ratio and its trust region let through (GSPO, CISPO, GMPO, SAPO, the
// covariance methods, the bias of the clip).
#include <algorithm>
#include <cmath>

#include "common/base/status_matchers.h"
#include "common/rl/policy_loss.h"
#include "tests/t0/statistics.h"
#include "tests/t0/tabular_world.h"

namespace cohort::t0 {
namespace {

constexpr uint64_t kSeeds = 200;

// Rows of `length` tokens whose old log-probs carry zero-mean noise of `sigma` nats a token.
struct NoisyRows {
  std::vector<double> logprob, old, advantage, weight;
  std::vector<int64_t> offsets{0};

  NoisyRows(size_t rows, size_t length, double sigma, double a, uint64_t seed) {
    CounterRng rng(seed);
    for (size_t i = 0; i < rows; ++i) {
      for (size_t t = 0; t < length; ++t) {
        logprob.push_back(-1);
        old.push_back(-1 + sigma * Gaussian(&rng));
      }
      offsets.push_back(static_cast<int64_t>(logprob.size()));
    }
    advantage.assign(logprob.size(), a);
    weight.assign(logprob.size(), 1);
  }

  PolicyLoss Loss(const PolicyLossSpec& spec) const {
    PolicyTokens tokens;
    tokens.logprob = logprob, tokens.old = old, tokens.advantage = advantage;
    tokens.weight = weight, tokens.row_offsets = offsets;
    return *ComputePolicyLoss(spec, tokens);
  }

  // The ratio of each row's first token; of a sequence ratio, the row's.
  std::vector<double> RowRatios(const PolicyLossSpec& spec) const {
    const PolicyLoss loss = Loss(spec);
    std::vector<double> ratios;
    for (size_t i = 0; i + 1 < offsets.size(); ++i) {
      ratios.push_back(loss.ratio[static_cast<size_t>(offsets[i])]);
    }
    return ratios;
  }
};

PolicyLossSpec WithRatio(Ratio ratio) {
  PolicyLossSpec spec;
  spec.ratio = ratio;
  if (ratio == Ratio::kGeoClipped) spec.trust.log_clip = LogClipSpec{};
  return spec;
}

TEST(T0Ratio, NoiseInASequenceRatioFallsAsOneOverItsLength) {
  for (double sigma : {0.05, 0.2}) {
    std::vector<double> scaled;  // variance x length / sigma^2
    for (size_t length : {4, 16, 64, 256}) {
      std::vector<double> variance;
      for (uint64_t seed = 0; seed < kSeeds; ++seed) {
        const NoisyRows rows(8, length, sigma, 1, seed);
        variance.push_back(Variance(rows.RowRatios(WithRatio(Ratio::kSequenceGeo))));
      }
      scaled.push_back(Mean(variance) * static_cast<double>(length) / (sigma * sigma));
    }
    for (double x : scaled) EXPECT_NEAR(x, 1, 0.12) << sigma;
  }
}

TEST(T0Ratio, NoiseInATokenRatioDoesNotFallWithTheLength) {
  std::vector<double> shorter, longer;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const PolicyLossSpec token = WithRatio(Ratio::kToken);
    shorter.push_back(Variance(NoisyRows(4, 4, 0.2, 1, seed).Loss(token).ratio));
    longer.push_back(Variance(NoisyRows(4, 64, 0.2, 1, seed).Loss(token).ratio));
  }
  EXPECT_NEAR(Mean(longer) / Mean(shorter), 1, 0.1);
}

TEST(T0Ratio, GeometricMeansOfClippedRatiosHaveANarrowerRangeThanTokenRatios) {
  for (double advantage : {1.0, -1.0}) {
    for (uint64_t seed = 0; seed < kSeeds; ++seed) {
      const NoisyRows rows(16, 32, 0.5, advantage, seed);
      const auto range = [](const std::vector<double>& x) {
        const auto [low, high] = std::minmax_element(x.begin(), x.end());
        return *high - *low;
      };
      const double gmpo = range(rows.RowRatios(WithRatio(Ratio::kGeoClipped)));
      EXPECT_LT(gmpo, range(rows.Loss(WithRatio(Ratio::kToken)).ratio));
      EXPECT_LT(gmpo, range(rows.RowRatios(WithRatio(Ratio::kSequenceProd))));
    }
  }
}

// --- one token ----------------------------------------------------------------------------------

double Gradient(const PolicyLossSpec& spec, double ratio, double advantage) {
  const std::vector<double> logprob{-1}, old{-1 - std::log(ratio)}, a{advantage}, weight{1};
  const std::vector<int64_t> offsets{0, 1};
  PolicyTokens tokens;
  tokens.logprob = logprob, tokens.old = old, tokens.advantage = a, tokens.weight = weight;
  tokens.row_offsets = offsets;
  return ComputePolicyLoss(spec, tokens)->d_logprob[0];
}

PolicyLossSpec Ppo() {
  PolicyLossSpec spec;
  spec.trust.clip = ClipSpec{};
  return spec;
}

TEST(T0Trust, TokensAboveTheClipKeepAGradientUnderTheDetachedClipOnly) {
  PolicyLossSpec cispo;
  cispo.trust.detach_clip = DetachClipSpec{};
  for (double ratio : {1.21, 2.0, 4.9, 8.0}) {
    EXPECT_EQ(Gradient(Ppo(), ratio, 1), 0);
    EXPECT_NEAR(Gradient(cispo, ratio, 1), -std::min(ratio, 5.0), 1e-12);
  }
}

TEST(T0Trust, TheSoftGateHasNoJumpWhereTheHardClipHasOne) {
  PolicyLossSpec sapo;
  sapo.trust.soft_gate = SoftGateSpec{};
  for (double advantage : {1.0, -1.0}) {
    double soft = 0, hard = 0;  // largest change of the gradient between neighbouring ratios
    for (double ratio = 0.5; ratio < 2; ratio += 1e-3) {
      const auto jump = [&](const PolicyLossSpec& spec) {
        return std::abs(Gradient(spec, ratio + 1e-3, advantage) - Gradient(spec, ratio, advantage));
      };
      soft = std::max(soft, jump(sapo));
      hard = std::max(hard, jump(Ppo()));
    }
    EXPECT_LT(soft, 2e-3);
    EXPECT_NEAR(hard, advantage > 0 ? 1.2 : 0.8, 2e-3);
    EXPECT_NEAR(Gradient(sapo, 1, advantage), -advantage, 1e-12);
  }
}

TEST(T0Trust, AdvantagesThatKnowNothingMoveATokenOnlyOutsideTheClip) {
  const ClipSpec clip{0.2, 0.28, {}, {}};
  for (double ratio : {0.81, 1.0, 1.27}) EXPECT_EQ(ClipBias(clip, 0.7, ratio), 0);
  for (double ratio : {0.5, 0.79}) EXPECT_NEAR(ClipBias(clip, 0.7, ratio), -0.7 * ratio / 2, 1e-15);
  for (double ratio : {1.29, 3.0}) EXPECT_NEAR(ClipBias(clip, 0.7, ratio), 0.7 * ratio / 2, 1e-15);
}

// --- entropy ------------------------------------------------------------------------------------

double Covariance(const std::vector<double>& x, const std::vector<double>& y) {
  const double mx = Mean(x), my = Mean(y);
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += (x[i] - mx) * (y[i] - my);
  return sum / static_cast<double>(x.size());
}

// The text leaves the world open: one prompt of 10 answers with Gaussian logits, a group of 64, one
// small step. The advantage is the z-score of the reward, so its covariance with the log-prob is
// the reward's over the deviation.
TEST(T0Entropy, TheCovariancePredictsTheChangeOfEntropy) {
  CounterRng base(3);
  std::vector<double> predicted, measured;
  while (predicted.size() < kSeeds) {
    CounterRng rng(predicted.size());
    TabularPolicy policy = RandomBase(1, 10, 1, 0, &base);
    TrainOptions options;
    options.spec = Grpo();
    options.lr = 0.05;
    std::vector<Sampled> rows = SampleGroups(policy, {0}, 64, &rng);
    RewardRightAnswers(absl::MakeSpan(rows));
    std::vector<double> logprob, reward;
    for (const Sampled& row : rows) logprob.push_back(row.logprob), reward.push_back(row.reward);
    if (Variance(reward) == 0) continue;  // no update at all
    const double before = policy.MeanEntropy();
    Learn(options, rows, &policy);
    predicted.push_back(-Covariance(logprob, reward) / std::sqrt(Variance(reward)));
    measured.push_back(policy.MeanEntropy() - before);
  }
  EXPECT_GT(Correlation(predicted, measured), 0.8);
}

// The text leaves the world open: 8 prompts of 10 answers; a rollout is 4 groups of 16 per prompt,
// in 4 mini-batches that hold every prompt. Methods are compared at the step in which pass@1 first
// reaches 0.7. The shares are larger than the papers', whose batches have thousands of tokens.
double EntropyAtReward(const AlgorithmSpec& spec, uint64_t seed) {
  CounterRng rng(seed);
  TabularPolicy policy = RandomBase(8, 10, 1, 0, &rng);
  TrainOptions options;
  options.spec = spec;
  options.mini_batches = 4;
  options.lr = 2;
  std::vector<size_t> prompts;
  for (int m = 0; m < 4; ++m) {
    for (size_t q = 0; q < 8; ++q) prompts.push_back(q);
  }
  for (int step = 0; step < 100 && policy.PassAt1() < 0.7; ++step) {
    TrainStep(options, RewardRightAnswers, prompts, &rng, &policy);
  }
  EXPECT_GE(policy.PassAt1(), 0.7);
  return policy.MeanEntropy();
}

TEST(T0Entropy, TheCovarianceMethodsKeepMoreEntropyAtEqualReward) {
  AlgorithmSpec kl_cov = Grpo(), clip_cov = Grpo();
  kl_cov.trust = TrustSpec{};
  kl_cov.trust.kl_cov = KlCovSpec{0.2, 1};
  clip_cov.trust.clip = ClipSpec{1, 1, {}, {}};
  clip_cov.trust.clip_cov = ClipCovSpec{0.2, 0.2, 5};
  std::vector<double> more_kl, more_clip;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const double plain = EntropyAtReward(Grpo(), seed);
    more_kl.push_back(EntropyAtReward(kl_cov, seed) - plain);
    more_clip.push_back(EntropyAtReward(clip_cov, seed) - plain);
  }
  EXPECT_GT(Mean(more_kl), 3 * StandardError(more_kl));
  EXPECT_GT(Mean(more_clip), 3 * StandardError(more_clip));
}

}  // namespace
}  // namespace cohort::t0

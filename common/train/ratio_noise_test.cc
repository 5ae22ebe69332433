// algorithms.md 13, GSPO: zero-mean noise of 0.05 to 0.2 nats per token in the old log-probs, as a
// sampler leaves that does not compute exactly what the trainer does.
#include <ATen/ATen.h>

#include <cmath>

#include "common/base/rng.h"
#include "common/train/train_runs.h"

namespace cohort {
namespace {

constexpr double kLevels[] = {0.05, 0.1, 0.2};  // nats

double Gaussian(CounterRng* rng) {
  constexpr double kTwoPi = 6.283185307179586;
  const double radius = std::sqrt(-2 * std::log(1 - rng->Uniform()));
  return radius * std::cos(kTwoPi * rng->Uniform());
}

// Rows of 32 tokens whose sampler's log-probs are the model's own, and noise.
std::vector<Group> Sampled(const CausalLm& model, double sigma, uint64_t seed) {
  CounterRng rng(21), noise(seed);
  std::vector<Group> groups = MakeGroups(3, 4);
  for (Group& group : groups) {
    for (Row& row : group.rows) {
      while (row.tokens.size() < 32) row.tokens.push_back(static_cast<int32_t>(3 + rng.Below(28)));
      row.mask.assign(row.tokens.size(), 1);
      row.versions.assign(row.tokens.size(), 0);
      row.logprobs.clear();
      for (const double own : NaiveLogprobs(model, group, row)) {
        row.logprobs.push_back(static_cast<float>(own + sigma * Gaussian(&noise)));
      }
    }
  }
  return groups;
}

TrainerOptions WithRatio(Ratio ratio) {
  TrainerOptions options = TinyOptions();
  options.algorithm.offpolicy.kind = OffPolicy::kBypass;  // old is what the sampler said
  options.algorithm.agg.mode = Aggregation::kSeqMeanTokenMean;
  options.algorithm.ratio = ratio;
  options.lr.lr = 0;
  return options;
}

// Of the gradient, against that without noise; mean over seeds.
double RelativeError(Ratio ratio, double sigma) {
  const auto model = TinyTrainModel(at::kDouble);
  const TrainerOptions options = WithRatio(ratio);
  const auto flat = [&](double noise, uint64_t seed) {
    const Outcome out = TrainAlone(options, Sampled(*model, noise, seed), at::kDouble, 1);
    std::vector<at::Tensor> parts;
    for (const at::Tensor& g : out.gradients) parts.push_back(g.view(-1));
    return at::cat(parts);
  };
  const at::Tensor clean = flat(0, 0);
  double sum = 0;
  constexpr uint64_t kSeeds = 3;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    sum += RelativeDifference(flat(sigma, seed), clean) / kSeeds;
  }
  return sum;
}

TEST(RatioNoise, DistortsTheGradientOfTokenRatiosMoreThanThatOfSequenceRatios) {
  for (const double sigma : kLevels) {
    const double token = RelativeError(Ratio::kToken, sigma);
    const double sequence = RelativeError(Ratio::kSequenceGeo, sigma);
    EXPECT_GT(token, 4 * sequence) << sigma;
  }
}

TEST(RatioNoise, CutsTokensByChanceAndNoWholeResponse) {
  const auto model = TinyTrainModel(at::kDouble);
  const auto cut = [&](Ratio ratio) {
    const Outcome out = TrainAlone(WithRatio(ratio), Sampled(*model, 0.2, 5), at::kDouble, 1);
    return (out.report.stats.clipped_low + out.report.stats.clipped_high) / out.report.stats.tokens;
  };
  EXPECT_GT(cut(Ratio::kToken), 0.1);
  EXPECT_EQ(cut(Ratio::kSequenceGeo), 0);
}

}  // namespace
}  // namespace cohort

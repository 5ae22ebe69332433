// algorithms.md 13: dynamic sampling (DAPO), the valid fraction (GPG) and whitening over the batch
// (REINFORCE++).
#include <cmath>

#include "common/base/status_matchers.h"
#include "common/rl/filter.h"
#include "tests/t0/enumeration.h"
#include "tests/t0/statistics.h"
#include "tests/t0/tabular_world.h"

namespace cohort::t0 {
namespace {

constexpr uint64_t kSeeds = 200;

// --- dynamic sampling ---------------------------------------------------------------------------

PromptFilterSpec Dynamic() {
  PromptFilterSpec spec;
  spec.kind = PromptFilter::kDynamic;
  return spec;
}

std::vector<double> Accuracies(int64_t right, int64_t n) {
  std::vector<double> accuracy(static_cast<size_t>(n), 0);
  for (int64_t i = 0; i < right; ++i) accuracy[static_cast<size_t>(i)] = 1;
  return accuracy;
}

double KeptShare(double p, int n) {
  double kept = 0;
  for (int k = 0; k <= n; ++k) {
    const bool keep = JudgePrompt(Dynamic(), Accuracies(k, n)) == PromptVerdict::kKeep;
    kept += keep ? BinomialProbability(n, k, p) : 0;
  }
  return kept;
}

TEST(T0DynamicSampling, ExpectedPromptsPerKeptOneAreTheClosedForm) {
  for (int n : {2, 8, 16}) {
    for (double p : {0.05, 0.3, 0.5, 0.9}) {
      const double closed = 1 / (1 - std::pow(p, n) - std::pow(1 - p, n));
      EXPECT_NEAR(1 / KeptShare(p, n), closed, 1e-9 * closed) << n << " " << p;
    }
  }
}

TEST(T0DynamicSampling, RoundsUntilABatchIsFullGenerateAsManyPromptsAsExpected) {
  const int64_t n = 8, wanted = 16;
  const double p = 0.1;
  std::vector<double> generated;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    CounterRng rng(seed);
    std::vector<std::vector<double>> accuracy;
    PromptSelection selection;
    do {  // one prompt at a time, so that no surplus is thrown away
      int64_t right = 0;
      for (int64_t i = 0; i < n; ++i) right += rng.Uniform() < p ? 1 : 0;
      accuracy.push_back(Accuracies(right, n));
      selection = SelectPrompts(Dynamic(), accuracy, wanted);
    } while (selection.need_more);
    generated.push_back(static_cast<double>(accuracy.size()) / wanted);
  }
  EXPECT_NEAR(Mean(generated), 1 / KeptShare(p, 8), 4 * StandardError(generated));
}

struct TrainedTo {
  double steps = 0;
  double zero_rows = 0;  // share of rows without a gradient
};

// Steps of 8 prompts x 8 rows until pass@1 is 0.85. The text leaves the world open: 24 prompts of
// 10 answers, a third of them hard (right answer 2 nats down), a third easy (3 nats up).
TrainedTo StepsToTarget(bool dynamic, uint64_t seed) {
  CounterRng rng(seed);
  TabularPolicy policy = RandomBase(24, 10, 0.5, 0, &rng);
  for (size_t q = 0; q < 24; ++q) policy.logits[q][0] += q % 3 == 0 ? -2 : q % 3 == 1 ? 3 : 1;
  TrainOptions options;
  options.spec = Grpo();
  options.group_size = 8;
  options.lr = 4;
  TrainedTo out;
  double zero = 0, rows = 0;
  while (policy.PassAt1() < 0.85 && out.steps < 400) {
    std::vector<Sampled> batch;
    for (int64_t g = 0; g < 8;) {
      std::vector<Sampled> group =
          SampleGroups(policy, {static_cast<size_t>(rng.Below(24))}, 8, &rng);
      RewardRightAnswers(absl::MakeSpan(group));
      std::vector<double> accuracy;
      for (Sampled& row : group) row.group = g, accuracy.push_back(row.reward);
      const bool mixed = JudgePrompt(Dynamic(), accuracy) == PromptVerdict::kKeep;
      if (dynamic && !mixed) continue;
      zero += mixed ? 0 : 8, rows += 8, ++g;
      batch.insert(batch.end(), group.begin(), group.end());
    }
    Learn(options, batch, &policy);
    out.steps += 1;
  }
  out.zero_rows = zero / rows;
  return out;
}

TEST(T0DynamicSampling, NoRowIsWithoutGradientAndFewerStepsReachTheTarget) {
  std::vector<double> plain, dynamic, zero;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const TrainedTo without = StepsToTarget(false, seed), with = StepsToTarget(true, seed);
    plain.push_back(without.steps), dynamic.push_back(with.steps);
    zero.push_back(without.zero_rows);
    EXPECT_EQ(with.zero_rows, 0);
  }
  EXPECT_GT(Mean(zero), 0.2);
  EXPECT_LT(Mean(dynamic), 0.8 * Mean(plain));
}

// --- the valid fraction -------------------------------------------------------------------------

// Norm of the update of a batch of `mixed` equal mixed groups and `degenerate` ones, in a world
// where all prompts share the parameters.
double BatchNorm(AdvantageScale scale, int mixed, int degenerate) {
  const std::vector<Outcome> world = SoftmaxOutcomes({0.3, -0.4, 1.1}, {1, 0, 0});
  std::vector<BatchRow> batch;
  for (int g = 0; g < mixed + degenerate; ++g) {
    for (size_t i = 0; i < 4; ++i) batch.push_back({&world[g < mixed ? i % 3 : 2], g, 0});
  }
  return Norm(UpdateOf(
      PolicyGradient(AdvantageBaseline::kGroupMean, scale, Aggregation::kTokenMean), batch));
}

TEST(T0ValidFraction, AlphaKeepsTheUpdatesNormWhateverTheShareOfDegenerateGroups) {
  const double full = BatchNorm(AdvantageScale::kNone, 8, 0);
  ASSERT_GT(full, 0.01);
  for (int degenerate : {0, 2, 4, 6, 7}) {
    const int mixed = 8 - degenerate;
    EXPECT_NEAR(BatchNorm(AdvantageScale::kValidFraction, mixed, degenerate), full, 1e-12);
    EXPECT_NEAR(BatchNorm(AdvantageScale::kNone, mixed, degenerate), full * mixed / 8, 1e-12);
  }
  EXPECT_EQ(BatchNorm(AdvantageScale::kValidFraction, 0, 8), 0);
}

// The text leaves the world open: 16 prompts of 4 answers, groups of 8, 90 steps. The last third is
// trained from the same policies with and without alpha, so that the first two thirds do not blur
// the comparison.
TEST(T0ValidFraction, WithoutAlphaTheLastThirdOfTrainingIsSlower) {
  std::vector<double> with, without;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    CounterRng rng(seed);
    TabularPolicy start = RandomBase(16, 4, 1, 0, &rng);
    TrainOptions options;
    options.spec = PolicyGradient(AdvantageBaseline::kGroupMean, AdvantageScale::kValidFraction,
                                  Aggregation::kTokenMean);
    options.group_size = 8;
    options.lr = 4;
    const std::vector<size_t> prompts = AllPrompts(16);
    for (int i = 0; i < 60; ++i) TrainStep(options, RewardRightAnswers, prompts, &rng, &start);
    for (AdvantageScale scale : {AdvantageScale::kValidFraction, AdvantageScale::kNone}) {
      TabularPolicy policy = start;
      CounterRng same(seed, 1);
      options.spec.advantage.scale = scale;
      for (int i = 0; i < 30; ++i) TrainStep(options, RewardRightAnswers, prompts, &same, &policy);
      (scale == AdvantageScale::kNone ? without : with)
          .push_back(policy.PassAt1() - start.PassAt1());
    }
  }
  EXPECT_GT(Mean(with), 1.3 * Mean(without));
  EXPECT_GT(Mean(without), 0);
}

// --- REINFORCE++ --------------------------------------------------------------------------------

AlgorithmSpec ReinforcePlusPlus() {
  AlgorithmSpec spec = Grpo();
  spec.advantage.baseline = AdvantageBaseline::kNone;
  spec.advantage.scale = AdvantageScale::kTokenWhiten;
  spec.advantage.level = AdvantageLevel::kReturns;
  return spec;
}

// The text leaves the world open: 8 prompts of 4 answers with Gaussian logits, the right one 0.5
// up, groups of 4. One prompt's rewards are multiplied by `factor` and moved by `offset`. The
// norm's standard deviation over its mean, over batches from the same policy.
double SpreadOfNorms(const AlgorithmSpec& spec, double factor, double offset) {
  CounterRng base(7);
  const TabularPolicy policy = RandomBase(8, 4, 1, 0.5, &base);
  const Rewarder rewarder = [&](absl::Span<Sampled> rows) {
    RewardRightAnswers(rows);
    for (Sampled& row : rows)
      row.reward = row.prompt == 0 ? factor * row.reward + offset : row.reward;
  };
  TrainOptions options;
  options.spec = spec;
  options.group_size = 4;
  std::vector<double> norms;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    CounterRng rng(seed, 1);
    TabularPolicy copy = policy;
    norms.push_back(TrainStep(options, rewarder, AllPrompts(8), &rng, &copy));
  }
  return RelativeSpread(norms);
}

TEST(T0ReinforcePlusPlus, OnePromptWithRewardsOnAnotherScaleMovesTheUpdatesNormLessThanGrpos) {
  for (double factor : {1.0, 3.0}) {
    EXPECT_LT(SpreadOfNorms(ReinforcePlusPlus(), factor, 0),
              0.85 * SpreadOfNorms(Grpo(), factor, 0));
  }
}

// The other way round: a constant on top of one prompt's rewards is nothing to a group's baseline,
// and dominates a batch that is whitened without one. REINFORCE++-baseline stands both.
TEST(T0ReinforcePlusPlus, AConstantOnOnePromptsRewardsIsItsWeakness) {
  AlgorithmSpec with_baseline = ReinforcePlusPlus();
  with_baseline.advantage.baseline = AdvantageBaseline::kGroupMean;
  with_baseline.advantage.level = AdvantageLevel::kSequence;
  const double grpo = SpreadOfNorms(Grpo(), 1, 5);
  EXPECT_GT(SpreadOfNorms(ReinforcePlusPlus(), 1, 5), 1.5 * grpo);
  EXPECT_LT(SpreadOfNorms(with_baseline, 1, 5), 0.85 * grpo);
}

TEST(T0ReinforcePlusPlus, OneRowPerPromptIsEnoughWhereGroupsLearnNothing) {
  for (bool whiten : {true, false}) {
    std::vector<double> gain;
    for (uint64_t seed = 0; seed < kSeeds; ++seed) {
      CounterRng rng(seed);
      TabularPolicy policy = RandomBase(32, 4, 1, 0, &rng);
      const double before = policy.PassAt1();
      TrainOptions options;
      options.spec = whiten ? ReinforcePlusPlus() : Grpo();
      options.group_size = 1;
      options.lr = 8;
      for (int i = 0; i < 40; ++i) {
        TrainStep(options, RewardRightAnswers, AllPrompts(32), &rng, &policy);
      }
      gain.push_back(policy.PassAt1() - before);
    }
    if (whiten) {
      EXPECT_GT(Mean(gain), 0.2);
    } else {
      EXPECT_EQ(Mean(gain), 0);
    }
  }
}

}  // namespace
}  // namespace cohort::t0

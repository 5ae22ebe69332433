// algorithms.md 13, "RLOO / ReMax / OPO": bias and variance of baselines, by enumeration of every
// possible group.
#include <cmath>

#include "common/base/status_matchers.h"
#include "tests/t0/enumeration.h"
#include "tests/t0/statistics.h"

namespace cohort::t0 {
namespace {

AlgorithmSpec With(AdvantageBaseline baseline) {
  return PolicyGradient(baseline, AdvantageScale::kNone, Aggregation::kSeqMeanTokenSum);
}

std::vector<Outcome> FourAnswers() {
  return SoftmaxOutcomes({0.3, -0.4, 1.1, 0.0}, {1, 0, 0.5, -0.25});
}

void ExpectNear(const std::vector<double>& got, const std::vector<double>& expected, double tol) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t j = 0; j < got.size(); ++j) EXPECT_NEAR(got[j], expected[j], tol) << j;
}

TEST(T0Baselines, NoneAndLeaveOneOutAreUnbiased) {
  const std::vector<Outcome> world = FourAnswers();
  for (AdvantageBaseline baseline : {AdvantageBaseline::kNone, AdvantageBaseline::kLeaveOneOut}) {
    for (int n : {2, 3, 5}) {
      ExpectNear(ExpectedUpdate(With(baseline), world, n).mean, TrueGradient(world), 1e-10);
    }
  }
}

TEST(T0Baselines, TheGreedyRewardIsUnbiasedForAnyGreedyAnswer) {
  const std::vector<Outcome> world = FourAnswers();
  for (const Outcome& greedy : world) {
    for (int n : {1, 2, 4}) {
      const UpdateMoments update =
          ExpectedUpdate(With(AdvantageBaseline::kGreedy), world, n, greedy.reward);
      ExpectNear(update.mean, TrueGradient(world), 1e-10);
    }
  }
}

TEST(T0Baselines, TheGroupMeanGivesOneMinusOneOverNOfTheGradient) {
  const std::vector<Outcome> world = FourAnswers();
  for (int n : {2, 3, 5}) {
    std::vector<double> expected = TrueGradient(world);
    for (double& g : expected) g *= 1 - 1.0 / n;
    ExpectNear(ExpectedUpdate(With(AdvantageBaseline::kGroupMean), world, n).mean, expected, 1e-10);
  }
}

// Every sample sits in its own group's baseline, with a weight that grows with its length.
TEST(T0Baselines, TheLengthWeightedBaselineHasABiasThatHalvesWhenTheGroupDoubles) {
  const double p = 0.4;
  const std::vector<double> pad{0};
  const Outcome right{p, 1, {{1 - p}}};
  const Outcome wrong{1 - p, 0, {{-p}, pad, pad, pad}};
  const double truth = TrueGradient({right, wrong})[0];
  std::vector<double> bias;
  for (int n : {8, 16, 32, 64}) {
    const AlgorithmSpec spec = With(AdvantageBaseline::kLengthWeighted);
    bias.push_back(std::abs(ExpectedUpdateByCounts(spec, right, wrong, n).mean[0] - truth));
    EXPECT_GT(bias.back(), 1e-4) << n;
  }
  for (size_t i = 1; i < bias.size(); ++i) EXPECT_NEAR(bias[i] / bias[i - 1], 0.5, 0.06);
}

TEST(T0Baselines, LeaveOneOutHasLessVarianceThanNoBaseline) {
  // Rewards that are mostly positive, as 0/1 rewards are.
  const std::vector<Outcome> world = SoftmaxOutcomes({0.3, -0.4, 1.1, 0.0}, {1, 0, 1, 0.5});
  for (int n : {2, 4}) {
    EXPECT_LT(ExpectedUpdate(With(AdvantageBaseline::kLeaveOneOut), world, n).variance,
              ExpectedUpdate(With(AdvantageBaseline::kNone), world, n).variance);
  }
}

// Informative: most of the other answers share the greedy answer's reward. Without that, where only
// the greedy answer is right, its reward overshoots the best baseline and the variance grows.
TEST(T0Baselines, TheGreedyRewardLowersTheVarianceWhereItIsInformative) {
  const std::vector<double> logits{1.0, 0.6, 0.6, -0.5};  // the first is greedy
  const std::vector<Outcome> easy = SoftmaxOutcomes(logits, {1, 1, 1, 0});
  const std::vector<Outcome> lucky = SoftmaxOutcomes(logits, {1, 0, 0, 0});
  const std::vector<Outcome> hard = SoftmaxOutcomes(logits, {0, 0, 0, 1});
  const auto variance = [](AdvantageBaseline baseline, const std::vector<Outcome>& world) {
    return ExpectedUpdate(With(baseline), world, 2, world[0].reward).variance;
  };
  constexpr AdvantageBaseline kGreedy = AdvantageBaseline::kGreedy;
  constexpr AdvantageBaseline kNone = AdvantageBaseline::kNone;
  EXPECT_LT(variance(kGreedy, easy), 0.5 * variance(kNone, easy));
  EXPECT_GT(variance(kGreedy, lucky), variance(kNone, lucky));
  EXPECT_NEAR(variance(kGreedy, hard), variance(kNone, hard), 1e-12);  // both subtract 0
}

// Right or wrong, then `tail` fair coins, each with a parameter of its own that no reward depends
// on: the squared norm of the score grows with the length, by 1/4 a coin.
void AddResponses(double p, bool right, int tail, std::vector<Outcome>* world) {
  const size_t parameters = 4;
  for (int bits = 0; bits < 1 << tail; ++bits) {
    Outcome outcome;
    outcome.probability = (right ? p : 1 - p) / (1 << tail);
    outcome.reward = right ? 1 : 0;
    outcome.score.emplace_back(parameters, 0);
    outcome.score[0][0] = right ? 1 - p : -p;
    for (int t = 0; t < tail; ++t) {
      outcome.score.emplace_back(parameters, 0);
      outcome.score.back()[static_cast<size_t>(t) + 1] = (bits >> t & 1) != 0 ? 0.5 : -0.5;
    }
    world->push_back(outcome);
  }
}

TEST(T0Baselines, TheLengthWeightedBaselineHasLessVarianceWhereLongResponsesHaveLargerScores) {
  for (double p : {0.3, 0.5, 0.7}) {
    for (bool long_is_right : {false, true}) {
      std::vector<Outcome> world;
      AddResponses(p, true, long_is_right ? 3 : 0, &world);
      AddResponses(p, false, long_is_right ? 0 : 3, &world);
      for (int n : {2, 4}) {
        EXPECT_LT(ExpectedUpdate(With(AdvantageBaseline::kLengthWeighted), world, n).variance,
                  ExpectedUpdate(With(AdvantageBaseline::kGroupMean), world, n).variance)
            << p << " " << long_is_right << " " << n;
      }
    }
  }
}

}  // namespace
}  // namespace cohort::t0

// algorithms.md 13, "std term": which prompts a group's standard deviation favours.
#include <cmath>

#include "common/base/status_matchers.h"
#include "tests/t0/enumeration.h"
#include "tests/t0/statistics.h"

namespace cohort::t0 {
namespace {

constexpr AdvantageBaseline kMean = AdvantageBaseline::kGroupMean;

// Expected update of the success logit of a prompt that is solved with probability p.
double Update(AdvantageScale scale, double p, int n) {
  const AlgorithmSpec spec = PolicyGradient(kMean, scale, Aggregation::kTokenMean);
  const std::vector<Outcome> outcomes = RightOrWrong(p);
  return ExpectedUpdateByCounts(spec, outcomes[0], outcomes[1], n).mean[0];
}

// Exponent a of update = c * (p (1-p))^a over p = 0.1, 0.15, ..., 0.9.
double Exponent(AdvantageScale scale, int n) {
  std::vector<double> x, y;
  for (int i = 2; i <= 18; ++i) {
    const double p = i / 20.0;
    if (i == 10) continue;
    x.push_back(std::log(p * (1 - p)));
    y.push_back(std::log(Update(scale, p, n)));
  }
  return Slope(x, y);
}

TEST(T0StdTerm, WithoutTheDeviationTheUpdateIsPTimesOneMinusP) {
  for (int n : {2, 8, 64}) {
    for (double p : {0.03, 0.25, 0.5, 0.9}) {
      EXPECT_NEAR(Update(AdvantageScale::kNone, p, n), (1 - 1.0 / n) * p * (1 - p), 1e-12);
    }
    EXPECT_NEAR(Exponent(AdvantageScale::kNone, n), 1, 1e-10);
  }
}

TEST(T0StdTerm, WithTheDeviationTheUpdateIsTheExpectedDeviation) {
  for (int n : {2, 8, 64}) {
    for (double p : {0.03, 0.25, 0.5, 0.9}) {
      double deviation = 0;  // E of the sample's Bessel standard deviation
      for (int k = 0; k <= n; ++k) {
        const double squares = static_cast<double>(k) * (n - k) / n;
        deviation += BinomialProbability(n, k, p) * std::sqrt(squares / (n - 1));
      }
      const double expected = (1 - 1.0 / n) * deviation;
      EXPECT_NEAR(Update(AdvantageScale::kGroupStd, p, n), expected, 1e-12) << n << " " << p;
    }
  }
}

TEST(T0StdTerm, TheExponentIsOneHalfWithAndOneWithoutTheDeviation) {
  EXPECT_NEAR(Exponent(AdvantageScale::kGroupStd, 256), 0.5, 0.01);
  EXPECT_NEAR(Exponent(AdvantageScale::kNone, 256), 1, 1e-9);
}

// What is taken from the middle goes to the ends: prompts that are too easy or too hard.
TEST(T0StdTerm, TheDeviationFavoursPromptsAtTheEnds) {
  const auto share = [](AdvantageScale scale, double p) {
    return Update(scale, p, 64) / Update(scale, 0.5, 64);
  };
  for (double p : {0.05, 0.1, 0.9, 0.95}) {
    EXPECT_GT(share(AdvantageScale::kGroupStd, p), 1.5 * share(AdvantageScale::kNone, p));
  }
}

}  // namespace
}  // namespace cohort::t0

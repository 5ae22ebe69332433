// algorithms.md 13, "TIS/IcePop/MIS": an engine that samples from another policy than the trainer
// computes with. Expectations are exact, over every possible response.
#include "common/rl/offpolicy.h"

#include <cmath>
#include <limits>

#include "common/base/status_matchers.h"
#include "tests/t0/enumeration.h"
#include "tests/t0/statistics.h"
#include "tests/t0/tabular_world.h"

namespace cohort::t0 {
namespace {

// Six answers. The text leaves the policies open: trainer logits `z`, engine logits z + shift,
// where the shift is small but for the first answer, whose ratio trainer / engine exceeds 2.
std::vector<Outcome> Mismatched(double first_shift) {
  const std::vector<double> z{-2.5, 1.0, 0.5, 0.0, -0.5, -1.0};
  const std::vector<double> shift{first_shift, 0.25, -0.2, 0.15, -0.25, 0.2};
  std::vector<double> engine;
  for (size_t v = 0; v < z.size(); ++v) engine.push_back(z[v] + shift[v]);
  std::vector<Outcome> world = SoftmaxOutcomes(z, {1, 0, 1, 0, 0.5, 1});
  const std::vector<double> sampled_with = Softmax(engine);
  for (size_t v = 0; v < z.size(); ++v) world[v].sampled_with = sampled_with[v];
  return world;
}

AlgorithmSpec Corrected(AdvantageBaseline baseline, OffPolicy kind, double cap = 2) {
  AlgorithmSpec spec =
      PolicyGradient(baseline, AdvantageScale::kNone, Aggregation::kSeqMeanTokenSum);
  spec.offpolicy.kind = kind;
  spec.offpolicy.cap = cap;
  return spec;
}

// Distance of the expected update from the on-policy gradient.
double Bias(const AlgorithmSpec& spec, const std::vector<Outcome>& world, int n) {
  return Norm(Difference(ExpectedUpdate(spec, world, n).mean, TrueGradient(world)));
}

TEST(T0OffPolicy, UncappedWeightsReproduceTheOnPolicyGradient) {
  const double infinity = std::numeric_limits<double>::infinity();
  for (double shift : {-1.2, 0.0, 2.0}) {
    const std::vector<Outcome> world = Mismatched(shift);
    const auto tis = [&](AdvantageBaseline b) { return Corrected(b, OffPolicy::kTis, infinity); };
    EXPECT_LT(Bias(tis(AdvantageBaseline::kNone), world, 1), 1e-10);
    EXPECT_LT(Bias(tis(AdvantageBaseline::kLeaveOneOut), world, 3), 1e-10);
  }
}

// An answer that the trainer likes three times as much as the engine, sampled in under 3 % of
// draws.
TEST(T0OffPolicy, ACapOfTwoHasLessBiasThanNoCorrectionWhereLargeRatiosAreRare) {
  const std::vector<Outcome> world = Mismatched(-1.2);
  const double ratio = world[0].probability / world[0].sampled_with;
  EXPECT_GT(ratio, 2);
  EXPECT_LT(world[0].sampled_with, 0.03);
  for (AdvantageBaseline baseline : {AdvantageBaseline::kNone, AdvantageBaseline::kLeaveOneOut}) {
    const double none = Bias(Corrected(baseline, OffPolicy::kNone), world, 2);
    const double tis = Bias(Corrected(baseline, OffPolicy::kTis), world, 2);
    EXPECT_GT(tis, 1e-6);  // the cap is active
    EXPECT_LT(tis, 0.5 * none);
  }
}

TEST(T0OffPolicy, MasksThatLetEverythingPassAreUncappedWeights) {
  const std::vector<Outcome> world = Mismatched(-1.2);
  for (OffPolicy kind : {OffPolicy::kIcepop, OffPolicy::kSeqMask}) {
    AlgorithmSpec spec = Corrected(AdvantageBaseline::kNone, kind);
    spec.offpolicy.stat = OffPolicyStat::kSeqSumK1;
    spec.offpolicy.low = 0, spec.offpolicy.high = 100;
    EXPECT_LT(Bias(spec, world, 2), 1e-10);
    spec.offpolicy.high = 2;  // the first answer's ratio is above
    EXPECT_GT(Bias(spec, world, 2), 1e-4);
  }
}

MismatchSums MeasureWorld(const std::vector<Outcome>& world, int64_t draws) {
  // Each response as often as the engine samples it.
  std::vector<std::vector<double>> old, rollout;
  for (const Outcome& outcome : world) {
    const auto count = std::lround(outcome.SampledWith() * static_cast<double>(draws));
    for (int64_t i = 0; i < count; ++i) {
      old.push_back({std::log(outcome.probability)});
      rollout.push_back({std::log(outcome.SampledWith())});
    }
  }
  const std::vector<uint8_t> mask{1};
  std::vector<OffPolicyRow> rows;
  for (size_t i = 0; i < old.size(); ++i) rows.push_back({old[i], rollout[i], mask});
  return *MeasureMismatch(rows);
}

TEST(T0OffPolicy, TheEffectiveSampleSizeDetectsTheMismatch) {
  std::vector<Outcome> same = Mismatched(0);
  for (Outcome& outcome : same) outcome.sampled_with = -1;
  EXPECT_EQ(MeasureWorld(same, 10000).Ess(), 1);
  double before = 1;
  for (double shift : {-0.6, -1.2, -2.0}) {
    const std::vector<Outcome> world = Mismatched(shift);
    double second_moment = 0;  // E over the engine of (trainer / engine)^2; the mean is 1
    for (const Outcome& o : world) second_moment += o.probability * o.probability / o.sampled_with;
    const double ess = MeasureWorld(world, 100000).Ess();
    EXPECT_NEAR(ess, 1 / second_moment, 2e-3);
    EXPECT_LT(ess, before);
    before = ess;
  }
}

}  // namespace
}  // namespace cohort::t0

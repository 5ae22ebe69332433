// algorithms.md 13, "Dr.GRPO": the length world. A response is a right or a wrong first token, then
// a geometric number of tokens: each stops with probability s. Its length says nothing about its
// reward, so no estimator should move s.
#include <cmath>

#include "common/base/rng.h"
#include "common/base/status_matchers.h"
#include "common/rl/advantage.h"
#include "common/rl/aggregation.h"
#include "common/rl/policy_loss.h"
#include "tests/t0/statistics.h"

namespace cohort::t0 {
namespace {

AggregationSpec PerToken() { return {Aggregation::kSeqMeanTokenMean, 0, EmptyRows::kAuto}; }
AggregationSpec Constant(double c) {
  return {Aggregation::kSeqMeanTokenSumConst, c, EmptyRows::kAuto};
}

// d log pi / d s of a response of `length` tokens, the last of which stops.
double Score(int64_t length, double s) { return 1 / s - static_cast<double>(length - 1) / (1 - s); }

// What one batch of responses does to s under plain policy gradient: minus the loss's gradient.
// The tokens of one row weigh the same, so a row's share is its weight times its score.
std::vector<double> Updates(const AggregationSpec& agg, const std::vector<int64_t>& lengths,
                            const std::vector<double>& advantage, double s) {
  std::vector<AggregationRow> counts;
  for (int64_t length : lengths) counts.push_back({length, 0, 0});
  const std::vector<double> row_weight = AggregationWeights(agg, counts);
  std::vector<double> logprob, a, weight;
  std::vector<int64_t> offsets{0};
  for (size_t i = 0; i < lengths.size(); ++i) {
    for (int64_t t = 0; t < lengths[i]; ++t) {
      logprob.push_back(std::log(t + 1 < lengths[i] ? 1 - s : s));
      a.push_back(advantage[i]);
      weight.push_back(row_weight[i]);
    }
    offsets.push_back(static_cast<int64_t>(logprob.size()));
  }
  PolicyLossSpec spec;
  spec.ratio = Ratio::kNone;
  PolicyTokens tokens;
  tokens.logprob = logprob, tokens.advantage = a, tokens.weight = weight;
  tokens.row_offsets = offsets;
  const PolicyLoss loss = *ComputePolicyLoss(spec, tokens);
  std::vector<double> updates;
  for (size_t i = 0; i < lengths.size(); ++i) {
    const auto first = static_cast<size_t>(offsets[i]);
    updates.push_back(-loss.d_logprob[first] * Score(lengths[i], s));
  }
  return updates;
}

// Expected update of s by one response with advantage 1, summed until the tail is below 1e-15.
double ExpectedUpdate(const AggregationSpec& agg, double s) {
  double sum = 0, tail = 1;
  for (int64_t length = 1; tail > 1e-15; ++length, tail *= 1 - s) {
    sum += tail * s * Updates(agg, {length}, {1}, s)[0];
  }
  return sum;
}

TEST(T0Length, DividingByTheLengthMovesTheStopProbabilityByItsClosedForm) {
  for (double s : {0.1, 0.3, 0.5}) {
    const double closed = -std::log(s) / ((1 - s) * (1 - s)) - 1 / (1 - s);
    EXPECT_NEAR(ExpectedUpdate(PerToken(), s), closed, 1e-10) << s;
    EXPECT_GT(closed, 0);
  }
  EXPECT_NEAR(ExpectedUpdate(PerToken(), 0.1), 1.7316, 5e-5);
  EXPECT_NEAR(ExpectedUpdate(PerToken(), 0.3), 1.0285, 5e-5);
}

TEST(T0Length, AConstantDivisorDoesNotMoveIt) {
  for (double s : {0.1, 0.3, 0.5}) EXPECT_NEAR(ExpectedUpdate(Constant(20), s), 0, 1e-9) << s;
}

// Right and wrong responses have stop probabilities of their own, as logits; the first token is
// right with probability 1/2 throughout.
struct Lengths {
  double right = 0, wrong = 0;  // mean lengths after training
};

int64_t Geometric(double s, CounterRng* rng) {
  return 1 + static_cast<int64_t>(std::log(rng->Uniform()) / std::log1p(-s));
}

Lengths Train(const AdvantageSpec& adv, const AggregationSpec& agg, double lr, uint64_t seed) {
  CounterRng rng(seed);
  double logit[2] = {std::log(0.2 / 0.8), std::log(0.2 / 0.8)};  // [right]: mean length 5
  const auto stop = [&](size_t right) { return 1 / (1 + std::exp(-logit[right])); };
  for (int step = 0; step < 60; ++step) {
    std::vector<int64_t> lengths;
    std::vector<AdvantageRow> rows(16);
    std::vector<size_t> right;
    for (AdvantageRow& row : rows) {
      right.push_back(rng.Below(2));
      row.reward = static_cast<double>(right.back());
      lengths.push_back(Geometric(stop(right.back()), &rng));
    }
    const Advantages advantages = *ComputeAdvantages(adv, rows);
    double change[2] = {0, 0};
    for (size_t side : {0, 1}) {
      const double s = stop(side);
      const std::vector<double> updates = Updates(agg, lengths, advantages.row, s);
      for (size_t i = 0; i < rows.size(); ++i) {
        if (right[i] == side) change[side] += updates[i] * s * (1 - s);
      }
    }
    for (size_t side : {0, 1}) logit[side] += lr * change[side];
  }
  return {1 / stop(1), 1 / stop(0)};
}

AdvantageSpec DrGrpo() {
  AdvantageSpec spec;
  spec.scale = AdvantageScale::kNone;
  return spec;
}

// The text gives no sizes: groups of 16, 60 steps, both mean lengths 5 at the start; step sizes for
// which 60 steps are visible.
TEST(T0Length, WrongResponsesGrowUnderTheLengthDivisionAndNotUnderTheConstant) {
  std::vector<double> grpo_wrong, grpo_right, dr_wrong, dr_right;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const Lengths grpo = Train(AdvantageSpec{}, PerToken(), 0.1, seed);
    const Lengths dr = Train(DrGrpo(), Constant(5), 0.1, seed);
    grpo_wrong.push_back(grpo.wrong), grpo_right.push_back(grpo.right);
    dr_wrong.push_back(dr.wrong), dr_right.push_back(dr.right);
  }
  EXPECT_GT(Mean(grpo_wrong) - 5, 10 * StandardError(grpo_wrong));
  EXPECT_LT(Mean(grpo_right) - 5, -10 * StandardError(grpo_right));
  EXPECT_NEAR(Mean(dr_wrong), 5, 0.25);
  EXPECT_NEAR(Mean(dr_right), 5, 0.25);
}

}  // namespace
}  // namespace cohort::t0

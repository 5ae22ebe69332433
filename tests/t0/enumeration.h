// Exact expectations in a world of finitely many responses (algorithms.md 13, world T0): the update
// that training would make is computed for every possible batch by the functions training uses, and
// averaged with the batch's probability. For tests only; a failing function ends the program.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "common/rl/algorithm_spec.h"

namespace cohort::t0 {

// One possible response to the prompt.
struct Outcome {
  double probability = 0;  // under the policy that is trained
  double reward = 0;
  std::vector<std::vector<double>> score;  // [tokens][parameters]: d log pi(token) / d parameter
  double sampled_with = -1;                // probability under the engine; < 0: the same

  double SampledWith() const { return sampled_with < 0 ? probability : sampled_with; }
};

struct BatchRow {
  const Outcome* outcome = nullptr;
  int64_t group = 0;
  double greedy_reward = 0;
};

// The ascent direction of one optimizer step on the batch: minus the gradient of the loss. The
// ratio is 1: the batch is fresh.
std::vector<double> UpdateOf(const AlgorithmSpec& spec, const std::vector<BatchRow>& batch);

// Sum of p * reward * score: what an unbiased estimator has as its mean under `none`-like scales.
std::vector<double> TrueGradient(const std::vector<Outcome>& outcomes);

struct UpdateMoments {
  std::vector<double> mean;
  double variance = 0;  // trace of the covariance
};

// Over all groups of n responses drawn independently.
UpdateMoments ExpectedUpdate(const AlgorithmSpec& spec, const std::vector<Outcome>& outcomes, int n,
                             double greedy_reward = 0);

// The same for two outcomes with any n: batches are told apart by their counts only.
UpdateMoments ExpectedUpdateByCounts(const AlgorithmSpec& spec, const Outcome& first,
                                     const Outcome& second, int n);

// n over k as a double, by products.
double Binomial(int n, int k);
// Probability of k successes of n.
double BinomialProbability(int n, int k, double p);

// A prompt with one logit: right with probability p = sigmoid(theta), d log pi / d theta as score.
std::vector<Outcome> RightOrWrong(double p);
// A softmax over the rewards' answers, one logit each; responses of one token.
std::vector<Outcome> SoftmaxOutcomes(const std::vector<double>& logits,
                                     const std::vector<double>& rewards);

// The policy-gradient objective with the given advantages, nothing else: no ratio, no trust region.
AlgorithmSpec PolicyGradient(AdvantageBaseline baseline, AdvantageScale scale,
                             Aggregation aggregation);

}  // namespace cohort::t0

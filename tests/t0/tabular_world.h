// T0, the tabular world of algorithms.md 13: one softmax over V answers per prompt, responses of
// one token, so that every quantity is known in closed form. Training goes through the functions of
// common/rl that a real run uses: advantages, aggregation, correction, policy loss. Only the
// gradient of the log-prob with respect to the logits is the world's own, and plain gradient
// descent takes the place of the optimizer. For tests only; single-threaded; a failing function
// ends the program.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "common/base/rng.h"
#include "common/rl/algorithm_spec.h"
#include "common/rl/label_free.h"

namespace cohort::t0 {

std::vector<double> Softmax(const std::vector<double>& logits);
double EntropyOf(const std::vector<double>& probabilities);  // nats
double Gaussian(CounterRng* rng);                            // mean 0, variance 1

struct TabularPolicy {
  std::vector<std::vector<double>> logits;  // [prompts][answers]

  std::vector<double> Probabilities(size_t prompt) const { return Softmax(logits[prompt]); }
  size_t Greedy(size_t prompt) const;
  // Mean probability of each prompt's answer 0, which is the right one in every world here.
  double PassAt1() const;
  double GreedyAccuracy() const;
  double MeanEntropy() const;
};

struct Sampled {
  size_t prompt = 0;
  int64_t group = 0;
  size_t answer = 0;
  double logprob = 0;  // when it was sampled
  double reward = 0;
};

std::vector<Sampled> SampleGroups(const TabularPolicy& policy, absl::Span<const size_t> prompts,
                                  int64_t group_size, CounterRng* rng);

// Sets the rewards of a rollout batch, whose rows stand in group order.
using Rewarder = std::function<void(absl::Span<Sampled>)>;
void RewardRightAnswers(absl::Span<Sampled> rows);
// Majority vote of the first `votes` rows of each group (0: all), semantic frequency, and the
// sequence's log-probability: sections 7.1, 7.2 and 7.4.
void RewardMajority(absl::Span<Sampled> rows);
void RewardSemanticFrequency(absl::Span<Sampled> rows);
void RewardLogprob(absl::Span<Sampled> rows);
// Calls `visit` with the rows of each group.
void ForEachGroup(absl::Span<Sampled> rows, const std::function<void(absl::Span<Sampled>)>& visit);

struct TrainOptions {
  AlgorithmSpec spec;
  int64_t group_size = 16;
  int64_t mini_batches = 1;
  int64_t epochs = 1;
  double lr = 1;
};

// What one rollout batch does to the policy: rewards, advantages, then one step per mini-batch.
// Returns the norm of the last step's gradient.
double Learn(const TrainOptions& options, absl::Span<const Sampled> rows, TabularPolicy* policy);

// SampleGroups, the rewarder, Learn.
double TrainStep(const TrainOptions& options, const Rewarder& rewarder,
                 absl::Span<const size_t> prompts, CounterRng* rng, TabularPolicy* policy);

// 0, 1, ..., count - 1: every prompt once.
std::vector<size_t> AllPrompts(size_t count);

// A base model: V answers with Gaussian logits of the given spread; the right one gets `head_start`
// on top.
TabularPolicy RandomBase(size_t prompts, size_t answers, double spread, double head_start,
                         CounterRng* rng);

// GRPO without a KL term: group mean and deviation, clip 0.2, token mean.
AlgorithmSpec Grpo();

}  // namespace cohort::t0

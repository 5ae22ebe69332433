// Random mini-batches for the tests of the policy loss.
#pragma once

#include <cstdint>
#include <vector>

#include "common/base/rng.h"
#include "common/base/status_matchers.h"
#include "common/rl/aggregation.h"
#include "common/rl/policy_loss.h"

namespace cohort {

// A mini-batch of packed rows that owns its arrays.
struct MiniBatch {
  std::vector<double> logprob, old, advantage, reference, entropy, correction;
  std::vector<uint8_t> mask;
  std::vector<int64_t> offsets{0};
  std::vector<int64_t> groups;
  std::vector<double> weight;

  size_t rows() const { return groups.size(); }
  size_t Begin(size_t row) const { return static_cast<size_t>(offsets[row]); }
  size_t End(size_t row) const { return static_cast<size_t>(offsets[row + 1]); }

  void SetWeights(const AggregationSpec& spec) {
    std::vector<AggregationRow> counts;
    for (size_t i = 0; i < rows(); ++i) {
      counts.push_back({0, groups[i], static_cast<int64_t>(i / 2)});
      for (size_t t = Begin(i); t < End(i); ++t) counts.back().valid_tokens += mask[t];
    }
    const std::vector<double> row_weight = AggregationWeights(spec, counts);
    weight.assign(logprob.size(), 0);
    for (size_t i = 0; i < rows(); ++i) {
      for (size_t t = Begin(i); t < End(i); ++t) weight[t] = mask[t] ? row_weight[i] : 0;
    }
  }

  PolicyTokens View() const {
    PolicyTokens x;
    x.logprob = logprob, x.old = old, x.advantage = advantage, x.weight = weight;
    x.reference = reference, x.entropy = entropy, x.mask = mask, x.row_offsets = offsets;
    x.correction = correction;
    return x;
  }

  // The rows [first, last) with the weights they have in the whole.
  MiniBatch Slice(size_t first, size_t last) const {
    MiniBatch part;
    const auto cut = [&](const auto& v) {
      return std::decay_t<decltype(v)>(v.begin() + offsets[first], v.begin() + offsets[last]);
    };
    part.logprob = cut(logprob), part.old = cut(old), part.advantage = cut(advantage);
    part.reference = cut(reference), part.entropy = cut(entropy), part.mask = cut(mask);
    part.correction = cut(correction), part.weight = cut(weight);
    for (size_t i = first; i < last; ++i) {
      part.offsets.push_back(offsets[i + 1] - offsets[first]);
      part.groups.push_back(groups[i]);
    }
    return part;
  }
};

inline MiniBatch RandomBatch(uint64_t seed, int64_t rows = 6) {
  CounterRng rng(seed);
  MiniBatch b;
  for (int64_t i = 0; i < rows; ++i) {
    const double advantage = 2 * rng.Uniform() - 1;
    const int64_t tokens = rng.Between(1, 5);
    for (int64_t t = 0; t < tokens; ++t) {
      const bool valid = rng.Below(5) != 0;
      b.mask.push_back(valid);
      b.logprob.push_back(valid ? -2 * rng.Uniform() : 1e3);
      b.old.push_back(valid ? b.logprob.back() + rng.Uniform() - 0.5 : -77);
      b.reference.push_back(valid ? b.logprob.back() + rng.Uniform() - 0.5 : 9e9);
      b.entropy.push_back(valid ? rng.Uniform() : -5);
      b.advantage.push_back(valid ? advantage : 1e6);
      b.correction.push_back(1);
    }
    b.offsets.push_back(static_cast<int64_t>(b.logprob.size()));
    b.groups.push_back(i / 2);
  }
  return b;
}

inline PolicyLoss Evaluate(const PolicyLossSpec& spec, const MiniBatch& b) {
  absl::StatusOr<PolicyLoss> loss = ComputePolicyLoss(spec, b.View());
  EXPECT_THAT(loss, IsOk());
  return *loss;
}

inline AggregationSpec Agg(Aggregation mode) { return {mode, 7, EmptyRows::kAuto}; }

}  // namespace cohort

// Joins common/rl/policy_loss.h to autograd: the loss of a micro-batch as a tensor whose gradient
// flows to the log-probs and entropies of ScoreTokens. The arithmetic is fp64 on the host, whatever
// the device; on an accelerator it costs one copy of [n] numbers each way.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/objective/token_scores.h"
#include "common/rl/policy_loss.h"

namespace cohort {

struct TotalLoss {
  at::Tensor loss;  // scalar of the log-probs' type; backward() reaches what `scores` came from
  PolicyLoss parts;
};

// `tokens` as in ComputePolicyLoss, except that its `logprob` and `entropy` are left empty: they
// are read from `scores` ([n] each, fp32 or fp64, any device). Scores of tokens that are masked get
// gradient 0. Errors: a loss that is not finite (the row is named), or what LibTorch throws.
absl::StatusOr<TotalLoss> ComputeTotalLoss(const PolicyLossSpec& spec, const TokenScores& scores,
                                           PolicyTokens tokens);

// Direct entropy minimisation (algorithms.md 7.5, 7.6): positions of the hidden states whose
// entropies are averaged, for a row of `prompt_length` prompt tokens and `total_length` in all.
// predict: the states that predict the response; reference: one later, as the authors' code.
std::vector<int64_t> EntropyPositions(int64_t prompt_length, int64_t total_length,
                                      EntropyAlign align);

// Sum of weight * entropy over packed rows, weighted by `reduction`: the mean over all tokens, or
// the mean over rows of each row's sum. `row_tokens`: entropies per row of the whole mini-batch.
absl::StatusOr<at::Tensor> ComputeEntropyLoss(const at::Tensor& entropy,
                                              absl::Span<const int64_t> row_tokens,
                                              EntropyReduction reduction);

}  // namespace cohort

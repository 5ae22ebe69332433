// Joins common/rl/policy_loss.h to autograd: the loss of a micro-batch as a tensor whose gradient
// flows to the log-probs and entropies of ScoreTokens. The arithmetic is fp64 on the host, whatever
// the device; on an accelerator it costs one copy of [n] numbers each way.
#pragma once

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
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

}  // namespace cohort

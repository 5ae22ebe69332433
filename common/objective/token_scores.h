// Log-probabilities and entropies of chosen tokens straight from hidden states.
// The [num_tokens, vocab] matrix never exists: the head is applied to chunks of rows, forward and
// backward (algorithms.md 2.1, 2.2). Log-sum-exp, entropy and their gradients are computed in fp32,
// or fp64 when the hidden states are fp64.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace cohort {

struct TokenScores {
  at::Tensor logprob;  // [n] fp32 (fp64 for fp64 inputs), nats; differentiable
  at::Tensor entropy;  // [n] of log-softmax(z / T), nats; differentiable only when asked for
};

struct TokenScoreOptions {
  double temperature = 1.0;  // of the rollout; logits are divided by it
  int64_t chunk_rows = 256;  // rows whose logits exist at a time; the result does not depend on it
  bool entropy_gradient = false;
  bool with_entropy = true;
};

// hidden: [n, hidden]; head: [vocab, hidden]; targets: [n] int64, the token each row predicts.
// Gradients flow to `hidden` and `head`. Throws c10::Error.
TokenScores ScoreTokens(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& targets,
                        const TokenScoreOptions& options = {});

}  // namespace cohort

// From logits to tokens: temperature, top-k, top-p, log-probabilities and entropy in one pass.
// Formulas: algorithms.md 2.1 and 2.2.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace cohort {

// How one row's next token is drawn.
struct SampleSpec {
  float temperature = 1.0f;  // 0: greedy, the lowest id among equals
  float top_p = 1.0f;        // 1: off
  int32_t top_k = 0;         // 0: off
  double uniform = 0.5;      // (0, 1): the token is where the cumulative distribution passes it
  int32_t forced = -1;       // take this token, whatever its probability; -1: draw one
  bool entropy = false;
  bool truncated() const { return temperature > 0 && (top_k > 0 || top_p < 1.0f); }
};

struct SampledToken {
  int32_t token = -1;
  float logprob = 0;            // log-softmax(z / T), untruncated; T = 1 when greedy; nats
  float truncated_logprob = 0;  // under top-k and top-p; equals logprob when they are off
  float entropy = 0;            // of softmax(z / T), nats; 0 unless asked for
  bool finite = true;           // false: a logit is not finite, nothing was drawn
};

// logits: [rows, vocab_size], fp32, bf16 or fp64, on any device; one spec per row.
// Top-k keeps exactly k tokens (lower ids among equals), then top-p the shortest run of the most
// probable of those that reaches p of their mass. Sums in fp32 chunks added in fp64 (fp64 logits:
// all in fp64). A row's result does not depend on the other rows. Throws c10::Error.
std::vector<SampledToken> SampleTokens(const at::Tensor& logits,
                                       absl::Span<const SampleSpec> specs);

// The same by tensor operations, which is what runs on a GPU; for comparison on the CPU.
std::vector<SampledToken> SampleTokensPortable(const at::Tensor& logits,
                                               absl::Span<const SampleSpec> specs);

}  // namespace cohort

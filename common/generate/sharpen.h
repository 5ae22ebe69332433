// EM-INF while decoding (algorithms.md 7.7): the logits of each row are optimised for low entropy
// before the temperature divides them and a token is drawn. Every row decides for itself, with a
// fresh Adam state per token (common/rl/em_inf.h). The weights stay as they are.
//
// The distribution that is sampled from is the sharpened one, so a token's log-prob and entropy,
// computed from these logits, are its own: they travel with the group.
#pragma once

#include <ATen/core/Tensor.h>

#include "common/rl/em_inf.h"

namespace cohort {

// logits: [rows, vocab_size], fp32, bf16 or fp64, on any device -> fp64 on the CPU. A row with a
// logit that is not finite comes back as it was. Throws c10::Error.
at::Tensor SharpenLogits(const at::Tensor& logits, const EmInfOptions& options);

}  // namespace cohort

// The seam between the transformer and whoever lays out its tokens: the learner packs trees of
// segments (PackedAttention), the generator keeps keys and values in a cache (common/generate).
#pragma once

#include <ATen/core/Tensor.h>

namespace cohort {

class Attention {
 public:
  virtual ~Attention() = default;

  // Called by CausalLm::Forward once per layer, layers in order. Rotary embedding is already
  // applied.
  //   q: [num_tokens, num_heads, head_dim]; k, v: [num_tokens, num_kv_heads, head_dim]
  //   returns: [num_tokens, num_heads, head_dim], the dtype of q
  // Scaled by 1/sqrt(head_dim). May throw c10::Error; the caller of Forward converts it.
  virtual at::Tensor Attend(int layer, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v) = 0;
};

}  // namespace cohort

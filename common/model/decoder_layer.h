// One layer of the transformer: attention and a gated feed-forward network, each behind an RMSNorm
// and added to its input.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "common/model/attention.h"
#include "common/model/layer_ops.h"
#include "common/model/model_config.h"

namespace cohort {

// What all layers of one forward pass share.
struct ForwardContext {
  const ModelConfig* config = nullptr;
  Attention* attention = nullptr;
  RopeTable rope;
};

// Undefined tensors: the architecture has no such parameter.
struct DecoderLayer {
  int index = 0;
  at::Tensor input_norm;   // [hidden]
  at::Tensor qkv_weight;   // [qkv_size, hidden]
  at::Tensor qkv_bias;     // [qkv_size]
  at::Tensor q_norm;       // [head_dim]
  at::Tensor k_norm;       // [head_dim]
  at::Tensor o_weight;     // [hidden, q_size]
  at::Tensor o_bias;       // [hidden]
  at::Tensor post_norm;    // [hidden]
  at::Tensor gate_up;      // [2 intermediate, hidden]
  at::Tensor down_weight;  // [hidden, intermediate]

  // hidden: [num_tokens, hidden_size] -> the same shape. Throws c10::Error.
  at::Tensor Forward(const ForwardContext& context, const at::Tensor& hidden) const;

  // The same function, keeping only `hidden` for the backward pass, which runs the layer again.
  // The layer and what the context points to must outlive the backward pass.
  at::Tensor ForwardCheckpointed(const ForwardContext& context, const at::Tensor& hidden) const;

  std::vector<at::Tensor> Parameters() const;  // the defined ones

 private:
  at::Tensor SelfAttention(const ForwardContext& context, const at::Tensor& normed) const;
};

}  // namespace cohort

// One block of attention with what is needed to merge it with others: the building stone of
// PackedAttention.
//
// Softmax over a union of key sets is the average of the softmaxes over the sets, weighted by
// exp(log-sum-exp). In the backward pass every part takes the merged output and log-sum-exp; its
// gradients are then its exact share (FlashAttention's backward recomputes the probabilities from
// the log-sum-exp it is given).
#pragma once

#include <ATen/core/Tensor.h>

namespace cohort {

struct AttentionPart {
  at::Tensor out;  // [batch, heads, q_len, head_dim], dtype of q
  at::Tensor lse;  // [batch, heads, q_len], natural log, fp32 (fp64 for fp64)
};

struct AttentionGrads {
  at::Tensor q, k, v;
};

// q: [batch, heads, q_len, head_dim]; k, v: [batch, heads, k_len, head_dim]. Any strides, the last
// one 1. causal: query i sees keys 0..i (q_len == k_len). Scaled by 1/sqrt(head_dim).
// Flash kernels where this LibTorch has them for the device and dtype, else chunks of queries; no
// memory grows with q_len * k_len. Throw c10::Error.
AttentionPart AttentionForward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               bool causal);
AttentionGrads AttentionBackward(const at::Tensor& grad_out, const at::Tensor& q,
                                 const at::Tensor& k, const at::Tensor& v,
                                 const AttentionPart& merged, bool causal);

// The fallback that AttentionForward and AttentionBackward use, on any device; for tests.
AttentionPart ChunkedAttentionForward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                      bool causal);
AttentionGrads ChunkedAttentionBackward(const at::Tensor& grad_out, const at::Tensor& q,
                                        const at::Tensor& k, const at::Tensor& v,
                                        const AttentionPart& merged, bool causal);

}  // namespace cohort

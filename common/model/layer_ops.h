// The operations of a decoder layer, each as one differentiable step; the element-wise ones keep
// only their inputs for the backward pass. On the CPU they run fused kernels (cpu_kernels.h),
// elsewhere ATen operators; both compute in fp32 (fp64 for fp64 tensors) and round where
// `transformers` does. All throw c10::Error.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>

namespace cohort {

// x: [..., n], weight: [n] -> weight * x / sqrt(mean(x^2) + eps), row by row.
at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps);

// Returns (x + delta, RmsNorm(x + delta)). x, delta: [rows, n]
std::pair<at::Tensor, at::Tensor> AddRmsNorm(const at::Tensor& x, const at::Tensor& delta,
                                             const at::Tensor& weight, double eps);

// Cosines and sines of the rotary angles, [num_tokens, head_dim / 2], fp32 or fp64.
struct RopeTable {
  at::Tensor cos;
  at::Tensor sin;
};

struct QkvHeads {
  at::Tensor q;  // [num_tokens, num_heads, head_dim]
  at::Tensor k;  // [num_tokens, num_kv_heads, head_dim]
  at::Tensor v;  // [num_tokens, num_kv_heads, head_dim]
};

// Splits qkv [num_tokens, (num_heads + 2 num_kv_heads) * head_dim] and rotates q and k: element i
// of a head is paired with element i + head_dim / 2.
QkvHeads SplitAndRotate(const at::Tensor& qkv, const RopeTable& rope, int64_t num_heads,
                        int64_t num_kv_heads);

// x: [rows, in], weight: [out, in], bias: [out] or undefined -> x weight^T + bias
at::Tensor Linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {});

// gate_up: [num_tokens, 2n] -> silu(gate_up[:, :n]) * gate_up[:, n:]
at::Tensor SwiGlu(const at::Tensor& gate_up);

}  // namespace cohort

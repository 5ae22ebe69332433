// Fused row kernels behind layer_ops.h for contiguous CPU tensors of fp32, bf16 or fp64.
// Compiled for several instruction sets and chosen when the program is loaded. Rows are spread over
// the threads of at::parallel_for; a row's result does not depend on how many there are.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "common/model/layer_ops.h"

namespace cohort::cpu {

// True when the kernels take this tensor (device and dtype).
bool Supports(const at::Tensor& tensor);

// sum = x + delta where delta is defined (sum may be undefined otherwise); out = RmsNorm(sum).
void RmsNormForward(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& weight,
                    double eps, const at::Tensor& sum, const at::Tensor& out);

// grad_x and the sum over rows grad_weight [n] of RmsNorm; grad_skip (may be undefined) is added to
// grad_x.
void RmsNormBackward(const at::Tensor& grad_out, const at::Tensor& grad_skip, const at::Tensor& x,
                     const at::Tensor& weight, double eps, const at::Tensor& grad_x,
                     const at::Tensor& grad_weight);

// Between fused rows [num_tokens, (h + 2k) d] and heads q [num_tokens, h, d], k, v: forward splits
// and rotates, backward rotates back and joins.
void SplitAndRotateForward(const at::Tensor& qkv, const RopeTable& rope, const QkvHeads& out);
void SplitAndRotateBackward(const QkvHeads& grad, const RopeTable& rope,
                            const at::Tensor& grad_qkv);

void SwiGluForward(const at::Tensor& gate_up, const at::Tensor& out);
void SwiGluBackward(const at::Tensor& grad_out, const at::Tensor& gate_up,
                    const at::Tensor& grad_gate_up);

}  // namespace cohort::cpu

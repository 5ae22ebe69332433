// The matrix product of decoding: a handful of rows against a large weight matrix.
//
// Its cost is reading the weights once, which general products miss by a factor of two and more at
// these shapes (bench/generate). Rows are independent: a row's result is the same in any batch of
// at most kFewRows rows and on any number of threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace cohort::cpu {

// Above this a general product is as fast: arithmetic decides, not memory.
inline constexpr int64_t kFewRows = 8;

// True when FewRowsLinear takes x [rows, in] and weight [out, in]: contiguous fp32 or bf16 on a
// processor with AVX512_BF16, 1 to kFewRows rows, `out` divisible by 4.
bool SupportsFewRows(const at::Tensor& x, const at::Tensor& weight);

// x weight^T, [rows, out] in the dtype of x; sums in fp32. Has no gradient.
at::Tensor FewRowsLinear(const at::Tensor& x, const at::Tensor& weight);

}  // namespace cohort::cpu

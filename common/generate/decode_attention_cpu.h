// One decode step's attention on the CPU: every (row, key/value head) in one pass over the prompt's
// keys, which the rows of a group share, and the row's own.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace cohort {

// Keys and values of one stretch of tokens in one layer; [kv_heads, capacity, head_dim] with
// `head_stride` elements between heads.
struct KvSpan {
  const void* keys = nullptr;
  const void* values = nullptr;
  int64_t head_stride = 0;
  int64_t tokens = 0;
};

struct DecodeSpans {
  KvSpan prompt;
  KvSpan suffix;
};

// q: [rows, num_heads, head_dim] fp32 or bf16, contiguous; spans of the same dtype, one per row
// returns: [rows, num_heads, head_dim], the dtype of q. Accumulates in fp32. A row's result does
// not depend on the other rows. Uses the threads of at::parallel_for.
at::Tensor DecodeAttentionCpu(const at::Tensor& q, int64_t kv_heads,
                              const std::vector<DecodeSpans>& spans);

}  // namespace cohort

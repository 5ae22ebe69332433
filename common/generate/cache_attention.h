// The attentions of the generator: prefill fills a prompt's cache, decode appends to a row's slot.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "common/generate/kv_cache.h"
#include "common/model/attention.h"
#include "common/model/packed_attention.h"

namespace cohort {

// Prompts packed into one row of tokens, each causal by itself; their keys and values are kept.
class PrefillAttention final : public Attention {
 public:
  // `prompts` in packed order, `keys` and `values` allocated.
  explicit PrefillAttention(std::vector<PromptCache*> prompts);
  at::Tensor Attend(int layer, const at::Tensor& q, const at::Tensor& k,
                    const at::Tensor& v) override;

 private:
  std::vector<PromptCache*> prompts_;
  PackedAttention packed_;
};

// One token of a row to decode.
struct DecodeRow {
  const PromptCache* prompt = nullptr;
  int slot = 0;
  int64_t index = 0;  // of the token in the row's slot: how many are cached before it
};

// One token per row: it is appended to its row's slot and attends to the row's prompt and slot.
class DecodeAttention final : public Attention {
 public:
  // `cache` has room for every row's token. fused: the CPU kernel (fp32 and bf16 on the CPU only);
  // otherwise tensor operations that run on every device and dtype.
  DecodeAttention(SuffixCache* cache, std::vector<DecodeRow> rows, at::Device device, bool fused);
  at::Tensor Attend(int layer, const at::Tensor& q, const at::Tensor& k,
                    const at::Tensor& v) override;

 private:
  // A softmax over some of a row's keys: its output and log-sum-exp, to be merged with others.
  struct Partial {
    at::Tensor out;  // [rows, num_heads, head_dim]
    at::Tensor lse;  // [rows, num_heads]
  };
  at::Tensor AttendFused(int layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);
  at::Tensor AttendPortable(int layer, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v);
  Partial OverPrompts(int layer, const at::Tensor& q) const;
  Partial OverSuffixes(int layer, const at::Tensor& q) const;

  SuffixCache* cache_;
  std::vector<DecodeRow> rows_;
  bool fused_;
  int64_t longest_ = 0;  // tokens in the fullest slot, this step's included
  at::Tensor slots_;     // [rows] int64; portable path only
  at::Tensor indices_;   // [rows] int64; portable path only
};

}  // namespace cohort

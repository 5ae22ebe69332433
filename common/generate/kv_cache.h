// Keys and values of the tokens seen so far: a prompt's once per group, a row's own in a slot.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "common/model/model_config.h"

namespace cohort {

// What the prefill of one prompt leaves. Shared by the rows that started from it.
struct PromptCache {
  at::Tensor keys;         // [layers, kv_heads, tokens, head_dim]
  at::Tensor values;       // the same
  at::Tensor last_hidden;  // [hidden_size] of the last prompt token: every first token's logits
  int64_t tokens = 0;
  int64_t version = 0;  // of the weights that computed it
};

// The start of a finished row, kept for the rows that continue it.
struct SavedSuffix {
  at::Tensor keys;  // [layers, kv_heads, tokens, head_dim]
  at::Tensor values;
};

// One slot per decoding row, all slots of one capacity, which doubles when a row outgrows it. On
// the CPU, memory that no row has reached is never touched. Not thread-safe.
class SuffixCache {
 public:
  SuffixCache(const ModelConfig& model, int slots, at::TensorOptions options);

  int free_slots() const { return static_cast<int>(free_.size()); }
  int Allocate();  // the lowest free slot; there must be one
  void Free(int slot);

  // Makes room for `tokens` tokens in every slot. Throws c10::Error when out of memory.
  void Reserve(int64_t tokens);

  // [slots, kv_heads, capacity, head_dim]
  const at::Tensor& keys(int layer) const { return keys_[static_cast<size_t>(layer)]; }
  const at::Tensor& values(int layer) const { return values_[static_cast<size_t>(layer)]; }

  SavedSuffix Save(int slot, int64_t tokens) const;
  void Restore(int slot, const SavedSuffix& saved, int64_t tokens);

 private:
  int64_t kv_heads_;
  int64_t head_dim_;
  int slots_;
  at::TensorOptions options_;
  int64_t capacity_ = 0;  // tokens
  std::vector<at::Tensor> keys_;
  std::vector<at::Tensor> values_;
  std::vector<int> free_;  // descending
};

}  // namespace cohort

#include "common/generate/kv_cache.h"

#include <ATen/TensorIndexing.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <functional>

#include "common/base/log.h"

namespace cohort {
namespace {

constexpr int64_t kFirstCapacity = 32;

// The tokens [0, tokens) of a slot: [kv_heads, tokens, head_dim].
at::Tensor Start(const at::Tensor& cache, int slot, int64_t tokens) {
  return cache.select(0, slot).narrow(1, 0, tokens);
}

}  // namespace

SuffixCache::SuffixCache(const ModelConfig& model, int slots, at::TensorOptions options)
    : kv_heads_(model.num_kv_heads),
      head_dim_(model.head_dim),
      slots_(slots),
      options_(options),
      keys_(static_cast<size_t>(model.num_layers)),
      values_(static_cast<size_t>(model.num_layers)) {
  for (int slot = slots - 1; slot >= 0; --slot) free_.push_back(slot);
}

int SuffixCache::Allocate() {
  COHORT_CHECK(!free_.empty()) << "no free slot";
  const int slot = free_.back();
  free_.pop_back();
  return slot;
}

void SuffixCache::Free(int slot) {
  free_.insert(std::lower_bound(free_.begin(), free_.end(), slot, std::greater<int>()), slot);
}

void SuffixCache::Reserve(int64_t tokens) {
  if (tokens <= capacity_) return;
  int64_t capacity = std::max(capacity_, kFirstCapacity);
  while (capacity < tokens) capacity *= 2;
  for (std::vector<at::Tensor>* half : {&keys_, &values_}) {
    for (at::Tensor& layer : *half) {
      const at::Tensor grown = at::empty({slots_, kv_heads_, capacity, head_dim_}, options_);
      for (int slot = 0; capacity_ > 0 && slot < slots_; ++slot) {
        // Free slots hold nothing worth copying.
        if (std::binary_search(free_.begin(), free_.end(), slot, std::greater<int>())) continue;
        Start(grown, slot, capacity_).copy_(layer.select(0, slot));
      }
      layer = grown;
    }
  }
  capacity_ = capacity;
}

SavedSuffix SuffixCache::Save(int slot, int64_t tokens) const {
  std::vector<at::Tensor> keys, values;
  for (const at::Tensor& layer : keys_) keys.push_back(Start(layer, slot, tokens));
  for (const at::Tensor& layer : values_) values.push_back(Start(layer, slot, tokens));
  return {at::stack(keys), at::stack(values)};
}

void SuffixCache::Restore(int slot, const SavedSuffix& saved, int64_t tokens) {
  Reserve(tokens);
  for (size_t layer = 0; layer < keys_.size(); ++layer) {
    const auto from = [&](const at::Tensor& part) {
      return part.select(0, static_cast<int64_t>(layer)).narrow(1, 0, tokens);
    };
    Start(keys_[layer], slot, tokens).copy_(from(saved.keys));
    Start(values_[layer], slot, tokens).copy_(from(saved.values));
  }
}

}  // namespace cohort

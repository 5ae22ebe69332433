// How a tree of segments is cut into attention parts: causal parts (each segment with itself, many
// of similar length in one padded batch) and prefix parts (all tokens that continue the same tokens
// of the same ancestor, against those).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/model/packed_attention.h"

namespace cohort {

// An int64 index that follows the tensors it is used with to their device. Thread-safe.
class DeviceIndex {
 public:
  explicit DeviceIndex(const std::vector<int64_t>& values);
  at::Tensor On(at::Device device) const;

 private:
  at::Tensor host_;
  mutable absl::Mutex mutex_;
  mutable at::Tensor device_copy_ ABSL_GUARDED_BY(mutex_);
};

// Some tokens of the packed row, in an order; a plain range where it can be.
class TokenRows {
 public:
  explicit TokenRows(const std::vector<int64_t>& tokens);

  int64_t size() const { return size_; }
  at::Tensor Take(const at::Tensor& from) const;                   // a view for a range
  void Put(const at::Tensor& into, const at::Tensor& rows) const;  // overwrites
  void Add(const at::Tensor& into, const at::Tensor& rows) const;

 private:
  int64_t begin_ = 0;
  int64_t size_ = 0;
  std::unique_ptr<DeviceIndex> index_;  // null for a range
};

struct CausalPart {
  int64_t batch = 0;
  int64_t length = 0;  // of the longest segment
  TokenRows rows;      // the tokens of all its segments
  // Their places among batch * length padded ones; null when nothing is padded.
  std::unique_ptr<DeviceIndex> slots;
};

struct PrefixPart {
  TokenRows queries;
  int64_t key_begin = 0;
  int64_t keys = 0;
};

struct PackedAttentionPlan {
  explicit PackedAttentionPlan(const std::vector<Segment>& segments);

  int64_t num_tokens = 0;
  std::vector<CausalPart> causal;  // together they hold every token once
  std::vector<PrefixPart> prefix;
};

}  // namespace cohort

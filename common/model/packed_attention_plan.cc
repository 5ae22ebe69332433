#include "common/model/packed_attention_plan.h"

#include <ATen/ops/tensor.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include "common/base/log.h"

namespace cohort {
namespace {

// A segment joins a batch while padding it costs less than a call of its own would.
bool FitsBatch(int64_t length, int64_t longest) { return longest <= length + length / 4 + 8; }

void CheckSegments(const std::vector<Segment>& segments) {
  int64_t end = 0;
  for (size_t i = 0; i < segments.size(); ++i) {
    const Segment& segment = segments[i];
    COHORT_CHECK(segment.begin == end && segment.length >= 0)
        << "segment " << i << " does not tile the packed row";
    end += segment.length;
    if (segment.parent < 0) continue;
    COHORT_CHECK(segment.parent < static_cast<int>(i)) << "segment " << i << " precedes its parent";
    const Segment& parent = segments[static_cast<size_t>(segment.parent)];
    COHORT_CHECK(segment.parent_tokens >= 0 && segment.parent_tokens <= parent.length)
        << "segment " << i << " continues tokens its parent does not have";
  }
}

void AppendTokens(const Segment& segment, std::vector<int64_t>& tokens) {
  for (int64_t i = 0; i < segment.length; ++i) tokens.push_back(segment.begin + i);
}

CausalPart MakeCausalPart(const std::vector<const Segment*>& batch) {
  const int64_t length = batch.front()->length;
  std::vector<int64_t> tokens, slots;
  for (size_t b = 0; b < batch.size(); ++b) {
    AppendTokens(*batch[b], tokens);
    for (int64_t i = 0; i < batch[b]->length; ++i) {
      slots.push_back(static_cast<int64_t>(b) * length + i);
    }
  }
  const auto padded = static_cast<int64_t>(batch.size()) * length;
  const bool pads = padded != static_cast<int64_t>(tokens.size());
  return {static_cast<int64_t>(batch.size()), length, TokenRows(tokens),
          pads ? std::make_unique<DeviceIndex>(slots) : nullptr};
}

std::vector<CausalPart> CausalParts(const std::vector<Segment>& segments) {
  std::vector<const Segment*> order;
  for (const Segment& segment : segments) {
    if (segment.length > 0) order.push_back(&segment);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const auto* a, const auto* b) { return a->length > b->length; });
  std::vector<CausalPart> parts;
  for (size_t first = 0, last = 0; first < order.size(); first = last) {
    while (last < order.size() && FitsBatch(order[last]->length, order[first]->length)) ++last;
    std::vector<const Segment*> batch(order.begin() + static_cast<std::ptrdiff_t>(first),
                                      order.begin() + static_cast<std::ptrdiff_t>(last));
    const bool same_length = batch.back()->length == batch.front()->length;
    if (same_length) std::sort(batch.begin(), batch.end());  // by position: maybe a plain range
    parts.push_back(MakeCausalPart(batch));
  }
  return parts;
}

std::vector<PrefixPart> PrefixParts(const std::vector<Segment>& segments) {
  std::map<std::pair<int, int64_t>, std::vector<int64_t>> readers;  // of (ancestor, its tokens)
  for (const Segment& segment : segments) {
    for (const Segment* s = &segment; s->parent >= 0;
         s = &segments[static_cast<size_t>(s->parent)]) {
      if (s->parent_tokens == 0 || segment.length == 0) continue;
      AppendTokens(segment, readers[{s->parent, s->parent_tokens}]);
    }
  }
  std::vector<PrefixPart> parts;
  for (const auto& [ancestor, tokens] : readers) {
    parts.push_back(
        {TokenRows(tokens), segments[static_cast<size_t>(ancestor.first)].begin, ancestor.second});
  }
  return parts;
}

}  // namespace

DeviceIndex::DeviceIndex(const std::vector<int64_t>& values)
    : host_(at::tensor(values, at::kLong)) {}

at::Tensor DeviceIndex::On(at::Device device) const {
  if (device.is_cpu()) return host_;
  const absl::MutexLock lock(&mutex_);
  if (!device_copy_.defined() || device_copy_.device() != device) device_copy_ = host_.to(device);
  return device_copy_;
}

TokenRows::TokenRows(const std::vector<int64_t>& tokens)
    : begin_(tokens.empty() ? 0 : tokens.front()), size_(static_cast<int64_t>(tokens.size())) {
  std::vector<int64_t> range(tokens.size());
  std::iota(range.begin(), range.end(), begin_);
  if (range != tokens) index_ = std::make_unique<DeviceIndex>(tokens);
}

at::Tensor TokenRows::Take(const at::Tensor& from) const {
  return index_ == nullptr ? from.narrow(0, begin_, size_)
                           : from.index_select(0, index_->On(from.device()));
}

void TokenRows::Put(const at::Tensor& into, const at::Tensor& rows) const {
  if (index_ == nullptr) {
    into.narrow(0, begin_, size_).copy_(rows);
  } else {
    at::Tensor target = into;
    target.index_copy_(0, index_->On(into.device()), rows.to(into.scalar_type()));
  }
}

void TokenRows::Add(const at::Tensor& into, const at::Tensor& rows) const {
  if (index_ == nullptr) {
    into.narrow(0, begin_, size_).add_(rows);
  } else {
    at::Tensor target = into;
    target.index_add_(0, index_->On(into.device()), rows.to(into.scalar_type()));
  }
}

PackedAttentionPlan::PackedAttentionPlan(const std::vector<Segment>& segments) {
  CheckSegments(segments);
  if (!segments.empty()) num_tokens = segments.back().begin + segments.back().length;
  causal = CausalParts(segments);
  prefix = PrefixParts(segments);
}

}  // namespace cohort

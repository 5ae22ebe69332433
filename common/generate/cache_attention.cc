#include "common/generate/cache_attention.h"

#include <ATen/TensorIndexing.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/index_put.h>
#include <ATen/ops/logaddexp.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "common/generate/decode_attention_cpu.h"

namespace cohort {
namespace {

std::vector<Segment> SegmentsOf(const std::vector<PromptCache*>& prompts) {
  std::vector<Segment> segments;
  int64_t begin = 0;
  for (const PromptCache* prompt : prompts) {
    segments.push_back({begin, prompt->tokens});
    begin += prompt->tokens;
  }
  return segments;
}

// Number format of softmax and sums.
at::ScalarType WideType(at::ScalarType dtype) {
  return dtype == at::kDouble ? at::kDouble : at::kFloat;
}

// Copies tokens [rows, kv_heads, head_dim] to their places of the rows' slots, on the CPU.
void AppendTokens(const at::Tensor& tokens, const std::vector<DecodeRow>& rows,
                  const at::Tensor& cache) {
  const auto item = static_cast<int64_t>(cache.element_size());
  const auto head_bytes = static_cast<size_t>(cache.size(3) * item);
  auto* base = static_cast<char*>(cache.mutable_data_ptr());
  const auto* from = static_cast<const char*>(tokens.const_data_ptr());
  for (const DecodeRow& row : rows) {
    char* to = base + (row.slot * cache.stride(0) + row.index * cache.stride(2)) * item;
    for (int64_t head = 0; head < cache.size(1); ++head) {
      std::memcpy(to + head * cache.stride(1) * item, from + head * tokens.stride(1) * item,
                  head_bytes);
    }
    from += tokens.stride(0) * item;
  }
}

at::Tensor WithDenseHeads(const at::Tensor& x) { return x.stride(2) == 1 ? x : x.contiguous(); }

KvSpan PromptSpan(const PromptCache& prompt, int layer) {
  const int64_t offset = layer * prompt.keys.stride(0) * prompt.keys.element_size();
  return {static_cast<const char*>(prompt.keys.const_data_ptr()) + offset,
          static_cast<const char*>(prompt.values.const_data_ptr()) + offset, prompt.keys.stride(1),
          prompt.tokens};
}

KvSpan SlotSpan(const at::Tensor& keys, const at::Tensor& values, const DecodeRow& row) {
  const int64_t offset = row.slot * keys.stride(0) * keys.element_size();
  return {static_cast<const char*>(keys.const_data_ptr()) + offset,
          static_cast<const char*>(values.const_data_ptr()) + offset, keys.stride(1),
          row.index + 1};
}

}  // namespace

PrefillAttention::PrefillAttention(std::vector<PromptCache*> prompts)
    : prompts_(std::move(prompts)), packed_(SegmentsOf(prompts_)) {}

at::Tensor PrefillAttention::Attend(int layer, const at::Tensor& q, const at::Tensor& k,
                                    const at::Tensor& v) {
  int64_t begin = 0;
  for (const PromptCache* prompt : prompts_) {
    prompt->keys.select(0, layer).copy_(k.narrow(0, begin, prompt->tokens).transpose(0, 1));
    prompt->values.select(0, layer).copy_(v.narrow(0, begin, prompt->tokens).transpose(0, 1));
    begin += prompt->tokens;
  }
  return packed_.Attend(layer, q, k, v);
}

DecodeAttention::DecodeAttention(SuffixCache* cache, std::vector<DecodeRow> rows, at::Device device,
                                 bool fused)
    : cache_(cache), rows_(std::move(rows)), fused_(fused) {
  std::vector<int64_t> slots, indices;
  for (const DecodeRow& row : rows_) {
    slots.push_back(row.slot);
    indices.push_back(row.index);
    longest_ = std::max(longest_, row.index + 1);
  }
  if (fused_) return;
  slots_ = at::tensor(slots, at::kLong).to(device);
  indices_ = at::tensor(indices, at::kLong).to(device);
}

at::Tensor DecodeAttention::Attend(int layer, const at::Tensor& q, const at::Tensor& k,
                                   const at::Tensor& v) {
  return fused_ ? AttendFused(layer, q, k, v) : AttendPortable(layer, q, k, v);
}

at::Tensor DecodeAttention::AttendFused(int layer, const at::Tensor& q, const at::Tensor& k,
                                        const at::Tensor& v) {
  const at::Tensor& keys = cache_->keys(layer);
  const at::Tensor& values = cache_->values(layer);
  AppendTokens(WithDenseHeads(k), rows_, keys);
  AppendTokens(WithDenseHeads(v), rows_, values);
  std::vector<DecodeSpans> spans;
  spans.reserve(rows_.size());
  for (const DecodeRow& row : rows_) {
    spans.push_back({PromptSpan(*row.prompt, layer), SlotSpan(keys, values, row)});
  }
  return DecodeAttentionCpu(q.contiguous(), k.size(1), spans);
}

at::Tensor DecodeAttention::AttendPortable(int layer, const at::Tensor& q, const at::Tensor& k,
                                           const at::Tensor& v) {
  const c10::List<std::optional<at::Tensor>> where({slots_, std::nullopt, indices_});
  cache_->keys(layer).index_put_(where, k);
  cache_->values(layer).index_put_(where, v);
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(2)));
  const at::Tensor wide = q.to(WideType(q.scalar_type())) * scale;
  const Partial prompts = OverPrompts(layer, wide);
  const Partial suffixes = OverSuffixes(layer, wide);
  const at::Tensor lse = at::logaddexp(prompts.lse, suffixes.lse);
  const at::Tensor out = prompts.out * (prompts.lse - lse).exp().unsqueeze(-1) +
                         suffixes.out * (suffixes.lse - lse).exp().unsqueeze(-1);
  return out.to(q.scalar_type());
}

DecodeAttention::Partial DecodeAttention::OverPrompts(int layer, const at::Tensor& q) const {
  const int64_t heads = q.size(1), dim = q.size(2);
  std::vector<at::Tensor> outs, lses;
  for (size_t begin = 0, end = 0; begin < rows_.size(); begin = end) {
    while (end < rows_.size() && rows_[end].prompt == rows_[begin].prompt) ++end;
    const auto rows = static_cast<int64_t>(end - begin);
    const at::Tensor keys = rows_[begin].prompt->keys.select(0, layer).to(q.scalar_type());
    const at::Tensor values = rows_[begin].prompt->values.select(0, layer).to(q.scalar_type());
    const int64_t kv_heads = keys.size(0), shared = heads / kv_heads;
    // [kv_heads, rows * shared, dim]: one product per key/value head for the whole group.
    const at::Tensor queries = q.narrow(0, static_cast<int64_t>(begin), rows)
                                   .view({rows, kv_heads, shared, dim})
                                   .transpose(0, 1)
                                   .reshape({kv_heads, rows * shared, dim});
    const at::Tensor scores = at::matmul(queries, keys.transpose(1, 2));
    const at::Tensor lse = at::logsumexp(scores, -1, /*keepdim=*/true);
    const auto by_row = [&](const at::Tensor& x, at::IntArrayRef shape) {
      return x.view({kv_heads, rows, shared, -1}).transpose(0, 1).reshape(shape);
    };
    outs.push_back(by_row(at::matmul((scores - lse).exp(), values), {rows, heads, dim}));
    lses.push_back(by_row(lse, {rows, heads}));
  }
  return {at::cat(outs), at::cat(lses)};
}

DecodeAttention::Partial DecodeAttention::OverSuffixes(int layer, const at::Tensor& q) const {
  const int64_t rows = q.size(0), heads = q.size(1), dim = q.size(2);
  const auto gathered = [&](const at::Tensor& cache) {  // [rows, kv_heads, longest, dim]
    return cache.narrow(2, 0, longest_).index_select(0, slots_).to(q.scalar_type());
  };
  const at::Tensor keys = gathered(cache_->keys(layer));
  const int64_t kv_heads = keys.size(1);
  const at::Tensor queries = q.view({rows, kv_heads, heads / kv_heads, dim});
  const at::Tensor beyond =
      at::arange(longest_, indices_.options()).unsqueeze(0) > indices_.unsqueeze(1);
  const at::Tensor mask = beyond.view({rows, 1, 1, longest_});
  const at::Tensor scores = at::matmul(queries, keys.transpose(2, 3)).masked_fill(mask, -INFINITY);
  const at::Tensor lse = at::logsumexp(scores, -1, /*keepdim=*/true);
  // What lies beyond a row's end was never written: it may be NaN, which 0 * NaN would spread.
  const at::Tensor values =
      gathered(cache_->values(layer)).masked_fill(beyond.view({rows, 1, longest_, 1}), 0.0);
  return {at::matmul((scores - lse).exp(), values).reshape({rows, heads, dim}),
          lse.reshape({rows, heads})};
}

}  // namespace cohort

#include "common/generate/decode_attention_cpu.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/base/log.h"
#include "common/generate/simd.h"

namespace cohort {
namespace {

using simd::F16;
using simd::kLanes;

// Below this many multiplications per thread, waking another thread costs more than it saves.
constexpr int64_t kMinWorkPerThread = 1 << 16;

// One key/value head of one row.
struct Item {
  const float* q;  // [heads, dim], scaled
  float* out;      // [heads, dim]
  float* scores;   // [heads, stride], scratch
  int64_t heads;   // query heads that share the key/value head
  int64_t dim;
  int64_t tokens;  // prompt + suffix
  int64_t stride;  // tokens, rounded up to full lanes
};

// One key against every query head; kBlocks * 16 lanes of the head stay in registers.
template <int kBlocks, typename T>
COHORT_INLINE void ScoreKey(const Item& item, const T* key, float* score) {
  F16 k[kBlocks];
  for (int b = 0; b < kBlocks; ++b) simd::Load(key + b * kLanes, k[b]);
  for (int64_t h = 0; h < item.heads; ++h) {
    F16 sum = {};
    for (int b = 0; b < kBlocks; ++b) {
      F16 q;
      simd::Load(item.q + h * item.dim + b * kLanes, q);
      sum += q * k[b];
    }
    score[h * item.stride] = simd::Sum(sum);
  }
}

template <typename T>
COHORT_INLINE void ScoreKeyOfAnySize(const Item& item, const T* key, float* score) {
  for (int64_t h = 0; h < item.heads; ++h) {
    float sum = 0;
    for (int64_t i = 0; i < item.dim; ++i) {
      sum += item.q[h * item.dim + i] * static_cast<float>(key[i]);
    }
    score[h * item.stride] = sum;
  }
}

template <typename T>
COHORT_INLINE void Scores(const Item& item, const T* keys, int64_t tokens, float* scores) {
  for (int64_t t = 0; t < tokens; ++t) {
    const T* key = keys + t * item.dim;
    if (item.dim == 64) {
      ScoreKey<4>(item, key, scores + t);
    } else if (item.dim == 128) {
      ScoreKey<8>(item, key, scores + t);
    } else {
      ScoreKeyOfAnySize(item, key, scores + t);
    }
  }
}

// scores: [n], padded to full lanes with -inf -> exp(scores - max); returns their sum.
COHORT_INLINE float Exponentiate(float* scores, int64_t n) {
  F16 maxima, x, sums = {};
  simd::Load(scores, maxima);
  for (int64_t i = kLanes; i < n; i += kLanes) {
    simd::Load(scores + i, x);
    maxima = x > maxima ? x : maxima;
  }
  float max = maxima[0];
  for (int lane = 1; lane < kLanes; ++lane) max = std::max(max, maxima[lane]);
  for (int64_t i = 0; i < n; i += kLanes) {
    simd::Load(scores + i, x);
    x -= max;
    simd::ExpNonPositive(x);
    sums += x;
    simd::Store(x, scores + i);
  }
  return simd::Sum(sums);
}

// out += sum over tokens of weight * value, kBlock lanes of the head at a time in registers.
template <int kBlock, typename T>
COHORT_INLINE void AddBlock(const float* weights, const T* values, int64_t stride, int64_t tokens,
                            float* out) {
  F16 sum[kBlock];
  for (int b = 0; b < kBlock; ++b) simd::Load(out + b * kLanes, sum[b]);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int b = 0; b < kBlock; ++b) {
      F16 value;
      simd::Load(values + t * stride + b * kLanes, value);
      sum[b] += value * weights[t];
    }
  }
  for (int b = 0; b < kBlock; ++b) simd::Store(sum[b], out + b * kLanes);
}

template <typename T>
COHORT_INLINE void AddValues(const float* weights, const T* values, int64_t dim, int64_t tokens,
                             float* out) {
  int64_t i = 0;
  for (; i + 4 * kLanes <= dim; i += 4 * kLanes) {
    AddBlock<4>(weights, values + i, dim, tokens, out + i);
  }
  for (; i + kLanes <= dim; i += kLanes) {
    AddBlock<1>(weights, values + i, dim, tokens, out + i);
  }
  for (; i < dim; ++i) {
    for (int64_t t = 0; t < tokens; ++t) {
      out[i] += weights[t] * static_cast<float>(values[t * dim + i]);
    }
  }
}

template <typename T>
COHORT_INLINE void AttendHead(const Item& item, const T* const keys[2], const T* const values[2],
                              const int64_t tokens[2]) {
  Scores(item, keys[0], tokens[0], item.scores);
  Scores(item, keys[1], tokens[1], item.scores + tokens[0]);
  for (int64_t h = 0; h < item.heads; ++h) {
    float* scores = item.scores + h * item.stride;
    std::fill(scores + item.tokens, scores + item.stride, -std::numeric_limits<float>::infinity());
    float* out = item.out + h * item.dim;
    const float sum = Exponentiate(scores, item.tokens);
    std::fill(out, out + item.dim, 0.0f);
    AddValues(scores, values[0], item.dim, tokens[0], out);
    AddValues(scores + tokens[0], values[1], item.dim, tokens[1], out);
    for (int64_t i = 0; i < item.dim; ++i) out[i] /= sum;
  }
}

COHORT_CPU_CLONES void AttendHeadClones(const Item& item, const float* const keys[2],
                                        const float* const values[2], const int64_t tokens[2]) {
  AttendHead(item, keys, values, tokens);
}
COHORT_CPU_CLONES void AttendHeadClones(const Item& item, const c10::BFloat16* const keys[2],
                                        const c10::BFloat16* const values[2],
                                        const int64_t tokens[2]) {
  AttendHead(item, keys, values, tokens);
}

template <typename T>
class Kernel {
 public:
  Kernel(const at::Tensor& q, const at::Tensor& out, int64_t kv_heads,
         const std::vector<DecodeSpans>& spans)
      : q_(q.const_data_ptr<T>()),
        out_(out.mutable_data_ptr<T>()),
        kv_heads_(kv_heads),
        heads_(q.size(1) / kv_heads),
        dim_(q.size(2)),
        spans_(spans) {}

  void Run() const {
    int64_t work = 0;
    for (const DecodeSpans& s : spans_) work += (s.prompt.tokens + s.suffix.tokens) * heads_ * dim_;
    const int64_t items = static_cast<int64_t>(spans_.size()) * kv_heads_;
    const int64_t per_item = std::max<int64_t>(1, 2 * work * kv_heads_ / items);
    const int64_t grain = std::max<int64_t>(1, kMinWorkPerThread / per_item);
    at::parallel_for(0, items, grain, [this](int64_t begin, int64_t end) { Range(begin, end); });
  }

 private:
  void Range(int64_t begin, int64_t end) const {
    std::vector<float> q(static_cast<size_t>(heads_ * dim_)), out(q.size()), scores;
    const float scale = 1.0f / std::sqrt(static_cast<float>(dim_));
    for (int64_t i = begin; i < end; ++i) {
      const DecodeSpans& span = spans_[static_cast<size_t>(i / kv_heads_)];
      const int64_t first = i * heads_ * dim_;
      for (size_t j = 0; j < q.size(); ++j) {
        q[j] = static_cast<float>(q_[first + static_cast<int64_t>(j)]) * scale;
      }
      const int64_t tokens = span.prompt.tokens + span.suffix.tokens;
      const int64_t stride = (tokens + kLanes - 1) / kLanes * kLanes;
      scores.resize(static_cast<size_t>(heads_ * stride));
      Attend(span, i % kv_heads_,
             {q.data(), out.data(), scores.data(), heads_, dim_, tokens, stride});
      for (size_t j = 0; j < out.size(); ++j) {
        out_[first + static_cast<int64_t>(j)] = static_cast<T>(out[j]);
      }
    }
  }

  void Attend(const DecodeSpans& span, int64_t head, const Item& item) const {
    const auto at_head = [&](const void* data, const KvSpan& s) {
      return static_cast<const T*>(data) + head * s.head_stride;
    };
    const T* const keys[2] = {at_head(span.prompt.keys, span.prompt),
                              at_head(span.suffix.keys, span.suffix)};
    const T* const values[2] = {at_head(span.prompt.values, span.prompt),
                                at_head(span.suffix.values, span.suffix)};
    const int64_t tokens[2] = {span.prompt.tokens, span.suffix.tokens};
    AttendHeadClones(item, keys, values, tokens);
  }

  const T* q_;
  T* out_;
  int64_t kv_heads_;
  int64_t heads_;  // query heads per key/value head
  int64_t dim_;
  const std::vector<DecodeSpans>& spans_;
};

}  // namespace

at::Tensor DecodeAttentionCpu(const at::Tensor& q, int64_t kv_heads,
                              const std::vector<DecodeSpans>& spans) {
  COHORT_CHECK(q.is_contiguous() && q.size(0) == static_cast<int64_t>(spans.size()));
  const at::Tensor out = at::empty_like(q);
  if (q.scalar_type() == at::kBFloat16) {
    Kernel<c10::BFloat16>(q, out, kv_heads, spans).Run();
  } else {
    Kernel<float>(q, out, kv_heads, spans).Run();
  }
  return out;
}

}  // namespace cohort

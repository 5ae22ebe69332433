#include "common/model/cpu_few_rows.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>

#include <algorithm>
#include <cstring>

#if defined(__x86_64__)

#include <immintrin.h>

// Entered only where the processor has these (SupportsFewRows).
#define COHORT_AVX512 \
  __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))
#define COHORT_AVX512_INLINE COHORT_AVX512 inline __attribute__((always_inline))

namespace cohort::cpu {
namespace {

constexpr int64_t kOutputs = 4;  // weight rows taken together: their sums end in one vector
constexpr int64_t kMinWeightsPerThread = 1 << 14;  // below, waking a thread costs more

COHORT_AVX512_INLINE __m256 Halve(__m512 v) {
  __m256 half[2];
  std::memcpy(half, &v, sizeof(v));
  return _mm256_add_ps(half[0], half[1]);
}
COHORT_AVX512_INLINE __m128 SumEach(const __m512 v[kOutputs]) {
  const __m256 pairs = _mm256_hadd_ps(_mm256_hadd_ps(Halve(v[0]), Halve(v[1])),
                                      _mm256_hadd_ps(Halve(v[2]), Halve(v[3])));
  return _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1));
}

// 64 bytes of a row; `left` elements remain, what is beyond them reads as 0.
struct Fp32 {
  using Element = float;
  using Vector = __m512;
  static constexpr int64_t kLanes = 16;
  COHORT_AVX512_INLINE static Vector Load(const float* from, int64_t left) {
    const auto lanes = static_cast<__mmask16>(left >= kLanes ? 0xffff : (1u << left) - 1);
    return _mm512_maskz_loadu_ps(lanes, from);
  }
  COHORT_AVX512_INLINE static __m512 Add(__m512 sum, Vector a, Vector b) {
    return _mm512_fmadd_ps(a, b, sum);
  }
};
struct Bf16 {
  using Element = c10::BFloat16;
  using Vector = __m512bh;
  static constexpr int64_t kLanes = 32;
  COHORT_AVX512_INLINE static Vector Load(const c10::BFloat16* from, int64_t left) {
    const auto lanes = static_cast<__mmask32>(left >= kLanes ? ~0u : (1u << left) - 1);
    return (__m512bh)_mm512_maskz_loadu_epi16(lanes, from);
  }
  COHORT_AVX512_INLINE static __m512 Add(__m512 sum, Vector a, Vector b) {
    return _mm512_dpbf16_ps(sum, a, b);
  }
};

// kTile rows of x against kOutputs weight rows, all of n elements. kFetch: brings the weight rows
// that follow into the cache meanwhile.
template <typename T, int kTile, bool kFetch>
COHORT_AVX512_INLINE void MultiplyTile(const typename T::Element* x,
                                       const typename T::Element* weight, int64_t n, float* out,
                                       int64_t stride) {
  __m512 sum[kTile][kOutputs] = {};
  for (int64_t k = 0; k < n; k += T::kLanes) {
    typename T::Vector w[kOutputs];
    for (int64_t o = 0; o < kOutputs; ++o) {
      w[o] = T::Load(weight + o * n + k, n - k);
      if (kFetch) _mm_prefetch(weight + (kOutputs + o) * n + k, _MM_HINT_T0);
    }
    for (int r = 0; r < kTile; ++r) {
      const typename T::Vector a = T::Load(x + r * n + k, n - k);
      for (int64_t o = 0; o < kOutputs; ++o) sum[r][o] = T::Add(sum[r][o], a, w[o]);
    }
  }
  for (int r = 0; r < kTile; ++r) _mm_storeu_ps(out + r * stride, SumEach(sum[r]));
}

template <typename T, bool kFetch>
COHORT_AVX512 void MultiplyRows(const typename T::Element* x, int64_t rows,
                                const typename T::Element* weight, int64_t n, float* out,
                                int64_t stride) {
  switch (rows) {
    case 1:
      return MultiplyTile<T, 1, kFetch>(x, weight, n, out, stride);
    case 2:
      return MultiplyTile<T, 2, kFetch>(x, weight, n, out, stride);
    case 3:
      return MultiplyTile<T, 3, kFetch>(x, weight, n, out, stride);
    default:
      MultiplyTile<T, 4, kFetch>(x, weight, n, out, stride);
  }
  if (rows > 4) {
    MultiplyRows<T, false>(x + 4 * n, rows - 4, weight, n, out + 4 * stride, stride);
  }
}

template <typename T>
void Multiply(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& out) {
  using Element = typename T::Element;
  const int64_t n = x.size(1), rows = x.size(0), outputs = weight.size(0);
  const Element* px = x.const_data_ptr<Element>();
  const Element* pw = weight.const_data_ptr<Element>();
  float* po = out.mutable_data_ptr<float>();
  const int64_t grain = std::max<int64_t>(1, kMinWeightsPerThread / (kOutputs * n));
  at::parallel_for(0, outputs / kOutputs, grain, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin * kOutputs; o < end * kOutputs; o += kOutputs) {
      MultiplyRows<T, true>(px, rows, pw + o * n, n, po + o, outputs);
    }
  });
}

}  // namespace

bool SupportsFewRows(const at::Tensor& x, const at::Tensor& weight) {
  static const bool processor =
      __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bf16");
  const at::ScalarType dtype = x.scalar_type();
  return processor && x.is_cpu() && x.dim() == 2 && x.size(0) >= 1 && x.size(0) <= kFewRows &&
         (dtype == at::kFloat || dtype == at::kBFloat16) && dtype == weight.scalar_type() &&
         weight.size(0) % kOutputs == 0 && x.is_contiguous() && weight.is_contiguous();
}

at::Tensor FewRowsLinear(const at::Tensor& x, const at::Tensor& weight) {
  const at::Tensor out = at::empty({x.size(0), weight.size(0)}, x.options().dtype(at::kFloat));
  if (x.scalar_type() == at::kFloat) {
    Multiply<Fp32>(x, weight, out);
    return out;
  }
  Multiply<Bf16>(x, weight, out);
  return out.to(at::kBFloat16);
}

}  // namespace cohort::cpu

#else

namespace cohort::cpu {

bool SupportsFewRows(const at::Tensor&, const at::Tensor&) { return false; }
at::Tensor FewRowsLinear(const at::Tensor& x, const at::Tensor& weight) {
  return at::linear(x, weight);
}

}  // namespace cohort::cpu

#endif

#include "common/train/adamw_kernel.h"

#include <cmath>
#include <cstring>

// Compiled for several instruction sets, chosen when the program is loaded. Clang and sanitizers
// get one build: their runtimes are not up yet when the choice is made.
#if defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__) && defined(__x86_64__)
#define COHORT_CLONES __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
#else
#define COHORT_CLONES
#endif

namespace cohort {
namespace {

// Round to nearest even; a NaN stays one.
inline uint16_t ToBf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  const uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  const bool nan = (bits & 0x7FFFFFFFu) > 0x7F800000u;
  return static_cast<uint16_t>(nan ? 0x7FC0u : rounded);
}

template <typename T>
struct Numbers {
  explicit Numbers(const AdamWNumbers& n)
      : beta1(static_cast<T>(n.beta1)),
        beta2(static_cast<T>(n.beta2)),
        rest1(static_cast<T>(1 - n.beta1)),
        rest2(static_cast<T>(1 - n.beta2)),
        eps(static_cast<T>(n.eps)),
        scale(static_cast<T>(n.gradient_scale)),
        decay(static_cast<T>(n.decay)),
        step(static_cast<T>(n.step_size)),
        inverse_sqrt_v(static_cast<T>(n.inverse_sqrt_v)) {}
  T beta1, beta2, rest1, rest2, eps, scale, decay, step, inverse_sqrt_v;
};

template <typename T>
inline __attribute__((always_inline)) T UpdateOne(T p, T* m, T* v, T g, const Numbers<T>& n) {
  g *= n.scale;
  const T first = n.beta1 * *m + n.rest1 * g;
  const T second = n.beta2 * *v + n.rest2 * g * g;
  *m = first;
  *v = second;
  return p * n.decay - n.step * first / (std::sqrt(second) * n.inverse_sqrt_v + n.eps);
}

}  // namespace

COHORT_CLONES
void AdamWUpdate(float* __restrict p, float* __restrict m, float* __restrict v,
                 const float* __restrict g, uint16_t* __restrict compute, int64_t size,
                 const AdamWNumbers& numbers) {
  const Numbers<float> n(numbers);
  if (compute == nullptr) {
    for (int64_t i = 0; i < size; ++i) p[i] = UpdateOne(p[i], &m[i], &v[i], g[i], n);
    return;
  }
  for (int64_t i = 0; i < size; ++i) {
    p[i] = UpdateOne(p[i], &m[i], &v[i], g[i], n);
    compute[i] = ToBf16(p[i]);
  }
}

COHORT_CLONES
void AdamWUpdate(double* __restrict p, double* __restrict m, double* __restrict v,
                 const double* __restrict g, int64_t size, const AdamWNumbers& numbers) {
  const Numbers<double> n(numbers);
  for (int64_t i = 0; i < size; ++i) p[i] = UpdateOne(p[i], &m[i], &v[i], g[i], n);
}

}  // namespace cohort

// Sixteen floats at a time, for the CPU kernels of this folder. Functions marked with
// COHORT_CPU_CLONES are compiled for AVX-512, AVX2 with FMA and the baseline; the machine picks at
// start-up. Everything here is inlined into them.
#pragma once

#include <c10/util/BFloat16.h>

#include <cstdint>
#include <cstring>

#define COHORT_CPU_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define COHORT_INLINE inline __attribute__((always_inline))

namespace cohort::simd {

constexpr int kLanes = 16;
using F16 = float __attribute__((vector_size(64)));
using I16 = int32_t __attribute__((vector_size(64)));
using U16 = uint32_t __attribute__((vector_size(64)));
using F4 = float __attribute__((vector_size(16)));
using H16 = uint16_t __attribute__((vector_size(32)));

COHORT_INLINE void Load(const float* from, F16& to) { std::memcpy(&to, from, sizeof(to)); }
COHORT_INLINE void Load(const c10::BFloat16* from, F16& to) {
  H16 half;
  std::memcpy(&half, from, sizeof(half));
  to = (F16)(__builtin_convertvector(half, U16) << 16);
}
COHORT_INLINE void Store(const F16& from, float* to) { std::memcpy(to, &from, sizeof(from)); }

COHORT_INLINE float Sum(const F16& x) {
  F4 part[4];
  std::memcpy(part, &x, sizeof(part));
  const F4 sum = (part[0] + part[1]) + (part[2] + part[3]);
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

// exp(x) for x <= 0 within 2 units in the last place; below -87 it stays at exp(-87) = 1.6e-38.
COHORT_INLINE void ExpNonPositive(F16& x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const F16 floor = F16{} - 87.0f;
  x = x < floor ? floor : x;
  const F16 n = (x * 1.44269504088896341f + kRound) - kRound;
  const F16 r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  F16 p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const I16 exponent = (__builtin_convertvector(n, I16) + 127) << 23;
  x = p * (F16)exponent;
}

}  // namespace cohort::simd

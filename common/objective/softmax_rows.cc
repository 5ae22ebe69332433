#include "common/objective/softmax_rows.h"

#include <cmath>
#include <cstring>
#include <limits>

// x86: compiled for AVX-512, AVX2 and the baseline, chosen when the program starts. clang lacks the
// attribute for these names; its builds serve analysis and sanitizers.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define COHORT_CLONES \
  __attribute__((target_clones("arch=skylake-avx512", "arch=haswell", "default")))
#else
#define COHORT_CLONES
#endif
#define COHORT_INLINE inline __attribute__((always_inline))

// The vector types below never cross a call: everything that takes one is inlined.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace cohort {
namespace {

constexpr int64_t kLanes = 16;
using Floats = float __attribute__((vector_size(kLanes * 4)));
using Ints = int32_t __attribute__((vector_size(kLanes * 4)));
using Uints = uint32_t __attribute__((vector_size(kLanes * 4)));
using Halves = uint16_t __attribute__((vector_size(kLanes * 2)));

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kExpLow = -87.0f;  // exp below it is taken as 0

COHORT_INLINE Floats Splat(float x) { return Floats{} + x; }

// exp(x) for x <= 0 (Cephes expf: relative error below 2e-7); 0 below kExpLow; NaN stays NaN.
COHORT_INLINE Floats ExpNonPositive(Floats x) {
  const Floats clamped = x < kExpLow ? Splat(kExpLow) : x;
  // Adding 1.5 * 2^23 rounds to the nearest integer.
  const Floats rounded = (clamped * 1.44269504088896341f + 12582912.0f) - 12582912.0f;
  const Floats r = clamped - rounded * 0.693359375f + rounded * 2.12194440e-4f;
  Floats y = r * 1.9875691500e-4f + 1.3981999507e-3f;
  y = y * r + 8.3334519073e-3f;
  y = y * r + 4.1665795894e-2f;
  y = y * r + 1.6666665459e-1f;
  y = y * r + 5.0000001201e-1f;
  y = y * r * r + r + 1.0f;
  const Ints exponent = (__builtin_convertvector(rounded, Ints) + 127) << 23;
  Floats scale;
  std::memcpy(&scale, &exponent, sizeof(scale));
  return x < kExpLow ? Floats{} : y * scale;
}

struct Fp32 {
  using Element = float;
  static COHORT_INLINE Floats Load(const float* p) {
    Floats v;
    std::memcpy(&v, p, sizeof(v));
    return v;
  }
  static COHORT_INLINE void Store(float* p, Floats v) { std::memcpy(p, &v, sizeof(v)); }
  static COHORT_INLINE float Lowest() { return -kInfinity; }
  static COHORT_INLINE float Get(const float* p) { return *p; }
};

struct Bf16 {
  using Element = uint16_t;
  static COHORT_INLINE Floats Load(const uint16_t* p) {
    Halves h;
    std::memcpy(&h, p, sizeof(h));
    const Uints bits = __builtin_convertvector(h, Uints) << 16;
    Floats v;
    std::memcpy(&v, &bits, sizeof(v));
    return v;
  }
  // Rounds to nearest even.
  static COHORT_INLINE void Store(uint16_t* p, Floats v) {
    Uints bits;
    std::memcpy(&bits, &v, sizeof(bits));
    const Halves h = __builtin_convertvector((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16, Halves);
    std::memcpy(p, &h, sizeof(h));
  }
  static COHORT_INLINE uint16_t Lowest() { return 0xff80; }  // -infinity
  static COHORT_INLINE float Get(const uint16_t* p) {
    const uint32_t bits = uint32_t{*p} << 16;
    float v;
    std::memcpy(&v, &bits, sizeof(v));
    return v;
  }
};

COHORT_INLINE float LaneMax(Floats v) {
  float best = v[0];
  for (int64_t i = 1; i < kLanes; ++i) best = v[i] > best ? v[i] : best;
  return best;
}

COHORT_INLINE double LaneSum(Floats v) {
  double sum = 0;
  for (int64_t i = 0; i < kLanes; ++i) sum += static_cast<double>(v[i]);
  return sum;
}

// Calls visit(vector) over the row; the last, partial vector is filled with -infinity.
template <typename T, typename Visit>
COHORT_INLINE void ForEachVector(const typename T::Element* row, int64_t vocab, Visit visit) {
  int64_t i = 0;
  for (; i + kLanes <= vocab; i += kLanes) visit(T::Load(row + i));
  if (i == vocab) return;
  typename T::Element rest[kLanes];
  for (int64_t j = 0; j < kLanes; ++j) rest[j] = i + j < vocab ? row[i + j] : T::Lowest();
  visit(T::Load(rest));
}

template <typename T>
COHORT_INLINE RowScore ScoreVectors(const typename T::Element* row, int64_t vocab, int64_t target,
                                    float inverse_temperature) {
  Floats top = Splat(-kInfinity);
  ForEachVector<T>(row, vocab,
                   [&](Floats v) __attribute__((always_inline)) { top = v > top ? v : top; });
  const float max = LaneMax(top);
  Floats sum{}, weighted{};
  ForEachVector<T>(row, vocab, [&](Floats v) __attribute__((always_inline)) {
    const Floats x = (v - max) * inverse_temperature;
    const Floats e = ExpNonPositive(x);
    sum += e;
    weighted += e * (x < kExpLow ? Splat(kExpLow) : x);
  });
  const double total = LaneSum(sum);
  const double shift = static_cast<double>(max) * static_cast<double>(inverse_temperature);
  RowScore score;
  score.logsumexp = shift + std::log(total);
  score.logprob =
      static_cast<double>(T::Get(row + target) - max) * static_cast<double>(inverse_temperature) -
      std::log(total);
  score.entropy = std::log(total) - LaneSum(weighted) / total;
  return score;
}

struct Gradients {
  float inverse_temperature;
  float logsumexp;
  float entropy;
  float logprob_gradient;
  float entropy_gradient;
};

// -p (g + h (log p + H)) / T; the target's +g / T is added afterwards.
COHORT_INLINE Floats RowGradient(Floats v, const Gradients& g) {
  Floats logp = v * g.inverse_temperature - g.logsumexp;
  const Floats p = ExpNonPositive(logp > 0.0f ? Floats{} : logp);
  logp = logp < kExpLow ? Splat(kExpLow) : logp;
  const Floats factor = (logp + g.entropy) * g.entropy_gradient + g.logprob_gradient;
  return -p * factor * g.inverse_temperature;
}

template <typename T>
COHORT_INLINE void BackwardVectors(typename T::Element* row, int64_t vocab, int64_t target,
                                   const Gradients& g) {
  const float z = T::Get(row + target);
  const float target_gradient =
      RowGradient(Splat(z), g)[0] + g.logprob_gradient * g.inverse_temperature;
  int64_t i = 0;
  for (; i + kLanes <= vocab; i += kLanes) T::Store(row + i, RowGradient(T::Load(row + i), g));
  typename T::Element rest[kLanes];
  if (i < vocab) {
    for (int64_t j = 0; j < kLanes; ++j) rest[j] = i + j < vocab ? row[i + j] : T::Lowest();
    T::Store(rest, RowGradient(T::Load(rest), g));
    for (int64_t j = 0; i + j < vocab; ++j) row[i + j] = rest[j];
  }
  T::Store(rest, Splat(target_gradient));
  row[target] = rest[0];
}

COHORT_CLONES RowScore ScoreFp32(const float* row, int64_t vocab, int64_t target, float inverse) {
  return ScoreVectors<Fp32>(row, vocab, target, inverse);
}

COHORT_CLONES RowScore ScoreBf16(const uint16_t* row, int64_t vocab, int64_t target,
                                 float inverse) {
  return ScoreVectors<Bf16>(row, vocab, target, inverse);
}

COHORT_CLONES void BackwardFp32(float* row, int64_t vocab, int64_t target, const Gradients& g) {
  BackwardVectors<Fp32>(row, vocab, target, g);
}

COHORT_CLONES void BackwardBf16(uint16_t* row, int64_t vocab, int64_t target, const Gradients& g) {
  BackwardVectors<Bf16>(row, vocab, target, g);
}

RowScore ScoreFp64(const double* row, int64_t vocab, int64_t target, double inverse) {
  double max = -HUGE_VAL, sum = 0, weighted = 0;
  for (int64_t i = 0; i < vocab; ++i) max = row[i] > max ? row[i] : max;
  for (int64_t i = 0; i < vocab; ++i) {
    const double x = (row[i] - max) * inverse;
    const double e = std::exp(x);
    sum += e;
    if (e != 0) weighted += e * x;
  }
  RowScore score;
  score.logsumexp = max * inverse + std::log(sum);
  score.logprob = (row[target] - max) * inverse - std::log(sum);
  score.entropy = std::log(sum) - weighted / sum;
  return score;
}

void BackwardFp64(double* row, int64_t vocab, int64_t target, double inverse, const RowScore& score,
                  double g, double h) {
  for (int64_t i = 0; i < vocab; ++i) {
    const double logp = row[i] * inverse - score.logsumexp;
    const double p = std::exp(logp);
    row[i] = p == 0 ? 0 : -p * (g + h * (logp + score.entropy)) * inverse;
  }
  row[target] += g * inverse;
}

}  // namespace

RowScore ScoreRow(LogitType type, const void* logits, int64_t vocab, int64_t target,
                  double inverse_temperature) {
  const float inverse = static_cast<float>(inverse_temperature);
  switch (type) {
    case LogitType::kFp32:
      return ScoreFp32(static_cast<const float*>(logits), vocab, target, inverse);
    case LogitType::kBf16:
      return ScoreBf16(static_cast<const uint16_t*>(logits), vocab, target, inverse);
    case LogitType::kFp64:
      return ScoreFp64(static_cast<const double*>(logits), vocab, target, inverse_temperature);
  }
  return {};
}

void RowBackward(LogitType type, void* logits, int64_t vocab, int64_t target,
                 double inverse_temperature, const RowScore& score, double logprob_gradient,
                 double entropy_gradient) {
  const Gradients g{static_cast<float>(inverse_temperature), static_cast<float>(score.logsumexp),
                    static_cast<float>(score.entropy), static_cast<float>(logprob_gradient),
                    static_cast<float>(entropy_gradient)};
  switch (type) {
    case LogitType::kFp32:
      return BackwardFp32(static_cast<float*>(logits), vocab, target, g);
    case LogitType::kBf16:
      return BackwardBf16(static_cast<uint16_t*>(logits), vocab, target, g);
    case LogitType::kFp64:
      return BackwardFp64(static_cast<double*>(logits), vocab, target, inverse_temperature, score,
                          logprob_gradient, entropy_gradient);
  }
}

}  // namespace cohort

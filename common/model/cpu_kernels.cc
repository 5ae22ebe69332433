#include "common/model/cpu_kernels.h"

#include <ATen/Parallel.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>

// One copy of a kernel per instruction set; the templates below are inlined into each copy.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define COHORT_CLONES __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
#else
#define COHORT_CLONES
#endif
#define COHORT_INLINE inline __attribute__((always_inline))

namespace cohort::cpu {
namespace {

constexpr int64_t kGrainElements = 16384;  // below this a thread's start costs more than it saves
constexpr int64_t kWeightBlockRows = 32;   // rows per partial sum of a norm's weight gradient

int64_t RowGrain(int64_t row_elements) {
  return std::max<int64_t>(1, kGrainElements / std::max<int64_t>(1, row_elements));
}

template <typename T>
using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;

COHORT_INLINE float Load(const c10::BFloat16& value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value.x) << 16);
}
COHORT_INLINE float Load(const float& value) { return value; }
COHORT_INLINE double Load(const double& value) { return value; }

// Round to nearest even; a NaN stays one.
COHORT_INLINE uint16_t Bf16Bits(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
  return static_cast<uint16_t>(value != value ? 0x7FC0U : rounded);
}
COHORT_INLINE void Store(c10::BFloat16* to, float value) { to->x = Bf16Bits(value); }
COHORT_INLINE void Store(float* to, float value) { *to = value; }
COHORT_INLINE void Store(double* to, double value) { *to = value; }

// The value after a trip through T's precision.
template <typename T>
COHORT_INLINE Wide<T> Rounded(Wide<T> value) {
  if constexpr (std::is_same_v<T, c10::BFloat16>) {
    return std::bit_cast<float>(static_cast<uint32_t>(Bf16Bits(value)) << 16);
  } else {
    return value;
  }
}

// e^x to about one unit in the last place: 2^n times a polynomial on [-ln2/2, ln2/2] (Cephes
// coefficients). Written without branches so that compilers vectorise it.
COHORT_INLINE float Exp(float x) {
  x = x < -87.0F ? -87.0F : x;
  x = x > 88.0F ? 88.0F : x;
  const float n = (x * 1.44269504F + 12582912.0F) - 12582912.0F;  // nearest integer
  const float r = x - n * 0.693359375F + n * 2.12194440e-4F;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * r * r + r + 1.0F;
  return p * std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
}
COHORT_INLINE double Exp(double x) { return std::exp(x); }

template <typename W>
COHORT_INLINE W Sigmoid(W x) {
  return W(1) / (W(1) + Exp(-x));
}

template <typename T>
COHORT_INLINE Wide<T> InverseRms(const T* x, int64_t n, Wide<T> eps) {
  Wide<T> squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < n; ++i) squares += Load(x[i]) * Load(x[i]);
  return Wide<T>(1) / std::sqrt(squares / static_cast<Wide<T>>(n) + eps);
}

template <typename T>
COHORT_INLINE void NormRow(const T* x, const T* delta, const T* weight, int64_t n, Wide<T> eps,
                           T* sum, T* out) {
  if (delta != nullptr) {
    for (int64_t i = 0; i < n; ++i) Store(&sum[i], Load(x[i]) + Load(delta[i]));
    x = sum;
  }
  const Wide<T> scale = InverseRms(x, n, eps);
  for (int64_t i = 0; i < n; ++i) {
    Store(&out[i], Load(weight[i]) * Rounded<T>(Load(x[i]) * scale));
  }
}

template <typename T>
COHORT_INLINE void NormGradRow(const T* grad, const T* skip, const T* x, const T* weight, int64_t n,
                               Wide<T> eps, T* grad_x, Wide<T>* grad_weight) {
  const Wide<T> scale = InverseRms(x, n, eps);
  Wide<T> dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int64_t i = 0; i < n; ++i) dot += Load(grad[i]) * Load(weight[i]) * Load(x[i]);
  const Wide<T> pull = dot * scale * scale / static_cast<Wide<T>>(n);
  for (int64_t i = 0; i < n; ++i) grad_weight[i] += Load(grad[i]) * Load(x[i]) * scale;
  if (skip == nullptr) {
    for (int64_t i = 0; i < n; ++i) {
      Store(&grad_x[i], scale * (Load(grad[i]) * Load(weight[i]) - Load(x[i]) * pull));
    }
  } else {
    for (int64_t i = 0; i < n; ++i) {
      const Wide<T> own = scale * (Load(grad[i]) * Load(weight[i]) - Load(x[i]) * pull);
      Store(&grad_x[i], own + Load(skip[i]));
    }
  }
}

// Rotates `heads` heads of one token by +angle (direction 1) or -angle (-1).
template <typename T>
COHORT_INLINE void RotateRow(const T* in, const Wide<T>* cos, const Wide<T>* sin, int64_t heads,
                             int64_t half, Wide<T> direction, T* out) {
  for (int64_t h = 0; h < heads; ++h, in += 2 * half, out += 2 * half) {
#pragma omp simd
    for (int64_t i = 0; i < half; ++i) {
      const Wide<T> a = Load(in[i]);
      const Wide<T> b = Load(in[i + half]);
      const Wide<T> s = sin[i] * direction;
      Store(&out[i], a * cos[i] - b * s);
      Store(&out[i + half], b * cos[i] + a * s);
    }
  }
}

template <typename T>
COHORT_INLINE void SwiGluRow(const T* gate, const T* up, int64_t n, T* out) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const Wide<T> g = Load(gate[i]);
    Store(&out[i], Rounded<T>(g * Sigmoid(g)) * Load(up[i]));
  }
}

template <typename T>
COHORT_INLINE void SwiGluGradRow(const T* grad, const T* gate, const T* up, int64_t n, T* grad_gate,
                                 T* grad_up) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const Wide<T> g = Load(gate[i]);
    const Wide<T> d = Load(grad[i]);
    const Wide<T> s = Sigmoid(g);
    Store(&grad_gate[i], d * Load(up[i]) * s * (1 + g * (1 - s)));
    Store(&grad_up[i], d * g * s);
  }
}

// target_clones does not apply to templates, so each dtype gets its own set of entry points.
#define COHORT_DEFINE_KERNELS(T)                                                                 \
  COHORT_CLONES void Norm(const T* x, const T* delta, const T* weight, int64_t n, Wide<T> eps,   \
                          T* sum, T* out) {                                                      \
    NormRow<T>(x, delta, weight, n, eps, sum, out);                                              \
  }                                                                                              \
  COHORT_CLONES void NormGrad(const T* grad, const T* skip, const T* x, const T* weight,         \
                              int64_t n, Wide<T> eps, T* grad_x, Wide<T>* grad_weight) {         \
    NormGradRow<T>(grad, skip, x, weight, n, eps, grad_x, grad_weight);                          \
  }                                                                                              \
  COHORT_CLONES void Rotate(const T* in, const Wide<T>* cos, const Wide<T>* sin, int64_t heads,  \
                            int64_t half, Wide<T> direction, T* out) {                           \
    RotateRow<T>(in, cos, sin, heads, half, direction, out);                                     \
  }                                                                                              \
  COHORT_CLONES void Glu(const T* gate, const T* up, int64_t n, T* out) {                        \
    SwiGluRow<T>(gate, up, n, out);                                                              \
  }                                                                                              \
  COHORT_CLONES void GluGrad(const T* grad, const T* gate, const T* up, int64_t n, T* grad_gate, \
                             T* grad_up) {                                                       \
    SwiGluGradRow<T>(grad, gate, up, n, grad_gate, grad_up);                                     \
  }

COHORT_DEFINE_KERNELS(float)
COHORT_DEFINE_KERNELS(double)
COHORT_DEFINE_KERNELS(c10::BFloat16)
#undef COHORT_DEFINE_KERNELS

// Calls f with a null pointer of the tensor's element type.
template <typename F>
void Dispatch(const at::Tensor& tensor, const F& f) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return f(static_cast<float*>(nullptr));
    case at::kDouble:
      return f(static_cast<double*>(nullptr));
    default:
      return f(static_cast<c10::BFloat16*>(nullptr));
  }
}

template <typename T>
const T* In(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<T>() : nullptr;
}
template <typename T>
T* Out(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.mutable_data_ptr<T>() : nullptr;
}
template <typename T>
T* At(T* base, int64_t offset) {
  return base == nullptr ? nullptr : base + offset;
}

}  // namespace

bool Supports(const at::Tensor& tensor) {
  const auto dtype = tensor.scalar_type();
  return tensor.is_cpu() && (dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kDouble);
}

void RmsNormForward(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& weight,
                    double eps, const at::Tensor& sum, const at::Tensor& out) {
  const int64_t n = weight.size(0);
  Dispatch(x, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const T *px = In<T>(x), *pd = In<T>(delta), *pw = In<T>(weight);
    T *ps = Out<T>(sum), *po = Out<T>(out);
    at::parallel_for(0, x.numel() / n, RowGrain(n), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        Norm(px + row * n, At(pd, row * n), pw, n, static_cast<Wide<T>>(eps), At(ps, row * n),
             po + row * n);
      }
    });
  });
}

void RmsNormBackward(const at::Tensor& grad_out, const at::Tensor& grad_skip, const at::Tensor& x,
                     const at::Tensor& weight, double eps, const at::Tensor& grad_x,
                     const at::Tensor& grad_weight) {
  const int64_t n = weight.size(0);
  const int64_t rows = x.numel() / n;
  const int64_t blocks = (rows + kWeightBlockRows - 1) / kWeightBlockRows;
  Dispatch(x, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const at::Tensor partial =
        at::zeros({blocks, n}, x.options().dtype(c10::CppTypeToScalarType<Wide<T>>::value));
    const T *pg = In<T>(grad_out), *pk = In<T>(grad_skip), *px = In<T>(x), *pw = In<T>(weight);
    T* pgx = Out<T>(grad_x);
    auto* pp = Out<Wide<T>>(partial);
    at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin * kWeightBlockRows; row < std::min(rows, end * kWeightBlockRows);
           ++row) {
        NormGrad(pg + row * n, At(pk, row * n), px + row * n, pw, n, static_cast<Wide<T>>(eps),
                 pgx + row * n, pp + row / kWeightBlockRows * n);
      }
    });
    grad_weight.copy_(partial.sum(0));
  });
}

void SplitAndRotateForward(const at::Tensor& qkv, const RopeTable& rope, const QkvHeads& out) {
  const int64_t heads = out.q.size(1), kv_heads = out.k.size(1), half = rope.cos.size(1);
  const int64_t q_size = heads * 2 * half, kv_size = kv_heads * 2 * half;
  const int64_t width = q_size + 2 * kv_size;
  Dispatch(qkv, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const T* in = In<T>(qkv);
    const auto *cos = In<Wide<T>>(rope.cos), *sin = In<Wide<T>>(rope.sin);
    T *q = Out<T>(out.q), *k = Out<T>(out.k), *v = Out<T>(out.v);
    at::parallel_for(0, qkv.size(0), RowGrain(width), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const T* from = in + row * width;
        const auto *c = cos + row * half, *s = sin + row * half;
        Rotate(from, c, s, heads, half, Wide<T>(1), q + row * q_size);
        Rotate(from + q_size, c, s, kv_heads, half, Wide<T>(1), k + row * kv_size);
        std::memcpy(v + row * kv_size, from + q_size + kv_size,
                    sizeof(T) * static_cast<size_t>(kv_size));
      }
    });
  });
}

void SplitAndRotateBackward(const QkvHeads& grad, const RopeTable& rope,
                            const at::Tensor& grad_qkv) {
  const int64_t heads = grad.q.size(1), kv_heads = grad.k.size(1), half = rope.cos.size(1);
  const int64_t q_size = heads * 2 * half, kv_size = kv_heads * 2 * half;
  const int64_t width = q_size + 2 * kv_size;
  Dispatch(grad_qkv, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const T *q = In<T>(grad.q), *k = In<T>(grad.k), *v = In<T>(grad.v);
    const auto *cos = In<Wide<T>>(rope.cos), *sin = In<Wide<T>>(rope.sin);
    T* out = Out<T>(grad_qkv);
    at::parallel_for(0, grad_qkv.size(0), RowGrain(width), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        T* to = out + row * width;
        const auto *c = cos + row * half, *s = sin + row * half;
        Rotate(q + row * q_size, c, s, heads, half, Wide<T>(-1), to);
        Rotate(k + row * kv_size, c, s, kv_heads, half, Wide<T>(-1), to + q_size);
        std::memcpy(to + q_size + kv_size, v + row * kv_size,
                    sizeof(T) * static_cast<size_t>(kv_size));
      }
    });
  });
}

void SwiGluForward(const at::Tensor& gate_up, const at::Tensor& out) {
  const int64_t n = out.size(1);
  Dispatch(gate_up, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const T* in = In<T>(gate_up);
    T* to = Out<T>(out);
    at::parallel_for(0, out.size(0), RowGrain(2 * n), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        Glu(in + row * 2 * n, in + row * 2 * n + n, n, to + row * n);
      }
    });
  });
}

void SwiGluBackward(const at::Tensor& grad_out, const at::Tensor& gate_up,
                    const at::Tensor& grad_gate_up) {
  const int64_t n = grad_out.size(1);
  Dispatch(gate_up, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const T *grad = In<T>(grad_out), *in = In<T>(gate_up);
    T* to = Out<T>(grad_gate_up);
    at::parallel_for(0, grad_out.size(0), RowGrain(2 * n), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t at_row = row * 2 * n;
        GluGrad(grad + row * n, in + at_row, in + at_row + n, n, to + at_row, to + at_row + n);
      }
    });
  });
}

}  // namespace cohort::cpu

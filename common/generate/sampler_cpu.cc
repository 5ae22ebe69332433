#include "common/generate/sampler_cpu.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "common/generate/simd.h"

namespace cohort {
namespace {

using simd::F16;
using simd::kLanes;

// Tokens whose sum is kept, so that finding the drawn one looks at one chunk only.
constexpr int64_t kChunk = 512;
static_assert(kChunk % kLanes == 0);

// z [n] -> (z / temperature) [n, padded with -inf to full lanes]; returns whether all are finite.
template <typename T>
COHORT_INLINE bool ScaleInto(const T* z, int64_t n, float temperature, float* scaled, float* max) {
  F16 maxima = F16{} - std::numeric_limits<float>::infinity();
  F16 zeros = {};  // sum of x * 0, which is NaN unless all are finite
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    F16 x;
    simd::Load(z + i, x);
    x /= temperature;
    zeros += x * 0.0f;
    maxima = x > maxima ? x : maxima;
    simd::Store(x, scaled + i);
  }
  float most = maxima[0];
  for (int lane = 1; lane < kLanes; ++lane) most = std::max(most, maxima[lane]);
  float zero = simd::Sum(zeros);
  for (; i < n; ++i) {
    scaled[i] = static_cast<float>(z[i]) / temperature;
    zero += scaled[i] * 0.0f;
    most = std::max(most, scaled[i]);
  }
  for (; i % kLanes != 0; ++i) scaled[i] = -std::numeric_limits<float>::infinity();
  *max = most;
  return zero == 0.0f;
}

COHORT_CPU_CLONES bool Scale(const float* z, int64_t n, float temperature, float* scaled,
                             float* max) {
  return ScaleInto(z, n, temperature, scaled, max);
}
COHORT_CPU_CLONES bool Scale(const c10::BFloat16* z, int64_t n, float temperature, float* scaled,
                             float* max) {
  return ScaleInto(z, n, temperature, scaled, max);
}
bool Scale(const double* z, int64_t n, float temperature, double* scaled, double* max) {
  double zero = 0;
  *max = -std::numeric_limits<double>::infinity();
  for (int64_t i = 0; i < n; ++i) {
    scaled[i] = z[i] / static_cast<double>(temperature);
    zero += scaled[i] * 0.0;
    *max = std::max(*max, scaled[i]);
  }
  return zero == 0.0;
}

// Over x [n] (n a multiple of the lanes, -inf allowed): sum of exp(x - max), and of that times
// (x - max).
COHORT_CPU_CLONES void SumExp(const float* x, int64_t n, float max, double* sum, double* weighted) {
  F16 sums = {}, products = {};
  for (int64_t i = 0; i < n; i += kLanes) {
    F16 d;
    simd::Load(x + i, d);
    d -= max;
    F16 e = d;
    simd::ExpNonPositive(e);
    sums += e;
    const F16 lowest = F16{} - 100.0f;  // exp(-100) is nothing, but exp(-inf) * inf is NaN
    products += e * (d < lowest ? lowest : d);
  }
  *sum = static_cast<double>(simd::Sum(sums));
  *weighted = static_cast<double>(simd::Sum(products));
}
void SumExp(const double* x, int64_t n, double max, double* sum, double* weighted) {
  *sum = *weighted = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double d = x[i] - max;
    const double e = std::exp(d);
    *sum += e;
    if (e > 0) *weighted += e * d;
  }
}

// One row's softmax, and what is drawn from it. The buffers are reused from row to row.
template <typename T>  // float or double: the number format of scaled logits
class RowSampler {
 public:
  template <typename Z>
  SampledToken Sample(const Z* z, int64_t vocab, const SampleSpec& spec) {
    SampledToken result;
    size_ = vocab;
    scaled_.resize(static_cast<size_t>((vocab + kLanes - 1) / kLanes * kLanes));
    const float temperature = spec.temperature > 0 ? spec.temperature : 1.0f;
    result.finite = Scale(z, vocab, temperature, scaled_.data(), &max_);
    if (!result.finite) return result;
    double weighted = 0;
    Sum(&weighted);
    kept_.clear();
    kept_mass_ = total_;
    if (spec.truncated()) Truncate(spec);
    result.token = Choose(spec);
    const double logprob = Centered(result.token) - std::log(total_);
    result.logprob = static_cast<float>(logprob);
    result.truncated_logprob = static_cast<float>(logprob + std::log(total_ / kept_mass_));
    if (spec.entropy) result.entropy = static_cast<float>(std::log(total_) - weighted / total_);
    return result;
  }

 private:
  double Centered(int64_t token) const {
    return static_cast<double>(scaled_[static_cast<size_t>(token)] - max_);
  }

  void Sum(double* weighted) {
    const auto padded = static_cast<int64_t>(std::is_same_v<T, float> ? scaled_.size()
                                                                      : static_cast<size_t>(size_));
    chunk_sums_.clear();
    total_ = 0;
    for (int64_t begin = 0; begin < padded; begin += kChunk) {
      double sum = 0, part = 0;
      SumExp(scaled_.data() + begin, std::min(kChunk, padded - begin), max_, &sum, &part);
      chunk_sums_.push_back(sum);
      total_ += sum;
      *weighted += part;
    }
  }

  int32_t Choose(const SampleSpec& spec) const {
    if (spec.forced >= 0) return spec.forced;
    if (spec.temperature <= 0) return Argmax();
    return kept_.empty() ? Draw(spec.uniform) : DrawKept(spec.uniform);
  }

  int32_t Argmax() const {
    return static_cast<int32_t>(std::max_element(scaled_.begin(), scaled_.begin() + size_) -
                                scaled_.begin());
  }

  // Inverse of the cumulative distribution in vocabulary order.
  int32_t Draw(double uniform) const {
    double left = uniform * total_;
    size_t chunk = 0;
    while (chunk + 1 < chunk_sums_.size() && left >= chunk_sums_[chunk])
      left -= chunk_sums_[chunk++];
    const int64_t begin = static_cast<int64_t>(chunk) * kChunk;
    const int64_t end = std::min(size_, begin + kChunk);
    int64_t likely = begin;  // rounding may leave a remainder: then the chunk's last possible token
    for (int64_t token = begin; token < end; ++token) {
      const double mass = std::exp(Centered(token));
      if (mass <= 0) continue;
      likely = token;
      left -= mass;
      if (left < 0) break;
    }
    return static_cast<int32_t>(likely);
  }

  int32_t DrawKept(double uniform) const {
    double left = uniform * kept_mass_;
    for (const int32_t token : kept_) {
      left -= std::exp(Centered(token));
      if (left < 0) return token;
    }
    return kept_.back();
  }

  // Leaves in kept_ the ids that top-k and top-p allow, ascending, and their mass.
  void Truncate(const SampleSpec& spec) {
    kept_.resize(static_cast<size_t>(size_));
    std::iota(kept_.begin(), kept_.end(), 0);
    const auto better = [this](int32_t a, int32_t b) {
      const T x = scaled_[static_cast<size_t>(a)], y = scaled_[static_cast<size_t>(b)];
      return x > y || (x == y && a < b);
    };
    const auto k = static_cast<size_t>(spec.top_k);
    if (spec.top_k > 0 && k < kept_.size()) {
      std::nth_element(kept_.begin(), kept_.begin() + spec.top_k, kept_.end(), better);
      kept_.resize(k);
    }
    kept_mass_ = KeptMass();
    if (spec.top_p < 1.0f) KeepNucleus(static_cast<double>(spec.top_p) * kept_mass_, better);
    std::sort(kept_.begin(), kept_.end());
  }

  template <typename Better>
  void KeepNucleus(double wanted, const Better& better) {
    // Tokens that together cannot hold what may be left out need no sorting.
    const double floor = (kept_mass_ - wanted) / static_cast<double>(kept_.size());
    const auto small = [&](int32_t token) { return std::exp(Centered(token)) < floor; };
    kept_.erase(std::remove_if(kept_.begin(), kept_.end(), small), kept_.end());
    std::sort(kept_.begin(), kept_.end(), better);
    double mass = 0;
    size_t count = 0;
    while (count < kept_.size() && (count == 0 || mass < wanted)) {
      mass += std::exp(Centered(kept_[count++]));
    }
    kept_.resize(count);
    kept_mass_ = mass;
  }

  double KeptMass() const {
    double mass = 0;
    for (const int32_t token : kept_) mass += std::exp(Centered(token));
    return mass;
  }

  int64_t size_ = 0;
  std::vector<T> scaled_;
  T max_ = 0;
  double total_ = 0;  // sum of exp(scaled - max)
  std::vector<double> chunk_sums_;
  std::vector<int32_t> kept_;  // empty: every token
  double kept_mass_ = 0;
};

template <typename Z, typename T>
std::vector<SampledToken> SampleRows(const at::Tensor& logits, absl::Span<const SampleSpec> specs) {
  std::vector<SampledToken> result(specs.size());
  const Z* z = logits.const_data_ptr<Z>();
  const int64_t vocab = logits.size(1), stride = logits.stride(0);
  at::parallel_for(0, logits.size(0), 1, [&](int64_t begin, int64_t end) {
    RowSampler<T> sampler;
    for (int64_t row = begin; row < end; ++row) {
      const auto i = static_cast<size_t>(row);
      result[i] = sampler.Sample(z + row * stride, vocab, specs[i]);
    }
  });
  return result;
}

}  // namespace

std::vector<SampledToken> SampleTokensCpu(const at::Tensor& logits,
                                          absl::Span<const SampleSpec> specs) {
  const at::Tensor rows = logits.stride(1) == 1 ? logits : logits.contiguous();
  switch (rows.scalar_type()) {
    case at::kDouble:
      return SampleRows<double, double>(rows, specs);
    case at::kBFloat16:
      return SampleRows<c10::BFloat16, float>(rows, specs);
    default:
      return SampleRows<float, float>(rows.to(at::kFloat), specs);
  }
}

}  // namespace cohort

#include "common/rl/em_inf.h"

#include <algorithm>
#include <cmath>

namespace cohort {
namespace {

constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEps = 1e-8;

struct Softmax {
  std::vector<double> p;
  double logsumexp = 0;
  double entropy = 0;

  void Of(const std::vector<double>& z) {
    const double top = *std::max_element(z.begin(), z.end());
    p.resize(z.size());
    double sum = 0;
    for (size_t i = 0; i < z.size(); ++i) sum += p[i] = std::exp(z[i] - top);
    logsumexp = top + std::log(sum);
    entropy = 0;
    for (size_t i = 0; i < z.size(); ++i) {
      p[i] /= sum;
      if (p[i] > 0) entropy -= p[i] * (z[i] - logsumexp);
    }
  }
};

struct Adam {
  std::vector<double> m, v;
  double power1 = 1, power2 = 1;

  void Begin() {
    power1 *= kBeta1;
    power2 *= kBeta2;
  }
  double Change(size_t i, double lr, double gradient) {
    m[i] = kBeta1 * m[i] + (1 - kBeta1) * gradient;
    v[i] = kBeta2 * v[i] + (1 - kBeta2) * gradient * gradient;
    return lr * (m[i] / (1 - power1)) / (std::sqrt(v[i] / (1 - power2)) + kEps);
  }
};

}  // namespace

EmInfResult MinimizeEntropy(absl::Span<const double> logits, const EmInfOptions& options) {
  EmInfResult out;
  out.logits.assign(logits.begin(), logits.end());
  if (logits.empty()) return out;
  Softmax now;
  now.Of(out.logits);
  out.entropy_before = out.entropy_after = now.entropy;
  if (options.steps <= 0 || now.entropy < options.threshold) return out;
  const std::vector<double> original = now.p;
  Adam adam{std::vector<double>(logits.size(), 0), std::vector<double>(logits.size(), 0)};
  while (out.steps_taken < options.steps && !(now.entropy < options.threshold)) {
    adam.Begin();
    for (size_t i = 0; i < out.logits.size(); ++i) {
      const double p = now.p[i];
      const double of_entropy = p > 0 ? -p * (out.logits[i] - now.logsumexp + now.entropy) : 0;
      const double gradient = of_entropy + options.kl_weight * (p - original[i]);
      out.logits[i] -= adam.Change(i, options.lr, gradient);
    }
    now.Of(out.logits);
    ++out.steps_taken;
  }
  out.entropy_after = now.entropy;
  return out;
}

}  // namespace cohort

#include "common/rl/em_inf.h"

#include <algorithm>
#include <cmath>

namespace cohort {
namespace {

constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEps = 1e-8;

std::vector<double> LogSoftmax(const std::vector<double>& z) {
  const double top = *std::max_element(z.begin(), z.end());
  double sum = 0;
  for (double x : z) sum += std::exp(x - top);
  std::vector<double> out;
  for (double x : z) out.push_back(x - top - std::log(sum));
  return out;
}

double Entropy(const std::vector<double>& logp) {
  double h = 0;
  for (double l : logp) {
    const double p = std::exp(l);
    if (p > 0) h -= p * l;
  }
  return h;
}

struct Adam {
  std::vector<double> m, v;
  double power1 = 1, power2 = 1;

  void Step(double lr, const std::vector<double>& gradient, std::vector<double>* x) {
    power1 *= kBeta1;
    power2 *= kBeta2;
    for (size_t i = 0; i < gradient.size(); ++i) {
      m[i] = kBeta1 * m[i] + (1 - kBeta1) * gradient[i];
      v[i] = kBeta2 * v[i] + (1 - kBeta2) * gradient[i] * gradient[i];
      (*x)[i] -= lr * (m[i] / (1 - power1)) / (std::sqrt(v[i] / (1 - power2)) + kEps);
    }
  }
};

}  // namespace

EmInfResult MinimizeEntropy(absl::Span<const double> logits, const EmInfOptions& options) {
  EmInfResult out;
  out.logits.assign(logits.begin(), logits.end());
  if (logits.empty()) return out;
  const std::vector<double> original = LogSoftmax(out.logits);
  out.entropy_before = out.entropy_after = Entropy(original);
  Adam adam{std::vector<double>(logits.size(), 0), std::vector<double>(logits.size(), 0)};
  std::vector<double> gradient(logits.size(), 0);
  while (out.steps_taken < options.steps && !(out.entropy_after < options.threshold)) {
    const std::vector<double> logp = LogSoftmax(out.logits);
    for (size_t i = 0; i < logp.size(); ++i) {
      const double p = std::exp(logp[i]);
      const double entropy_gradient = p > 0 ? -p * (logp[i] + out.entropy_after) : 0;
      gradient[i] = entropy_gradient + options.kl_weight * (p - std::exp(original[i]));
    }
    adam.Step(options.lr, gradient, &out.logits);
    out.entropy_after = Entropy(LogSoftmax(out.logits));
    ++out.steps_taken;
  }
  return out;
}

}  // namespace cohort

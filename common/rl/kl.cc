#include "common/rl/kl.h"

#include <algorithm>
#include <cmath>

namespace cohort {
namespace {

KlTerm EstimateK3(const KlSpec& spec, double x) {
  const double bound = spec.log_ratio_clamp > 0 ? spec.log_ratio_clamp : HUGE_VAL;
  const double ceiling = spec.value_clamp > 0 ? spec.value_clamp : HUGE_VAL;
  const double clamped = std::clamp(x, -bound, bound);
  const double value = std::expm1(clamped) - clamped;
  const bool free = clamped == x && value <= ceiling;
  return {std::min(value, ceiling), free ? -std::expm1(x) : 0};
}

double Sign(double x) { return x > 0 ? 1 : (x < 0 ? -1 : 0); }

}  // namespace

KlTerm EstimateKl(const KlSpec& spec, double logprob, double reference) {
  const double k1 = logprob - reference;
  if (std::isnan(k1)) return {k1, k1};
  switch (spec.estimator) {
    case KlEstimator::kK1:
      return {k1, 1};
    case KlEstimator::kK2:
      return {k1 * k1 / 2, k1};
    case KlEstimator::kAbs:
      return {std::abs(k1), Sign(k1)};
    case KlEstimator::kK3:
      return EstimateK3(spec, -k1);
    case KlEstimator::kK3K2grad:
      return {EstimateK3(spec, -k1).value, k1};
  }
  return {};
}

std::vector<double> KlTokenPenalty(const KlSpec& spec, double coef, absl::Span<const double> old,
                                   absl::Span<const double> reference,
                                   absl::Span<const uint8_t> mask) {
  std::vector<double> penalty(mask.size(), 0);
  for (size_t t = 0; t < mask.size(); ++t) {
    if (mask[t]) penalty[t] = -coef * EstimateKl(spec, old[t], reference[t]).value;
  }
  return penalty;
}

double AdaptiveKlCoef(double coef, double kl, double target, double rows, double horizon) {
  const double error = std::clamp(kl / target - 1, -0.2, 0.2);
  return coef * (1 + error * rows / horizon);
}

void KlController::Update(double kl, double rows) {
  if (spec_.controller == KlControllerKind::kFixed) return;
  coef_ = AdaptiveKlCoef(coef_, kl, spec_.target, rows, spec_.horizon);
}

}  // namespace cohort

#include "common/rl/value_loss.h"

#include <algorithm>
#include <cstddef>

namespace cohort {
namespace {

double Variance(absl::Span<const double> x) {
  if (x.empty()) return 0;
  double mean = 0, squares = 0;
  for (double v : x) mean += v / static_cast<double>(x.size());
  for (double v : x) squares += (v - mean) * (v - mean);
  return squares / static_cast<double>(x.size());
}

}  // namespace

ValueLoss ComputeValueLoss(absl::Span<const double> value, absl::Span<const double> old,
                           absl::Span<const double> returns, absl::Span<const double> weight,
                           double clip) {
  ValueLoss out;
  out.gradient.reserve(value.size());
  for (size_t t = 0; t < value.size(); ++t) {
    const double error = value[t] - returns[t];
    const double near = clip > 0 ? std::clamp(value[t], old[t] - clip, old[t] + clip) : value[t];
    const double clipped = near - returns[t];
    const bool cut = clipped * clipped > error * error;
    out.loss += weight[t] / 2 * std::max(error * error, clipped * clipped);
    out.gradient.push_back(cut ? 0 : weight[t] * error);
    out.clipped += cut ? 1 : 0;
  }
  return out;
}

double ExplainedVariance(absl::Span<const double> value, absl::Span<const double> returns) {
  std::vector<double> error;
  for (size_t t = 0; t < value.size(); ++t) error.push_back(returns[t] - value[t]);
  const double total = Variance(returns);
  return total > 0 ? 1 - Variance(error) / total : 0;
}

}  // namespace cohort

#include "common/rl/eval_stats.h"

#include <algorithm>
#include <cmath>

#include "common/base/rng.h"
#include "common/base/status_macros.h"
#include "common/rl/metrics.h"

namespace cohort {
namespace {

constexpr uint64_t kBootstrapStream = 0xb007;
constexpr size_t kCalibrationBins = 10;

double Mean(absl::Span<const double> values) {
  double sum = 0;
  for (double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

double Percentile(const std::vector<double>& sorted, double share) {
  const auto at = static_cast<size_t>(share * static_cast<double>(sorted.size()));
  return sorted[std::min(at, sorted.size() - 1)];
}

}  // namespace

std::vector<int64_t> PowersOfTwoUpTo(int64_t n) {
  std::vector<int64_t> ks;
  for (int64_t k = 1; k < n; k *= 2) ks.push_back(k);
  if (n > 0) ks.push_back(n);
  return ks;
}

absl::StatusOr<std::vector<std::vector<double>>> PassAtKs(absl::Span<const ProblemCount> problems,
                                                          absl::Span<const int64_t> ks) {
  std::vector<std::vector<double>> values;
  for (int64_t k : ks) {
    std::vector<double>& row = values.emplace_back();
    row.reserve(problems.size());
    for (const ProblemCount& problem : problems) {
      COHORT_ASSIGN_OR_RETURN(const double value, PassAtK(problem.samples, problem.correct, k));
      row.push_back(value);
    }
  }
  return values;
}

std::vector<Interval> BootstrapMeans(absl::Span<const std::vector<double>> values, uint64_t seed,
                                     int resamples) {
  std::vector<Interval> out(values.size());
  if (values.empty() || values[0].empty()) return out;
  const size_t problems = values[0].size();
  // Problem by problem, so that one draw serves all quantities and reads one cache line.
  const size_t quantities = values.size();
  std::vector<double> by_problem(problems * quantities);
  for (size_t q = 0; q < quantities; ++q) {
    for (size_t p = 0; p < problems; ++p) by_problem[p * quantities + q] = values[q][p];
  }
  CounterRng rng(seed, kBootstrapStream);
  std::vector<std::vector<double>> means(quantities);
  std::vector<double> sums(quantities);
  for (int r = 0; r < resamples; ++r) {
    std::fill(sums.begin(), sums.end(), 0.0);
    for (size_t i = 0; i < problems; ++i) {
      const double* drawn = &by_problem[rng.Below(problems) * quantities];
      for (size_t q = 0; q < quantities; ++q) sums[q] += drawn[q];
    }
    for (size_t q = 0; q < quantities; ++q) {
      means[q].push_back(sums[q] / static_cast<double>(problems));
    }
  }
  for (size_t q = 0; q < quantities; ++q) {
    out[q].mean = out[q].low = out[q].high = Mean(values[q]);
    if (means[q].empty()) continue;
    std::sort(means[q].begin(), means[q].end());
    out[q].low = Percentile(means[q], 0.025);
    out[q].high = Percentile(means[q], 0.975);
  }
  return out;
}

double McNemarExact(int64_t only_a, int64_t only_b) {
  const int64_t n = only_a + only_b;
  if (n <= 0) return 1;
  // Logarithms of C(n, i) / 2^n: n may be thousands.
  const auto log_share = [&](int64_t i) {
    return std::lgamma(static_cast<double>(n) + 1) - std::lgamma(static_cast<double>(i) + 1) -
           std::lgamma(static_cast<double>(n - i) + 1) - static_cast<double>(n) * std::log(2.0);
  };
  double tail = 0;
  for (int64_t i = 0; i <= std::min(only_a, only_b); ++i) tail += std::exp(log_share(i));
  return std::min(1.0, 2 * tail);
}

std::optional<double> CrossingPoint(absl::Span<const int64_t> ks, absl::Span<const double> a,
                                    absl::Span<const double> b) {
  double before = 0;  // the last difference that is not zero
  double log_before = 0;
  for (size_t i = 0; i < ks.size(); ++i) {
    const double difference = a[i] - b[i];
    const double log_k = std::log(static_cast<double>(ks[i]));
    if (before * difference < 0) {
      const double share = before / (before - difference);
      return std::exp(log_before + share * (log_k - log_before));
    }
    if (difference != 0) {
      before = difference;
      log_before = log_k;
    }
  }
  return std::nullopt;
}

Calibration Calibrate(absl::Span<const double> confidence, absl::Span<const double> correct) {
  Calibration out;
  out.bins.resize(kCalibrationBins);
  for (size_t i = 0; i < confidence.size(); ++i) {
    const double bounded = std::clamp(confidence[i], 0.0, 1.0);
    const auto at = std::min(static_cast<size_t>(bounded * kCalibrationBins), kCalibrationBins - 1);
    Calibration::Bin& bin = out.bins[at];
    ++bin.count;
    bin.confidence += bounded;
    bin.accuracy += correct[i];
  }
  for (Calibration::Bin& bin : out.bins) {
    if (bin.count == 0) continue;
    out.error += std::abs(bin.accuracy - bin.confidence) / static_cast<double>(confidence.size());
    bin.confidence /= static_cast<double>(bin.count);
    bin.accuracy /= static_cast<double>(bin.count);
  }
  return out;
}

}  // namespace cohort

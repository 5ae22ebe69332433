#include "services/cli/study_verdict.h"

#include <cmath>
#include <iterator>
#include <numeric>
#include <vector>

namespace cohort {
namespace {

constexpr double kT95[] = {12.7062, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691, 2.36462, 2.30600,
                           2.26216, 2.22814, 2.20099, 2.17881, 2.16037, 2.14479, 2.13145, 2.11991,
                           2.10982, 2.10092, 2.09302, 2.08596, 2.07961, 2.07387, 2.06866, 2.06390,
                           2.05954, 2.05553, 2.05183, 2.04841, 2.04523, 2.04227};

Verdict Side(bool right, bool wrong) {
  return right ? Verdict::kHolds : wrong ? Verdict::kFails : Verdict::kUnclear;
}

}  // namespace

// Beyond the table by the first terms of its expansion around the normal quantile.
double StudentT95(int degrees) {
  if (degrees < 1) return INFINITY;
  if (static_cast<size_t>(degrees) <= std::size(kT95)) return kT95[degrees - 1];
  constexpr double z = 1.959964;
  const double n = degrees;
  return z + (z * z * z + z) / (4 * n) +
         (5 * std::pow(z, 5) + 16 * z * z * z + 3 * z) / (96 * n * n);
}

MeanInterval IntervalOf(absl::Span<const double> values) {
  if (values.empty()) return {};
  const double n = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  if (values.size() == 1) return {mean, mean, mean};
  double squares = 0;
  for (double value : values) squares += (value - mean) * (value - mean);
  const double error = std::sqrt(squares / (n - 1) / n);
  const double half = StudentT95(static_cast<int>(values.size()) - 1) * error;
  return {mean, mean - half, mean + half};
}

void JudgeClaim(const v1::StudyClaim& claim, ClaimResult* result) {
  result->verdict = Verdict::kMissing;
  if (result->values.empty()) return;
  std::vector<double> values;
  for (const auto& [seed, value] : result->values) values.push_back(value);
  const MeanInterval interval = IntervalOf(values);
  result->mean = interval.mean;
  const double low = result->low = interval.low;
  const double high = result->high = interval.high;
  if (claim.has_above()) {
    result->verdict = Side(low > claim.above(), high <= claim.above());
  } else if (claim.has_below()) {
    result->verdict = Side(high < claim.below(), low >= claim.below());
  } else {
    const double most = claim.within();
    result->verdict = Side(low >= -most && high <= most, low > most || high < -most);
  }
}

absl::string_view VerdictText(Verdict verdict) {
  switch (verdict) {
    case Verdict::kHolds:
      return "holds";
    case Verdict::kFails:
      return "fails";
    case Verdict::kUnclear:
      return "unclear";
    case Verdict::kMissing:
      break;
  }
  return "not measured";
}

}  // namespace cohort

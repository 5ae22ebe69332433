#include "services/cli/accuracy.h"

#include <algorithm>
#include <cmath>

#include "common/base/rng.h"

namespace cohort {
namespace {

constexpr double kZ = 1.959963984540054;  // 97.5th percentile of the normal distribution
constexpr int kResamples = 10000;

void Wilson(Accuracy& accuracy) {
  const double n = accuracy.problems, p = accuracy.mean;
  const double center = (p + kZ * kZ / (2 * n)) / (1 + kZ * kZ / n);
  const double half = kZ / (1 + kZ * kZ / n) * std::sqrt(p * (1 - p) / n + kZ * kZ / (4 * n * n));
  accuracy.low = std::max(0.0, center - half);
  accuracy.high = std::min(1.0, center + half);
  accuracy.method = "wilson";
}

void Bootstrap(const std::vector<double>& shares, uint64_t seed, Accuracy& accuracy) {
  CounterRng rng(seed, /*stream=*/0xb007);
  std::vector<double> means(kResamples);
  for (double& mean : means) {
    double sum = 0;
    for (size_t i = 0; i < shares.size(); ++i) sum += shares[rng.Below(shares.size())];
    mean = sum / static_cast<double>(shares.size());
  }
  std::sort(means.begin(), means.end());
  accuracy.low = means[static_cast<size_t>(0.025 * kResamples)];
  accuracy.high = means[static_cast<size_t>(0.975 * kResamples)];
  accuracy.method = "bootstrap over problems";
}

}  // namespace

Accuracy MeanAccuracy(const std::vector<ProblemScore>& scores, uint64_t seed) {
  Accuracy accuracy;
  std::vector<double> shares;
  bool single = true;
  for (const ProblemScore& score : scores) {
    if (score.samples == 0) continue;
    shares.push_back(static_cast<double>(score.correct) / score.samples);
    accuracy.mean += shares.back();
    single = single && score.samples == 1;
  }
  accuracy.problems = static_cast<int>(shares.size());
  if (shares.empty()) return accuracy;
  accuracy.mean /= static_cast<double>(shares.size());
  if (single) {
    Wilson(accuracy);
  } else {
    Bootstrap(shares, seed, accuracy);
  }
  return accuracy;
}

}  // namespace cohort

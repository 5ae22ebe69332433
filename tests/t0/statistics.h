// Summaries of repeated runs: plain sums over a handful of numbers. For tests only.
#pragma once

#include <cmath>
#include <vector>

namespace cohort::t0 {

inline double Mean(const std::vector<double>& x) {
  double sum = 0;
  for (double v : x) sum += v;
  return x.empty() ? 0 : sum / static_cast<double>(x.size());
}

inline double Variance(const std::vector<double>& x) {  // unbiased
  const double mean = Mean(x);
  double sum = 0;
  for (double v : x) sum += (v - mean) * (v - mean);
  return x.size() < 2 ? 0 : sum / static_cast<double>(x.size() - 1);
}

inline double StandardError(const std::vector<double>& x) {
  return std::sqrt(Variance(x) / static_cast<double>(x.size()));
}

// Standard deviation over the mean.
inline double RelativeSpread(const std::vector<double>& x) {
  return std::sqrt(Variance(x)) / Mean(x);
}

inline double Correlation(const std::vector<double>& x, const std::vector<double>& y) {
  const double mx = Mean(x), my = Mean(y);
  double xy = 0, xx = 0, yy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - mx) * (y[i] - my);
    xx += (x[i] - mx) * (x[i] - mx);
    yy += (y[i] - my) * (y[i] - my);
  }
  return xy / std::sqrt(xx * yy);
}

// Slope of the least-squares line of y over x.
inline double Slope(const std::vector<double>& x, const std::vector<double>& y) {
  return Correlation(x, y) * std::sqrt(Variance(y) / Variance(x));
}

inline double Norm(const std::vector<double>& x) {
  double sum = 0;
  for (double v : x) sum += v * v;
  return std::sqrt(sum);
}

inline std::vector<double> Difference(std::vector<double> x, const std::vector<double>& y) {
  for (size_t i = 0; i < x.size(); ++i) x[i] -= y[i];
  return x;
}

}  // namespace cohort::t0

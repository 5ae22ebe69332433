// Statistics over the problems of an evaluation (algorithms.md 10.1 to 10.4): pass@k of many
// problems, bootstrap intervals over problems, paired comparison of two models. Pure functions;
// random only by the seed that is given.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace cohort {

// A mean over problems with its 95 % interval.
struct Interval {
  double mean = 0;
  double low = 0;
  double high = 0;
};

// Judged samples of one problem and how many of them were right.
struct ProblemCount {
  int64_t samples = 0;
  int64_t correct = 0;
};

// 1, 2, 4, ... and `n` itself.
std::vector<int64_t> PowersOfTwoUpTo(int64_t n);

// values[k][problem] = unbiased pass@k. InvalidArgument when a k is below 1 or above a problem's
// samples (missing samples are never padded).
absl::StatusOr<std::vector<std::vector<double>>> PassAtKs(absl::Span<const ProblemCount> problems,
                                                          absl::Span<const int64_t> ks);

// Percentile bootstrap over problems: values[quantity][problem]; every quantity sees the same
// resamples, so that a difference of two is as exact as it can be. No problems: zeros.
std::vector<Interval> BootstrapMeans(absl::Span<const std::vector<double>> values, uint64_t seed,
                                     int resamples = 2000);

// Exact two-sided McNemar test: p of a split at least as uneven as `only_a` : `only_b` among the
// problems that exactly one of two models solved. 1 when there are none.
double McNemarExact(int64_t only_a, int64_t only_b);

// Where curve `a` stops being above (or below) curve `b`: k of the first change of sign of a - b,
// interpolated over log k; nothing when one is never below the other. Spans of one length, k
// ascending.
std::optional<double> CrossingPoint(absl::Span<const int64_t> ks, absl::Span<const double> a,
                                    absl::Span<const double> b);

// Confidence against being right, in ten equal bins of [0, 1].
struct Calibration {
  struct Bin {
    int64_t count = 0;
    double confidence = 0;  // mean
    double accuracy = 0;
  };
  std::vector<Bin> bins;
  double error = 0;  // expected calibration error: mean |accuracy - confidence| over samples
};
Calibration Calibrate(absl::Span<const double> confidence, absl::Span<const double> correct);

}  // namespace cohort

// Evaluation metrics over several samples per problem (algorithms.md section 10) and moments of
// logits. Pure functions.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/rl/label_free.h"

namespace cohort {

// Unbiased pass@k of c correct among n samples; exactly 1 when n - c < k. Refuses k > n.
absl::StatusOr<double> PassAtK(int64_t n, int64_t c, int64_t k);

// Mean correctness of one problem's samples.
double AverageCorrect(absl::Span<const double> correct);

// 1 when the most frequent answer (ties: first seen) is equivalent to gold, else 0.
double MajorityCorrect(absl::Span<const Answer> answers, const std::string& gold,
                       const AnswerEquality& equal = {});

// Expectation of that over all k-subsets, ties broken uniformly. Refuses k > n.
absl::StatusOr<double> MajorityAtK(absl::Span<const Answer> answers, const std::string& gold,
                                   int64_t k, const AnswerEquality& equal = {});

// Mean of the highest ceil(share * n) of n values; 0 of none.
double TopShareMean(std::vector<double> values, double share);

// Streaming mean, population deviation, biased skewness m3/m2^1.5 and kurtosis m4/m2^2 (3 for a
// normal distribution), in fp64.
class MomentAccumulator {
 public:
  // Values that are not finite are skipped, and zeros when `drop_zeros`.
  explicit MomentAccumulator(bool drop_zeros = false) : drop_zeros_(drop_zeros) {}
  void Add(double x);
  int64_t count() const { return count_; }
  double mean() const { return mean_; }
  double std() const;
  double skew() const;      // 0 for a constant
  double kurtosis() const;  // 0 for a constant

 private:
  bool drop_zeros_;
  int64_t count_ = 0;
  double mean_ = 0, m2_ = 0, m3_ = 0, m4_ = 0;
};

}  // namespace cohort

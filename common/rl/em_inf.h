// EM-INF: sharpening of one row of logits at decoding time (algorithms.md section 7.7). Adam on the
// logits themselves, minimising H(softmax z') + kl_weight * KL(softmax z || softmax z').
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace cohort {

struct EmInfOptions {
  double lr = 0.1;
  int64_t steps = 5;
  double kl_weight = 0.001;
  double threshold = 0.3;  // nats; no step once the entropy is below it
};

struct EmInfResult {
  std::vector<double> logits;
  int64_t steps_taken = 0;
  double entropy_before = 0;
  double entropy_after = 0;
};

EmInfResult MinimizeEntropy(absl::Span<const double> logits, const EmInfOptions& options);

}  // namespace cohort

// Mean accuracy over problems with a 95 % interval.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace cohort {

// How often one problem was answered right.
struct ProblemScore {
  int correct = 0;
  int samples = 0;  // judged ones; a problem without any is left out
};

struct Accuracy {
  double mean = 0;  // over problems, of the share of right samples: avg@k, algorithms.md 10.2
  double low = 0;   // 95 % interval
  double high = 0;
  // "wilson" when every problem has one sample, else "bootstrap over problems" (percentiles of
  // 10,000 seeded resamples: samples of one problem are not independent of each other).
  std::string method;
  int problems = 0;  // with at least one judged sample
};

Accuracy MeanAccuracy(const std::vector<ProblemScore>& scores, uint64_t seed);

}  // namespace cohort

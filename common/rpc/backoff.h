// Exponential backoff with jitter: how long to wait before the next attempt. Seeded, so that tests
// repeat and a fleet does not come back all at once. Not thread-safe.
#pragma once

#include <cstdint>

#include "absl/time/time.h"
#include "common/base/rng.h"

namespace cohort {

class Backoff {
 public:
  struct Options {
    absl::Duration initial = absl::Milliseconds(100);
    absl::Duration limit = absl::Seconds(5);
    double factor = 1.6;
    double jitter = 0.2;  // each wait is scaled by a factor in [1 - jitter, 1 + jitter]
  };
  Backoff(const Options& options, uint64_t seed)
      : options_(options), rng_(seed), next_(options.initial) {}

  absl::Duration Next() {
    const absl::Duration base = next_;
    next_ = base * options_.factor < options_.limit ? base * options_.factor : options_.limit;
    return base * (1.0 + options_.jitter * (2.0 * rng_.Uniform() - 1.0));
  }
  void Reset() { next_ = options_.initial; }

 private:
  const Options options_;
  CounterRng rng_;
  absl::Duration next_;
};

}  // namespace cohort

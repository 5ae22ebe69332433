// Holds a worker to a rate of tokens, so that workers of a known speed can be had on any machine: a
// test of scaling must not measure how many of them share the processors.
#pragma once

#include <algorithm>
#include <cstdint>

#include "absl/time/time.h"
#include "common/base/clock.h"

namespace cohort {

// A bucket without a store: what was not used in idle time is not saved up. One thread.
class Pacer {
 public:
  // `tokens_per_second` of all rows together; 0: no limit.
  explicit Pacer(double tokens_per_second, Clock* clock = Clock::Real())
      : tokens_per_second_(tokens_per_second), clock_(clock), next_(clock->Now()) {}

  // `tokens` were sampled.
  void Count(int64_t tokens) {
    if (tokens_per_second_ <= 0) return;
    next_ = std::max(next_, clock_->Now() - kLateness) +
            absl::Seconds(static_cast<double>(tokens) / tokens_per_second_);
  }
  // There was nothing to do up to now: that time is not made up for, or the next tokens would be
  // sampled at any rate.
  void Idle() { next_ = std::max(next_, clock_->Now()); }
  // Until the next step may begin.
  absl::Duration Wait() const { return std::max(next_ - clock_->Now(), absl::ZeroDuration()); }

 private:
  // A step that came late by no more than this is made up for: otherwise every wait's own lateness
  // would lower the rate.
  static constexpr absl::Duration kLateness = absl::Seconds(1);

  const double tokens_per_second_;
  Clock* const clock_;
  absl::Time next_;
};

}  // namespace cohort

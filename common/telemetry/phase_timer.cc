#include "common/telemetry/phase_timer.h"

#include <algorithm>

namespace cohort {

PhaseTimer::PhaseTimer(absl::string_view phase, Clock* clock)
    : clock_(clock), phase_(phase), entered_(clock->Now()), accounted_(entered_) {}

void PhaseTimer::Account() {
  const absl::Time now = clock_->Now();
  // A clock set back must not take time away from a phase.
  seconds_[phase_] += std::max(0.0, absl::ToDoubleSeconds(now - accounted_));
  accounted_ = now;
}

std::string PhaseTimer::Enter(absl::string_view phase) {
  absl::MutexLock lock(&mu_);
  Account();
  entered_ = accounted_;
  return std::exchange(phase_, std::string(phase));
}

std::map<std::string, double> PhaseTimer::Take() {
  absl::MutexLock lock(&mu_);
  Account();
  for (const auto& [phase, seconds] : seconds_) before_[phase] += seconds;
  return std::exchange(seconds_, {});
}

std::map<std::string, double> PhaseTimer::Totals() {
  absl::MutexLock lock(&mu_);
  Account();
  std::map<std::string, double> totals = before_;
  for (const auto& [phase, seconds] : seconds_) totals[phase] += seconds;
  return totals;
}

std::string PhaseTimer::phase() const {
  absl::MutexLock lock(&mu_);
  return phase_;
}

absl::Time PhaseTimer::entered() const {
  absl::MutexLock lock(&mu_);
  return entered_;
}

double PhaseTimer::seconds_in_phase() const {
  absl::MutexLock lock(&mu_);
  return std::max(0.0, absl::ToDoubleSeconds(clock_->Now() - entered_));
}

}  // namespace cohort

// Where the time of a loop goes: one phase at a time, so that the phases add up to wall time.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/clock.h"

namespace cohort {

// Thread-safe: one thread drives it, others ask where it stands.
class PhaseTimer {
 public:
  // Starts in `phase`.
  explicit PhaseTimer(absl::string_view phase, Clock* clock = Clock::Real());

  // Ends the phase that runs and starts `phase`; returns the one that ended.
  std::string Enter(absl::string_view phase);

  // Seconds per phase since the last call, the running one up to now.
  std::map<std::string, double> Take();

  // Seconds per phase since the beginning, the running one up to now.
  std::map<std::string, double> Totals();

  std::string phase() const;
  absl::Time entered() const;  // when it began
  double seconds_in_phase() const;

  // Enters a phase and, at the end of the scope, the one from before.
  class Scope {
   public:
    Scope(PhaseTimer* timer, absl::string_view phase)
        : timer_(timer), before_(timer->Enter(phase)) {}
    ~Scope() { timer_->Enter(before_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    PhaseTimer* timer_;
    std::string before_;
  };

 private:
  void Account() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Clock* const clock_;
  mutable absl::Mutex mu_;
  std::string phase_ ABSL_GUARDED_BY(mu_);
  absl::Time entered_ ABSL_GUARDED_BY(mu_);                     // when phase_ began
  absl::Time accounted_ ABSL_GUARDED_BY(mu_);                   // up to when seconds_ counts
  std::map<std::string, double> seconds_ ABSL_GUARDED_BY(mu_);  // since the last Take
  std::map<std::string, double> before_ ABSL_GUARDED_BY(mu_);   // up to it
};

}  // namespace cohort

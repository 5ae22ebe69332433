// Whether a loop still goes round. A process whose HTTP port answers may be dead all the same: the
// thread that does its work can hang in a lock, in a driver or on a disk. So that thread says what
// it begins and how long that may last, and the health check asks whether it has kept to it.
#pragma once

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/clock.h"

namespace cohort {

// Thread-safe: one thread is watched, any may ask. Nothing is called with its lock held, so that it
// answers whatever hangs.
class Watchdog {
 public:
  // `loop` names the thread in messages. Nothing is expected of it before the first Begin.
  explicit Watchdog(std::string loop, Clock* clock = Clock::Real());

  // The thread does `what` (a literal) now, and will call again, or End, within `limit`.
  void Begin(const char* what, absl::Duration limit);
  // The thread is over; nothing more is expected of it.
  void End() { Begin("ended", absl::InfiniteDuration()); }

  // DeadlineExceeded: what the thread does, since when, and what was allowed.
  absl::Status Check() const;

 private:
  const std::string loop_;
  Clock* const clock_;
  mutable absl::Mutex mu_;
  const char* what_ ABSL_GUARDED_BY(mu_) = "not started";
  absl::Duration limit_ ABSL_GUARDED_BY(mu_) = absl::InfiniteDuration();
  absl::Time since_ ABSL_GUARDED_BY(mu_);
};

}  // namespace cohort

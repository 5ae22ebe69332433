#include "common/concurrency/watchdog.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace cohort {

Watchdog::Watchdog(std::string loop, Clock* clock)
    : loop_(std::move(loop)), clock_(clock), since_(clock->Now()) {}

void Watchdog::Begin(const char* what, absl::Duration limit) {
  const absl::Time now = clock_->Now();
  absl::MutexLock lock(&mu_);
  what_ = what;
  limit_ = limit;
  since_ = now;
}

absl::Status Watchdog::Check() const {
  const absl::Time now = clock_->Now();
  absl::MutexLock lock(&mu_);
  const absl::Duration spent = now - since_;
  if (spent <= limit_) return absl::OkStatus();
  return absl::DeadlineExceededError(
      absl::StrCat(loop_, " hangs: ", what_, ": expected at most ",
                   absl::FormatDuration(absl::Trunc(limit_, absl::Seconds(1))), ", found ",
                   absl::FormatDuration(absl::Trunc(spent, absl::Seconds(1)))));
}

}  // namespace cohort

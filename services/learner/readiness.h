// What the learner checks before it calls itself ready: workers can connect, and what it makes can
// be kept. Workers that are missing are no reason: they would wait for it, and it for them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/clock.h"

namespace cohort {

// The answer of a check that costs something, asked at most once in `every`. Thread-safe.
class CachedCheck {
 public:
  CachedCheck(std::function<absl::Status()> check, absl::Duration every,
              Clock* clock = Clock::Real());
  absl::Status operator()();

 private:
  const std::function<absl::Status()> check_;
  const absl::Duration every_;
  Clock* const clock_;
  absl::Mutex mu_;
  absl::Time checked_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
  absl::Status status_ ABSL_GUARDED_BY(mu_);
};

// A small file can be written to `folder`, and `free_bytes` are left there. The error says what is
// wrong.
absl::Status CanWrite(const std::string& folder, int64_t free_bytes);

}  // namespace cohort

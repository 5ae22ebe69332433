// The last reading of /metrics: a process that ends at once takes what it counted since the last
// one with it.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/clock.h"

namespace cohort {

// Thread-safe.
class ScrapeWatch {
 public:
  static constexpr int kLast = 2;  // one may be lost, or come halfway
  static constexpr absl::Duration kRecent = absl::Minutes(5);

  explicit ScrapeWatch(Clock* clock = Clock::Real()) : clock_(clock) {}

  void Scraped();  // /metrics is being read

  // Waits until it was read kLast times more, `limit` is over, or `stopped`, which is asked several
  // times a second, says true. Not at all where nobody has read it in the last kRecent.
  void WaitForLast(absl::Duration limit, const std::function<bool()>& stopped);

 private:
  Clock* const clock_;
  absl::Mutex mu_;
  int64_t scrapes_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Time last_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
};

}  // namespace cohort

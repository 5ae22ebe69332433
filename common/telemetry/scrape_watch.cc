#include "common/telemetry/scrape_watch.h"

#include <algorithm>

#include "absl/time/clock.h"
#include "common/base/log.h"

namespace cohort {
namespace {

constexpr absl::Duration kLook = absl::Milliseconds(200);

}  // namespace

void ScrapeWatch::Scraped() {
  absl::MutexLock lock(&mu_);
  ++scrapes_;
  last_ = clock_->Now();
}

void ScrapeWatch::WaitForLast(absl::Duration limit, const std::function<bool()>& stopped) {
  const absl::Time deadline = absl::Now() + limit;
  absl::MutexLock lock(&mu_);
  if (clock_->Now() - last_ > kRecent) return;
  COHORT_LOG(INFO) << "/metrics stays until it was read " << kLast << " times more, at most "
                   << absl::FormatDuration(limit);
  const int64_t wanted = scrapes_ + kLast;
  const auto read = [this, wanted]()
                        ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return scrapes_ >= wanted; };
  while (absl::Now() < deadline && !stopped()) {
    const absl::Time look = std::min(deadline, absl::Now() + kLook);
    if (mu_.AwaitWithDeadline(absl::Condition(&read), look)) return;
  }
}

}  // namespace cohort

// Waiting for what workers send: for as long as it keeps coming.
#pragma once

#include <algorithm>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/log.h"
#include "common/dispatch/dispatcher.h"

namespace cohort {

// Calls wait(deadline), which returns a StatusOr, until it gives anything but DeadlineExceeded, or
// that after `patience` without a single delivered group. Says every 30 s what is missing.
template <typename Wait>
auto WaitWhileGroupsArrive(const Dispatcher& dispatcher, absl::Duration patience,
                           const Wait& wait) {
  constexpr absl::Duration kSaySomething = absl::Seconds(30);
  const auto accepted = [&] {
    return dispatcher.Counts().deliveries[static_cast<size_t>(Delivery::kAccepted)];
  };
  uint64_t arrived = accepted();
  absl::Time deadline = absl::Now() + patience;
  while (true) {
    const absl::Time slice = std::min(deadline, absl::Now() + kSaySomething);
    auto result = wait(slice);
    if (!absl::IsDeadlineExceeded(result.status())) return result;
    const uint64_t now = accepted();
    if (now > arrived) {
      arrived = now;
      deadline = absl::Now() + patience;
    } else if (slice == deadline) {
      return result;
    }
    COHORT_LOG(INFO) << "waiting: " << result.status().message();
  }
}

}  // namespace cohort

#include "common/concurrency/watchdog.h"

#include <gtest/gtest.h>

#include "common/base/status_matchers.h"

namespace cohort {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(WatchdogTest, ExpectsNothingBeforeTheBeginningAndAfterTheEnd) {
  FakeClock clock;
  Watchdog watchdog("the loop", &clock);
  clock.Advance(absl::Hours(24));
  EXPECT_THAT(watchdog.Check(), IsOk());
  watchdog.Begin("works", absl::Seconds(1));
  watchdog.End();
  clock.Advance(absl::Hours(24));
  EXPECT_THAT(watchdog.Check(), IsOk());
}

TEST(WatchdogTest, SaysWhatHangsAndForHowLong) {
  FakeClock clock;
  Watchdog watchdog("the loop", &clock);
  watchdog.Begin("decodes", absl::Seconds(60));
  clock.Advance(absl::Seconds(60));
  EXPECT_THAT(watchdog.Check(), IsOk());
  clock.Advance(absl::Milliseconds(1500));
  EXPECT_THAT(watchdog.Check(), StatusIs(absl::StatusCode::kDeadlineExceeded,
                                         AllOf(HasSubstr("the loop hangs: decodes"),
                                               HasSubstr("at most 1m"), HasSubstr("found 1m1s"))));
  watchdog.Begin("waits for work", absl::Seconds(60));
  EXPECT_THAT(watchdog.Check(), IsOk());
}

}  // namespace
}  // namespace cohort

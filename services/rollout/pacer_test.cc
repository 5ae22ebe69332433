#include "services/rollout/pacer.h"

#include <gtest/gtest.h>

namespace cohort {
namespace {

TEST(PacerTest, WithoutARateNothingWaits) {
  FakeClock clock;
  Pacer pacer(0, &clock);
  pacer.Count(1'000'000);
  EXPECT_EQ(pacer.Wait(), absl::ZeroDuration());
}

TEST(PacerTest, StepsFollowAtTheRateHoweverManyRowsTheyHave) {
  FakeClock clock;
  Pacer pacer(100, &clock);
  const absl::Time start = clock.Now();
  for (const int64_t rows : {10, 1, 64, 25}) {
    clock.Advance(absl::Milliseconds(1));  // the step
    pacer.Count(rows);
    clock.Advance(pacer.Wait());
  }
  EXPECT_EQ(clock.Now() - start, absl::Seconds(1));
}

TEST(PacerTest, AWaitThatEndsLateIsMadeUpFor) {
  FakeClock clock;
  Pacer pacer(10, &clock);
  const absl::Time start = clock.Now();
  for (int step = 0; step < 10; ++step) {
    pacer.Count(10);
    clock.Advance(pacer.Wait());
    if (pacer.Wait() == absl::ZeroDuration()) clock.Advance(absl::Milliseconds(30));
  }
  EXPECT_LE(clock.Now() - start, absl::Milliseconds(10'100));
}

TEST(PacerTest, TimeWithoutWorkIsNotMadeUpFor) {
  FakeClock clock;
  Pacer pacer(10, &clock);
  pacer.Count(5);
  clock.Advance(absl::Milliseconds(1400));
  pacer.Idle();
  pacer.Count(5);
  EXPECT_EQ(pacer.Wait(), absl::Milliseconds(500));
}

TEST(PacerTest, AnIdleHourIsNotSavedUp) {
  FakeClock clock;
  Pacer pacer(10, &clock);
  clock.Advance(absl::Hours(1));
  pacer.Count(100);
  EXPECT_GE(pacer.Wait(), absl::Seconds(9));
}

}  // namespace
}  // namespace cohort

#include "common/base/process.h"

#include <csignal>

#include "common/base/status_matchers.h"

namespace cohort {
namespace {

using std::chrono::milliseconds;

TEST(StopCounter, CountsWhatComesWithinASecondOnce) {
  StopCounter counter;
  const StopCounter::Clock::time_point start{};
  EXPECT_TRUE(counter.Counts(start));
  EXPECT_FALSE(counter.Counts(start));
  EXPECT_FALSE(counter.Counts(start + milliseconds(999)));
  EXPECT_TRUE(counter.Counts(start + milliseconds(1001))) << "the second one";
  EXPECT_FALSE(counter.Counts(start + milliseconds(1500)));
}

TEST(StopSignals, HangingUpCountsUnlessItWasIgnored) {
  sigset_t set;
  sigemptyset(&set);
  AddStopSignals(&set);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) EXPECT_EQ(sigismember(&set, number), 1);
  EXPECT_EQ(sigismember(&set, SIGQUIT), 0);

  const auto before = std::signal(SIGHUP, SIG_IGN);
  sigemptyset(&set);
  AddStopSignals(&set);
  EXPECT_EQ(sigismember(&set, SIGHUP), 0);
  std::signal(SIGHUP, before);
}

TEST(StopSignal, GivesTheNumberOnceHoweverManySignalsCome) {
  StopSignal stop;
  EXPECT_EQ(stop.Wait(absl::ZeroDuration()), 0);
  raise(SIGTERM);
  EXPECT_EQ(stop.Wait(absl::Seconds(10)), SIGTERM);
  raise(SIGTERM);
  raise(SIGINT);
  EXPECT_EQ(stop.Wait(absl::Milliseconds(10)), 0);
  EXPECT_EQ(stop.Wait(absl::Milliseconds(10)), 0);
}

}  // namespace
}  // namespace cohort

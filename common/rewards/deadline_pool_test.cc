#include "common/rewards/deadline_pool.h"

#include <gtest/gtest.h>

#include "absl/synchronization/notification.h"

namespace cohort {
namespace {

TEST(DeadlinePoolTest, AWaitForAThreadEndsThoughNobodyGivesUpWhatRunsBefore) {
  auto go_on = std::make_shared<absl::Notification>();
  DeadlinePool pool(1);
  pool.Submit([go_on] {
    go_on->WaitForNotification();
    return RewardVerdict{};
  });
  const auto waiting = pool.Submit([] { return RewardVerdict{Outcome::kValue, 1, ""}; });
  EXPECT_FALSE(pool.Wait(waiting, absl::Milliseconds(20)).has_value());
  go_on->Notify();
  const auto next = pool.Submit([] { return RewardVerdict{Outcome::kValue, 2, ""}; });
  const auto verdict = pool.Wait(next, absl::Seconds(60));
  ASSERT_TRUE(verdict.has_value());
  EXPECT_EQ(verdict->value, 2);
}

}  // namespace
}  // namespace cohort

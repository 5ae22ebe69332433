// What becomes of groups that wait for their rewards when the worker ends.
#include "services/rollout/reward_runner.h"

#include <thread>

#include "services/rollout/reward_runner_testing.h"

namespace cohort {
namespace {

TEST_F(RewardRunnerTest, WhatIsQueuedWhenTheTimeIsOverIsHandedBackUnscored) {
  for (int i = 0; i < 3; ++i) COHORT_ASSERT_OK(runner_->Add(Job(), absl::InfiniteFuture()));
  started_.WaitForNotification();
  std::thread stop([&] { runner_->Stop(absl::Now()); });
  while (runner_->Add(Job(), absl::InfiniteFuture()).ok()) {  // until Stop has begun
  }
  go_on_.Notify();
  stop.join();
  EXPECT_EQ(Count(absl::StatusCode::kOk), 1u);
  EXPECT_GE(Count(absl::StatusCode::kCancelled), 2u);
}

TEST_F(RewardRunnerTest, ClosingEndsAWaitForRoom) {
  Fill();
  absl::Status added;
  std::thread adder([&] { added = runner_->Add(Job(), absl::InfiniteFuture()); });
  runner_->Close();
  adder.join();
  EXPECT_THAT(added, StatusIs(absl::StatusCode::kCancelled, testing::_));
}

}  // namespace
}  // namespace cohort

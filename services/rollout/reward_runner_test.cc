// What becomes of groups that wait for their rewards when the worker ends.
#include "services/rollout/reward_runner.h"

#include <thread>

#include "common/telemetry/metrics.h"
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

TEST(RewardMetrics, HaveEveryCauseAsALabel) {
  const std::vector<std::string> reasons = ClosedLabelOf(metric::kRewardUnscorable).values;
  for (const char* cause :
       {cause::kNoGold, cause::kTimeout, cause::kCrash, cause::kNonFinite, cause::kUnknown,
        cause::kSandbox, cause::kUnavailable, cause::kCircuitOpen, cause::kGarbage, cause::kMissing,
        cause::kDeclined}) {
    EXPECT_THAT(reasons, testing::Contains(cause));
  }
  const std::vector<std::string> limits = ClosedLabelOf(metric::kRewardLimits).values;
  for (const char* cause : {cause::kCodeTime, cause::kCodeMemory, cause::kCodeOutput}) {
    EXPECT_THAT(limits, testing::Contains(cause));
  }
}

// A judge that takes its time holds up only its own group.
TEST_F(RewardRunnerTest, SeveralGroupsAreScoredAtTheSameTime) {
  absl::Mutex mu;
  int here = 0;
  int met = 0;
  const auto meet = [&](const absl::Status&, ScoringJob) {
    absl::MutexLock lock(&mu);
    ++here;
    const auto all = [&here] { return here == 3; };
    met += mu.AwaitWithTimeout(absl::Condition(&all), absl::Seconds(60)) ? 1 : 0;
  };
  RewardRunner runner(rewards_.get(), tokenizer_.get(), &metrics_, meet, {.concurrency = 3});
  for (int i = 0; i < 3; ++i) COHORT_ASSERT_OK(runner.Add(Job(), absl::InfiniteFuture()));
  runner.Stop();
  EXPECT_EQ(met, 3) << "each waited for the two others";
  EXPECT_THAT(metrics_.Text(), testing::HasSubstr("cohort_reward_wait_seconds_count 3"));
}

}  // namespace
}  // namespace cohort

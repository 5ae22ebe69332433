// A scoring thread that tests can hold up.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/text/tiny_tokenizer.h"
#include "common/text/tokenizer.h"
#include "services/rollout/reward_runner.h"

namespace cohort {

// Scores nothing until it is released.
class RewardRunnerTest : public testing::Test {
 protected:
  static constexpr int kQueue = 64;  // of the runner

  RewardRunnerTest() {
    auto rewards = GroupScorer::Create({{{"random", 1, {}}, std::nullopt}}, {});
    EXPECT_THAT(rewards, IsOk());
    rewards_ = *std::move(rewards);
    EXPECT_THAT(WriteTinyTokenizer(folder_.path()), IsOk());
    auto tokenizer = Tokenizer::Load(folder_.path());
    EXPECT_THAT(tokenizer, IsOk());
    tokenizer_ = *std::move(tokenizer);
    runner_ = std::make_unique<RewardRunner>(rewards_.get(), tokenizer_.get(), &metrics_,
                                             [this](const absl::Status& status, ScoringJob) {
                                               if (!started_.HasBeenNotified()) started_.Notify();
                                               go_on_.WaitForNotification();
                                               absl::MutexLock lock(&mu_);
                                               results_.push_back(status);
                                             });
  }
  ~RewardRunnerTest() override {
    if (!go_on_.HasBeenNotified()) go_on_.Notify();
  }
  // One is in the callback, the queue is full.
  void Fill() {
    for (int i = 0; i <= kQueue; ++i) {
      COHORT_ASSERT_OK(runner_->Add(Job(), absl::Now() + absl::Seconds(60)));
      if (i == 0) started_.WaitForNotification();
    }
  }
  static ScoringJob Job() {
    ScoringJob job;
    job.lease.columns_json = "{}";
    return job;
  }
  size_t Count(absl::StatusCode code) {
    absl::MutexLock lock(&mu_);
    return static_cast<size_t>(
        std::count_if(results_.begin(), results_.end(),
                      [code](const absl::Status& status) { return status.code() == code; }));
  }

  TemporaryFolder folder_;
  MetricRegistry metrics_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<GroupScorer> rewards_;
  absl::Notification started_, go_on_;
  absl::Mutex mu_;
  std::vector<absl::Status> results_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<RewardRunner> runner_;
};

}  // namespace cohort

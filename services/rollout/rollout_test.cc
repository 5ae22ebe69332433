// The worker's generation loop: what becomes of its leases when it ends, and when their weights do
// not come.
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/generate/test_models.h"
#include "services/rollout/generation_loop.h"
#include "services/rollout/reward_runner_testing.h"

namespace cohort {
namespace {

using testing::HasSubstr;

// The loop over a tiny model; its weights never come.
class GenerationLoopTest : public RewardRunnerTest {
 protected:
  void Start(absl::Duration weights_limit) {
    EngineOptions engine_options;
    engine_options.stop_tokens = std::vector<int32_t>();
    auto engine = GroupGenerator::Create(model_.get(), engine_options);
    ASSERT_THAT(engine, IsOk());
    engine_ = *std::move(engine);
    weights_ = std::make_unique<WeightFollower>(
        WeightFollower::Options{.learner = "127.0.0.1:1", .worker_id = "w"},
        std::vector<PublishedTensor>{});
    GenerationLoop::Options options;
    options.weights_limit = weights_limit;
    options.fail_lease = [this](GroupId, v1::LeaseFailed::Reason reason, const std::string&) {
      absl::MutexLock lock(&mu_);
      failed_.push_back(reason);
    };
    loop_ = std::make_unique<GenerationLoop>(options, engine_.get(), weights_.get(), runner_.get(),
                                             &metrics_);
    loop_->Start();
  }
  static LeaseTerms Lease(GroupId group, int64_t floor) {
    LeaseTerms lease;
    lease.group_id = group;
    lease.prompt = {1, 2, 3};
    lease.plans.resize(1);
    lease.plans[0].max_new_tokens = 1;
    lease.version_floor = floor;
    lease.columns_json = "{}";
    return lease;
  }

  std::unique_ptr<CausalLm> model_ = TinyModel();
  std::unique_ptr<GroupGenerator> engine_;
  std::unique_ptr<WeightFollower> weights_;
  std::vector<v1::LeaseFailed::Reason> failed_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<GenerationLoop> loop_;
};

TEST_F(GenerationLoopTest, ADrainDoesNotWaitForRewardsBeyondItsLimit) {
  Start(absl::InfiniteDuration());
  Fill();
  loop_->AddLease(Lease(7, -1));
  loop_->Drain(absl::Milliseconds(300));  // ends although nothing is ever scored
  absl::MutexLock lock(&mu_);
  EXPECT_EQ(failed_, std::vector<v1::LeaseFailed::Reason>{v1::LeaseFailed::DRAINING});
}

TEST_F(GenerationLoopTest, ALeaseThatIsNotStartedInTimeIsGivenBack) {
  Start(absl::InfiniteDuration());
  LeaseTerms lease = Lease(7, /*floor=*/5);
  lease.deadline = absl::Milliseconds(20);
  loop_->AddLease(lease);
  absl::MutexLock lock(&mu_);
  const auto given_back = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return !failed_.empty(); };
  ASSERT_TRUE(mu_.AwaitWithTimeout(absl::Condition(&given_back), absl::Seconds(60)));
  EXPECT_EQ(failed_[0], v1::LeaseFailed::DRAINING);
}

TEST_F(GenerationLoopTest, WeightsThatDoNotComeEndTheWorkerWithTheirVersion) {
  Start(absl::Milliseconds(50));
  loop_->AddLease(Lease(7, 5));
  const absl::Time deadline = absl::Now() + absl::Seconds(60);
  while (loop_->status().ok() && absl::Now() < deadline) loop_->Wake();
  EXPECT_THAT(loop_->status(), StatusIs(absl::StatusCode::kDeadlineExceeded,
                                        HasSubstr("no weights of version 5 or newer from learner "
                                                  "at 127.0.0.1:1")));
}

}  // namespace
}  // namespace cohort

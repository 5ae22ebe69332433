// A step is in the group log before anybody hears of the weights that it made.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cohort/v1/weights.pb.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/base/status_matchers.h"
#include "common/train/train_testing.h"
#include "services/learner/serving.h"
#include "tests/contract/peers.h"

namespace cohort {
namespace {

using testing::HasSubstr;
using Follower = RawEnd<v1::WeightRequest, v1::WeightReply>;

// Looks around when a step is appended.
class WatchingLog final : public GroupLog {
 public:
  absl::Status Append(const Group& group) override { return memory_.Append(group); }
  bool Contains(GroupId id) const override { return memory_.Contains(id); }
  absl::Status AppendStep(const StepRecord& record) override {
    if (on_step) COHORT_RETURN_IF_ERROR(on_step(record));
    return memory_.AppendStep(record);
  }
  std::optional<StepRecord> newest_step() const { return memory_.newest_step(); }

  std::function<absl::Status(const StepRecord&)> on_step;

 private:
  MemoryGroupLog memory_;
};

class PublicationTest : public testing::Test {
 protected:
  void SetUp() override {
    auto config = ParseConfig(
        "model: {path: m}\ndata: {task: addition-1}\nlog: {tensorboard: false}\n", "test");
    COHORT_ASSERT_OK(config);
    ResolveConfig("test", &*config);
    parts_.config = *config;
    parts_.out = folder_.path();
    parts_.model = TinyTrainModel(at::kFloat);
    args_.listen = args_.http_listen = "127.0.0.1:0";
    COHORT_ASSERT_OK_AND_ASSIGN(reporter_,
                                RunReporter::Open(parts_.config, parts_.out, nullptr, -1));
    serving_ =
        std::make_unique<LearnerServing>(args_, &parts_, nullptr, reporter_.get(), &timer_, &log_);
    COHORT_ASSERT_OK(serving_->Publish(0));
    COHORT_ASSERT_OK(serving_->Start());
    COHORT_ASSERT_OK_AND_ASSIGN(std::string address, ReadFile(folder_.path() + "/address"));
    address.pop_back();
    client_ = std::make_unique<RawClient<v1::WeightRequest, v1::WeightReply>>(
        address, "/cohort.v1.Weights/Follow");
  }
  void TearDown() override { client_.reset(); }

  std::shared_ptr<Follower> Follow() {
    auto follower = client_->Open();
    v1::WeightRequest request;
    request.mutable_follow()->set_protocol_version(1);
    request.mutable_follow()->set_worker_id("w-1");
    request.mutable_follow()->set_held_version(-1);
    follower->Send(request);
    return follower;
  }
  static v1::WeightReply Reply(Follower& follower) {
    return follower.Next([](const auto&) { return true; }).value_or(v1::WeightReply());
  }
  // What a follower that asks for the first version's manifest hears first: announcements overtake
  // manifests.
  static v1::WeightReply FirstReply(Follower& follower) {
    v1::WeightRequest request;
    request.mutable_manifest()->set_version(0);
    follower.Send(request);
    return Reply(follower);
  }
  void ChangeWeights() {
    const c10::NoGradGuard no_grad;
    parts_.model->StorageParameters()[0].tensor.detach().add_(1);
  }
  static StepRecord Record(int64_t step) {
    StepRecord record;
    record.step = step;
    record.groups = {7};
    return record;
  }

  TemporaryFolder folder_;
  LearnerArgs args_;
  LearnerParts parts_;
  PhaseTimer timer_{"other"};
  WatchingLog log_;
  std::unique_ptr<RunReporter> reporter_;
  std::unique_ptr<LearnerServing> serving_;
  std::unique_ptr<RawClient<v1::WeightRequest, v1::WeightReply>> client_;
};

TEST_F(PublicationTest, AStepIsInTheLogWithItsHashBeforeAnyWorkerHearsOfItsWeights) {
  const auto early = Follow();
  ASSERT_EQ(Reply(*early).announcement().version(), 0);
  const std::string before = serving_->weights_hash();
  std::shared_ptr<Follower> late;
  std::string recorded;
  log_.on_step = [&](const StepRecord& record) {
    recorded = record.weights_hash;
    late = Follow();
    for (const auto& follower : {early, late}) {
      EXPECT_EQ(FirstReply(*follower).manifest().weights_hash(), before);
    }
    return absl::OkStatus();
  };
  ChangeWeights();
  COHORT_ASSERT_OK(serving_->PublishStep(Record(1)));
  ASSERT_TRUE(log_.newest_step().has_value());
  EXPECT_EQ(log_.newest_step()->step, 1);
  EXPECT_NE(recorded, before);
  for (const auto& follower : {early, late}) {
    const v1::Announcement announcement = Reply(*follower).announcement();
    EXPECT_EQ(announcement.version(), 1);
    EXPECT_EQ(announcement.weights_hash(), recorded);
  }
}

TEST_F(PublicationTest, AStepThatCannotBeLoggedIsNotPublished) {
  log_.on_step = [](const StepRecord&) { return absl::DataLossError("no space left"); };
  ChangeWeights();
  EXPECT_THAT(
      serving_->PublishStep(Record(1)),
      StatusIs(absl::StatusCode::kDataLoss,
               testing::AllOf(HasSubstr("step 1 is not published"), HasSubstr("no space left"))));
  const auto follower = Follow();
  EXPECT_TRUE(FirstReply(*follower).has_manifest()) << "nothing is announced";
}

}  // namespace
}  // namespace cohort

// Both sides of weights.proto: every message, each codec, each error, and damaged bytes.
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "cohort/v1/weights.grpc.pb.h"
#include "common/base/hash.h"
#include "common/base/rng.h"
#include "services/learner/weight_service.h"
#include "services/rollout/weight_follower.h"
#include "tests/contract/peers.h"

namespace cohort {
namespace {

using testing::HasSubstr;
using Follower = RawEnd<v1::WeightRequest, v1::WeightReply>;
using Learner = RawEnd<v1::WeightReply, v1::WeightRequest>;

constexpr int64_t kBlock = 4096;

std::vector<PublishedTensor> Model(uint64_t seed) {
  std::vector<PublishedTensor> tensors;
  CounterRng rng(seed);
  for (const char* name : {"a.weight", "b.weight", "c.weight"}) {
    tensors.push_back({name, at::zeros({64, 96}, at::TensorOptions().dtype(at::kBFloat16))});
    auto* bytes = static_cast<unsigned char*>(tensors.back().tensor.data_ptr());
    for (size_t i = 0; seed != 0 && i < tensors.back().tensor.nbytes(); ++i) {
      bytes[i] = static_cast<unsigned char>(rng.Below(256));
    }
  }
  return tensors;
}

void Nudge(std::vector<PublishedTensor>& tensors, uint64_t seed) {
  CounterRng rng(seed);
  for (int i = 0; i < 10; ++i) {
    auto* bytes = static_cast<unsigned char*>(tensors[0].tensor.data_ptr());
    bytes[rng.Below(tensors[0].tensor.nbytes())] ^= 3;
  }
}

std::string BytesOf(const std::vector<PublishedTensor>& tensors) {
  std::string bytes;
  for (const PublishedTensor& entry : tensors) {
    bytes.append(static_cast<const char*>(entry.tensor.data_ptr()), entry.tensor.nbytes());
  }
  return bytes;
}

// Compared instead of the bytes, which nobody wants to read.
std::string HashOf(const std::vector<PublishedTensor>& tensors) {
  return Sha256Hex(BytesOf(tensors));
}

// ---- the learner's side ----

class WeightServiceTest : public testing::Test {
 protected:
  void SetUp() override {
    COHORT_ASSERT_OK(store_.Publish(0, model_));
    COHORT_ASSERT_OK_AND_ASSIGN(host_, ServerHost::Start({.services = {service_.grpc_service()}}));
    client_ = std::make_unique<RawClient<v1::WeightRequest, v1::WeightReply>>(
        host_->address(), "/cohort.v1.Weights/Follow");
  }
  void TearDown() override {
    client_.reset();
    service_.Shutdown();
    if (host_ != nullptr) host_->Shutdown(absl::Seconds(1));
  }
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
    const auto reply = follower.Next([](const auto&) { return true; });
    EXPECT_TRUE(reply.has_value());
    return reply.value_or(v1::WeightReply());
  }
  static void AskBlock(Follower& follower, int64_t version, uint32_t block, int64_t base) {
    v1::WeightRequest request;
    request.mutable_block()->set_version(version);
    request.mutable_block()->set_block(block);
    request.mutable_block()->set_base_version(base);
    follower.Send(request);
  }

  std::vector<PublishedTensor> model_ = Model(1);
  WeightStore store_{{.block_bytes = kBlock, .keep_versions = 2}};
  WeightService service_{{}, &store_};
  std::unique_ptr<ServerHost> host_;
  std::unique_ptr<RawClient<v1::WeightRequest, v1::WeightReply>> client_;
};

TEST_F(WeightServiceTest, AnnouncesOnFollowAndOnEveryVersion) {
  auto follower = Follow();
  EXPECT_EQ(Reply(*follower).announcement().version(), 0);
  Nudge(model_, 1);
  COHORT_ASSERT_OK(store_.Publish(1, model_));
  service_.Notify();
  service_.Notify();  // says nothing new
  const v1::Announcement announcement = Reply(*follower).announcement();
  EXPECT_EQ(announcement.version(), 1);
  EXPECT_EQ(announcement.weights_hash(), store_.weights_hash(1));
  ASSERT_EQ(announcement.delta_bases_size(), 1);
  EXPECT_EQ(announcement.delta_bases(0), 0);
  EXPECT_EQ(service_.counters().announcements, 2u);
}

TEST_F(WeightServiceTest, AVersionThatIsHeldIsSaidToNobodyUntilItIsReleased) {
  auto early = Follow();
  EXPECT_EQ(Reply(*early).announcement().version(), 0);
  service_.Hold();
  Nudge(model_, 1);
  COHORT_ASSERT_OK(store_.Publish(1, model_));
  auto late = Follow();
  v1::WeightRequest request;
  request.mutable_manifest()->set_version(0);
  for (Follower* follower : {early.get(), late.get()}) {
    follower->Send(request);
    // Announcements overtake manifests: none was sent.
    EXPECT_EQ(Reply(*follower).manifest().version(), 0);
  }
  EXPECT_EQ(service_.counters().announcements, 1u);
  service_.Notify();
  EXPECT_EQ(Reply(*early).announcement().version(), 1);
  EXPECT_EQ(Reply(*late).announcement().version(), 1);
}

TEST_F(WeightServiceTest, ServesManifestAndBlocksInEveryCodec) {
  Nudge(model_, 1);
  COHORT_ASSERT_OK(store_.Publish(1, model_));
  auto follower = Follow();
  (void)Reply(*follower);
  v1::WeightRequest request;
  request.mutable_manifest()->set_version(1);
  follower->Send(request);
  const v1::Manifest manifest = Reply(*follower).manifest();
  EXPECT_EQ(manifest.version(), 1);
  EXPECT_EQ(manifest.tensors_size(), 3);
  EXPECT_EQ(manifest.tensors(0).name(), "a.weight");
  EXPECT_EQ(manifest.tensors(0).dtype(), "BF16");
  ASSERT_EQ(manifest.blocks_size(), 9);

  AskBlock(*follower, 1, 0, -1);
  v1::Block block = Reply(*follower).block();
  EXPECT_EQ(block.codec(), v1::CODEC_RAW);
  EXPECT_EQ(block.payload(), BytesOf(model_).substr(0, kBlock));
  AskBlock(*follower, 1, 0, 0);
  block = Reply(*follower).block();
  EXPECT_EQ(block.codec(), v1::CODEC_XOR_ZSTD);
  EXPECT_EQ(block.base_version(), 0);
  AskBlock(*follower, 1, 8, 0);
  block = Reply(*follower).block();
  EXPECT_EQ(block.codec(), v1::CODEC_UNCHANGED);
  EXPECT_EQ(block.payload(), "");
  EXPECT_EQ(service_.counters().blocks_sent, 3u);
}

TEST_F(WeightServiceTest, SaysWhatIsGoneAndWhatIsNoBlock) {
  for (int64_t version = 1; version <= 3; ++version) {
    Nudge(model_, static_cast<uint64_t>(version));
    COHORT_ASSERT_OK(store_.Publish(version, model_));
  }
  auto follower = Follow();
  (void)Reply(*follower);
  AskBlock(*follower, 0, 0, -1);
  v1::WeightError error = Reply(*follower).error();
  EXPECT_EQ(error.reason(), v1::WeightError::VERSION_GONE);
  EXPECT_EQ(error.newest_version(), 3);
  AskBlock(*follower, 3, 1000, -1);
  error = Reply(*follower).error();
  EXPECT_EQ(error.reason(), v1::WeightError::BAD_REQUEST);
  EXPECT_THAT(error.detail(), HasSubstr("1000"));
  AskBlock(*follower, 3, 0, -1);
  EXPECT_TRUE(Reply(*follower).has_block()) << "the stream must survive a bad request";
}

TEST_F(WeightServiceTest, KeepsWhatAWorkerApplied) {
  auto follower = Follow();
  (void)Reply(*follower);
  v1::WeightRequest request;
  request.mutable_applied()->set_version(0);
  request.mutable_applied()->set_transfer_seconds(0.5);
  request.mutable_applied()->set_apply_seconds(0.25);
  request.mutable_applied()->set_bytes(1234);
  follower->Send(request);
  request.mutable_manifest()->set_version(0);
  follower->Send(request);
  ASSERT_TRUE(Reply(*follower).has_manifest());  // so what came before it was read, too
  ASSERT_EQ(service_.Followers().size(), 1u);
  const FollowerStatus status = service_.Followers()[0];
  EXPECT_EQ(status.worker_id, "w-1");
  EXPECT_EQ(status.transfer_seconds, 0.5);
  EXPECT_EQ(status.apply_seconds, 0.25);
  EXPECT_EQ(status.bytes, 1234u);
}

TEST_F(WeightServiceTest, EndsAStreamThatIsNoProtocol) {
  const auto ended = [this](const std::function<void(Follower&)>& play) {
    auto follower = client_->Open();
    play(*follower);
    const auto reply = follower->Next([](const auto& r) { return r.has_error(); });
    EXPECT_TRUE(reply.has_value() && reply->error().reason() == v1::WeightError::BAD_REQUEST);
    EXPECT_THAT(follower->WaitClosed(), StatusIs(absl::StatusCode::kInvalidArgument, testing::_));
  };
  ended([](Follower& f) { f.SendBytes("\xff\xff"); });
  ended([](Follower& f) { AskBlock(f, 0, 0, -1); });
  ended([](Follower& f) {
    v1::WeightRequest request;
    request.mutable_follow()->set_protocol_version(9);
    f.Send(request);
  });
}

TEST_F(WeightServiceTest, ShutdownIsSaid) {
  auto follower = Follow();
  (void)Reply(*follower);
  service_.Shutdown();
  EXPECT_EQ(Reply(*follower).error().reason(), v1::WeightError::SHUTTING_DOWN);
  EXPECT_THAT(follower->WaitClosed(), StatusIs(absl::StatusCode::kUnavailable, testing::_));
}

// ---- both real sides ----

class FollowTest : public WeightServiceTest {
 protected:
  std::unique_ptr<WeightFollower> Start(const std::vector<PublishedTensor>& live) {
    auto follower = std::make_unique<WeightFollower>(
        WeightFollower::Options{.learner = host_->address(), .worker_id = "w-1"}, live);
    follower->Start();
    return follower;
  }
  static void Take(WeightFollower& follower, int64_t version) {
    COHORT_ASSERT_OK(follower.WaitReady(version, TestDeadline()));
    COHORT_ASSERT_OK_AND_ASSIGN(const auto applied, follower.ApplyIfReady());
    ASSERT_TRUE(applied.has_value());
    EXPECT_EQ(*applied, version);
  }
};

TEST_F(FollowTest, TheSameModelFolderNeedsNoBlocksForTheFirstVersion) {
  auto live = Model(1);
  auto follower = Start(live);
  Take(*follower, 0);
  EXPECT_EQ(follower->bytes_received(), 0u);
  EXPECT_EQ(follower->held_hash(), store_.weights_hash(0));
  EXPECT_EQ(*follower->ApplyIfReady(), std::nullopt);
}

TEST_F(FollowTest, FollowsVersionAfterVersionByDeltas) {
  auto live = Model(0);
  auto follower = Start(live);
  Take(*follower, 0);
  EXPECT_EQ(HashOf(live), HashOf(model_));
  const uint64_t whole = follower->bytes_received();
  for (int64_t version = 1; version <= 5; ++version) {
    Nudge(model_, static_cast<uint64_t>(version));
    COHORT_ASSERT_OK(store_.Publish(version, model_));
    service_.Notify();
    Take(*follower, version);
    EXPECT_EQ(HashOf(live), HashOf(model_));
  }
  EXPECT_LT(follower->bytes_received() - whole, whole / 4);
}

TEST_F(FollowTest, ALateWorkerTakesTheNewestVersionOnly) {
  auto live = Model(0);
  auto follower = Start(live);
  COHORT_ASSERT_OK(follower->WaitReady(0, TestDeadline()));
  for (int64_t version = 1; version <= 4; ++version) {
    Nudge(model_, static_cast<uint64_t>(version));
    COHORT_ASSERT_OK(store_.Publish(version, model_));
    service_.Notify();
  }
  // It hears of all of them while the first one is not applied yet.
  const absl::Time deadline = TestDeadline();
  while (follower->announced_version() < 4 && absl::Now() < deadline) {
    std::this_thread::yield();
  }
  Take(*follower, 0);  // what was ready; its generation went on meanwhile
  Take(*follower, 4);
  EXPECT_EQ(HashOf(live), HashOf(model_));
}

TEST_F(FollowTest, ALearnerThatComesBackIsFollowedAgain) {
  auto live = Model(1);
  auto follower = Start(live);
  Take(*follower, 0);
  const std::string address = host_->address();
  TearDown();
  host_.reset();
  WeightService second({}, &store_);
  Nudge(model_, 7);
  COHORT_ASSERT_OK(store_.Publish(1, model_));
  COHORT_ASSERT_OK_AND_ASSIGN(
      auto host, ServerHost::Start({.listen = address, .services = {second.grpc_service()}}));
  Take(*follower, 1);
  EXPECT_EQ(HashOf(live), HashOf(model_));
  follower.reset();
  second.Shutdown();
}

TEST_F(FollowTest, AnotherModelEndsFollowingWithTheDifference) {
  std::vector<PublishedTensor> other = Model(0);
  other[1].tensor = at::zeros({64, 97}, at::TensorOptions().dtype(at::kBFloat16));
  auto follower = Start(other);
  EXPECT_THAT(follower->WaitReady(0, TestDeadline()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       testing::AllOf(HasSubstr("b.weight BF16 [64, 97]"),
                                      HasSubstr("b.weight BF16 [64, 96]"))));
}

TEST(FollowerWithoutLearnerTest, GivesUpAfterItsLimit) {
  WeightFollower follower(
      {.learner = "127.0.0.1:1", .worker_id = "w-1", .connect_limit = absl::Milliseconds(50)},
      Model(1));
  follower.Start();
  EXPECT_THAT(follower.WaitReady(0, TestDeadline()),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("no learner at")));
}

// ---- the worker's side, against a learner that misbehaves ----

class ScriptedLearner final
    : public v1::Weights::WithRawCallbackMethod_Follow<v1::Weights::Service> {
 public:
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Follow(
      grpc::CallbackServerContext* context) override {
    return ends.Accept(context);
  }
  RawServerEnds<v1::WeightReply, v1::WeightRequest> ends;
};

class FollowerTest : public testing::Test {
 protected:
  void SetUp() override {
    COHORT_ASSERT_OK(store_.Publish(0, Model(1)));
    COHORT_ASSERT_OK_AND_ASSIGN(host_, ServerHost::Start({.services = {&service_}}));
    follower_ = std::make_unique<WeightFollower>(
        WeightFollower::Options{.learner = host_->address(), .worker_id = "w-1"}, live_);
    follower_->Start();
    learner_ = service_.ends.Next();
    ASSERT_NE(learner_, nullptr);
    ASSERT_TRUE(learner_->Next([](const auto& r) { return r.has_follow(); }).has_value());
    Announce(0);
  }
  void TearDown() override {
    follower_.reset();
    host_->Shutdown(absl::ZeroDuration());
  }
  void Announce(int64_t version) {
    v1::WeightReply reply;
    reply.mutable_announcement()->set_version(version);
    learner_->Send(reply);
  }
  v1::WeightRequest Request() {
    return learner_->Next([](const auto&) { return true; }).value_or(v1::WeightRequest());
  }
  void SendManifest() {
    ASSERT_TRUE(Request().has_manifest());
    v1::WeightReply reply;
    *reply.mutable_manifest() = *store_.Manifest(0);
    learner_->Send(reply);
  }
  void SendBlock(uint32_t index, bool damage) {
    const EncodedBlock encoded = *store_.EncodeBlock(0, index, -1);
    v1::WeightReply reply;
    *reply.mutable_block() = encoded.header;
    reply.mutable_block()->set_payload(std::string(encoded.payload.data, encoded.payload.size));
    if (damage) reply.mutable_block()->mutable_payload()->at(0) ^= 1;
    learner_->Send(reply);
  }
  void SendGone(int64_t newest) {
    v1::WeightReply reply;
    reply.mutable_error()->set_reason(v1::WeightError::VERSION_GONE);
    reply.mutable_error()->set_newest_version(newest);
    learner_->Send(reply);
  }

  WeightStore store_{{.block_bytes = kBlock}};
  std::vector<PublishedTensor> live_ = Model(0);
  ScriptedLearner service_;
  std::unique_ptr<ServerHost> host_;
  std::unique_ptr<WeightFollower> follower_;
  std::shared_ptr<Learner> learner_;
};

TEST_F(FollowerTest, KeepsEightRequestsInFlight) {
  SendManifest();
  for (uint32_t i = 0; i < 8; ++i) EXPECT_EQ(Request().block().block(), i);
  SendBlock(0, false);
  EXPECT_EQ(Request().block().block(), 8u);
  for (uint32_t i = 1; i < 9; ++i) SendBlock(i, false);
  COHORT_EXPECT_OK(follower_->WaitReady(0, TestDeadline()));
}

TEST_F(FollowerTest, FetchesADamagedBlockAgain) {
  SendManifest();
  for (uint32_t i = 0; i < 8; ++i) (void)Request();
  SendBlock(0, /*damage=*/true);
  EXPECT_EQ(Request().block().block(), 0u);
  EXPECT_EQ(follower_->ready(), false);
  for (uint32_t i = 1; i < 8; ++i) SendBlock(i, false);
  SendBlock(0, false);
  SendBlock(8, false);
  COHORT_ASSERT_OK(follower_->WaitReady(0, TestDeadline()));
  COHORT_ASSERT_OK(follower_->ApplyIfReady());
  EXPECT_EQ(HashOf(live_), HashOf(Model(1)));
  const auto applied = learner_->Next([](const auto& r) { return r.has_applied(); });
  ASSERT_TRUE(applied.has_value());
  EXPECT_EQ(applied->applied().version(), 0);
  EXPECT_GE(follower_->sync_time(), absl::Seconds(applied->applied().transfer_seconds()));
  EXPECT_EQ(follower_->failures().damaged, 0u) << "the version was applied in the end";
}

TEST_F(FollowerTest, AVersionWhoseConnectionIsLostIsCountedAndFetchedAgain) {
  SendManifest();
  (void)Request();  // the first block: the manifest has been read
  learner_->stream().Cancel(absl::UnavailableError("connection lost"));
  learner_ = service_.ends.Next();
  ASSERT_NE(learner_, nullptr);
  ASSERT_TRUE(learner_->Next([](const auto& r) { return r.has_follow(); }).has_value());
  Announce(0);
  SendManifest();
  EXPECT_EQ(follower_->failures().interrupted, 1u);
}

TEST_F(FollowerTest, WeightsOfALearnerThatWentBackAreNotServed) {
  SendManifest();
  for (uint32_t i = 0; i < 9; ++i) SendBlock(i, false);
  COHORT_ASSERT_OK(follower_->WaitReady(0, TestDeadline()));
  COHORT_ASSERT_OK(follower_->ApplyIfReady());
  EXPECT_EQ(follower_->held_version(), 0);
  Announce(-1);
  learner_->SendBytes("\xff\xff");  // ends following once the announcement was read
  EXPECT_FALSE(follower_->WaitReady(100, TestDeadline()).ok());
  EXPECT_EQ(follower_->held_version(), -1);
}

TEST_F(FollowerTest, GivesUpALearnerThatOnlySendsDamage) {
  SendManifest();
  for (int i = 0; i < 40 && follower_->status().ok(); ++i) SendBlock(0, /*damage=*/true);
  EXPECT_THAT(follower_->WaitReady(0, TestDeadline()),
              StatusIs(absl::StatusCode::kDataLoss, testing::_));
  EXPECT_EQ(follower_->failures().damaged, 1u);
}

TEST_F(FollowerTest, TakesTheNewestVersionWhenItsOwnIsGone) {
  SendManifest();
  for (uint32_t i = 0; i < 8; ++i) (void)Request();
  for (int i = 0; i < 8; ++i) SendGone(/*newest=*/1);  // one answer for every request
  Announce(1);
  const v1::WeightRequest request = Request();
  EXPECT_EQ(request.manifest().version(), 1);
  COHORT_EXPECT_OK(follower_->status());
  EXPECT_EQ(follower_->failures().superseded, 1u) << "one version, whatever was asked of it";
}

TEST_F(FollowerTest, GarbageAndUnaskedWeightsEndFollowing) {
  learner_->SendBytes("\xff\xff");
  EXPECT_THAT(follower_->WaitReady(0, TestDeadline()),
              StatusIs(absl::StatusCode::kInvalidArgument, testing::_));
  EXPECT_EQ(follower_->failures().protocol, 1u);
}

TEST_F(FollowerTest, AManifestOfAnotherModelEndsFollowing) {
  ASSERT_TRUE(Request().has_manifest());
  v1::WeightReply reply;
  *reply.mutable_manifest() = *store_.Manifest(0);
  reply.mutable_manifest()->mutable_blocks(3)->set_offset(7);
  learner_->Send(reply);
  EXPECT_THAT(follower_->WaitReady(0, TestDeadline()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("do not tile")));
  EXPECT_EQ(follower_->failures().refused, 1u);
}

}  // namespace
}  // namespace cohort

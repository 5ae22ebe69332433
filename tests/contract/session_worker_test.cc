// The worker's side of session.proto: every message a learner can send, and what the worker does;
// then both real sides together.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cohort/v1/session.grpc.pb.h"
#include "common/base/hash.h"
#include "common/wire/group_codec.h"
#include "common/wire/test_groups.h"
#include "services/learner/session_service.h"
#include "services/rollout/session_client.h"
#include "tests/contract/contract_groups.h"
#include "tests/contract/peers.h"

namespace cohort {
namespace {

using testing::HasSubstr;
using Learner = RawEnd<v1::LearnerMessage, v1::WorkerMessage>;

// Whatever reaches the worker, in order.
struct Seen {
  absl::Mutex mu;
  std::vector<LeaseTerms> leases ABSL_GUARDED_BY(mu);
  std::vector<GroupId> cancelled ABSL_GUARDED_BY(mu);
  std::vector<v1::Ack> acks ABSL_GUARDED_BY(mu);
  std::vector<std::string> drains ABSL_GUARDED_BY(mu);
  std::vector<v1::Welcome> welcomes ABSL_GUARDED_BY(mu);

  template <typename T>
  bool WaitFor(const std::vector<T> Seen::* list, size_t count) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    absl::MutexLock lock(&mu);
    const auto enough = [&] { return (this->*list).size() >= count; };
    return mu.AwaitWithTimeout(absl::Condition(&enough), kTestLimit);
  }
  SessionClient::Events Events() {
    const auto keep = [this](auto Seen::* list, auto value) ABSL_NO_THREAD_SAFETY_ANALYSIS {
      absl::MutexLock lock(&mu);
      (this->*list).push_back(std::move(value));
    };
    return {.on_welcome = [=](const v1::Welcome& w) { keep(&Seen::welcomes, w); },
            .on_lease = [=](LeaseTerms lease) { keep(&Seen::leases, std::move(lease)); },
            .on_cancel = [=](GroupId id, uint64_t) { keep(&Seen::cancelled, id); },
            .on_drain = [=](absl::Duration, const std::string& why) { keep(&Seen::drains, why); },
            .on_ack = [=](const v1::Ack& ack) { keep(&Seen::acks, ack); },
            .pulse = [] { return WorkerPulse{.held_version = 2, .running_rows = 3}; }};
  }
};

class ScriptedLearner final
    : public v1::Session::WithRawCallbackMethod_Connect<v1::Session::Service> {
 public:
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Connect(
      grpc::CallbackServerContext* context) override {
    return ends.Accept(context);
  }
  RawServerEnds<v1::LearnerMessage, v1::WorkerMessage> ends;
};

SessionClient::Options ClientOptions(const std::string& address) {
  return {.learner = address, .worker_id = "w-1", .semantic = {{"a", "1"}}, .max_rows = 8};
}

class WorkerTest : public testing::Test {
 protected:
  void SetUp() override {
    COHORT_ASSERT_OK_AND_ASSIGN(host_, ServerHost::Start({.services = {&service_}}));
    client_ = std::make_unique<SessionClient>(ClientOptions(host_->address()), seen_.Events());
    client_->Start();
  }
  void TearDown() override {
    client_.reset();
    host_->Shutdown(absl::ZeroDuration());
  }
  // The next connection, with its hello read and a welcome sent.
  std::shared_ptr<Learner> Welcome(uint64_t credit = uint64_t{1} << 20) {
    auto learner = service_.ends.Next();
    EXPECT_TRUE(learner->Next([](const auto& m) { return m.has_hello(); }).has_value());
    v1::LearnerMessage message;
    message.mutable_welcome()->set_protocol_version(1);
    message.mutable_welcome()->set_byte_credit(credit);
    message.mutable_welcome()->set_heartbeat_seconds(0.02);
    learner->Send(message);
    return learner;
  }
  static LeaseTerms Lease(uint64_t ordinal, uint64_t lease_id = 1) {
    const PromptItem item = *TestPrompt(ordinal);
    LeaseTerms terms;
    terms.lease_id = lease_id;
    terms.group_id = MakeGroupId(1, ordinal, Purpose::kTrain);
    terms.ordinal = ordinal;
    terms.prompt = item.prompt_ids;
    terms.plans = item.plans;
    return terms;
  }
  static void SendLease(Learner& learner, const LeaseTerms& terms) {
    v1::LearnerMessage message;
    *message.mutable_lease() = EncodeLease(terms);
    learner.Send(message);
  }
  static void SendAck(Learner& learner, GroupId group, v1::Ack::Outcome outcome) {
    v1::LearnerMessage message;
    message.mutable_ack()->set_group_id(group);
    message.mutable_ack()->set_outcome(outcome);
    learner.Send(message);
  }
  // Reads chunks until a group is whole; gives credit back as it goes.
  static std::string ReceiveGroup(Learner& learner, uint64_t* largest_chunk = nullptr) {
    GroupAssembler assembler;
    while (true) {
      auto message = learner.Next([](const auto& m) { return m.has_group_chunk(); });
      if (!message.has_value()) return "";
      const uint64_t size = message->group_chunk().payload().size();
      if (largest_chunk != nullptr) *largest_chunk = std::max(*largest_chunk, size);
      auto whole = assembler.Add(std::move(*message->mutable_group_chunk()));
      EXPECT_THAT(whole, IsOk());
      v1::LearnerMessage credit;
      credit.mutable_byte_credit()->set_bytes(size);
      learner.Send(credit);
      if (!whole.ok()) return "";
      if (whole->has_value()) return (*whole)->bytes;
    }
  }
  std::shared_ptr<Learner> LeaseAndSend(const LeaseTerms& terms, Group* group) {
    auto learner = Welcome();
    SendLease(*learner, terms);
    EXPECT_TRUE(seen_.WaitFor(&Seen::leases, 1));
    *group = AnswerTo(terms);
    EXPECT_THAT(client_->SendGroup(*group, TestDeadline()), IsOk());
    return learner;
  }

  ScriptedLearner service_;
  std::unique_ptr<ServerHost> host_;
  Seen seen_;
  std::unique_ptr<SessionClient> client_;
};

TEST_F(WorkerTest, SaysHelloWithWhatItIsAndBeatsWhenWelcomed) {
  auto learner = service_.ends.Next();
  const auto hello = learner->Next([](const auto&) { return true; });
  ASSERT_TRUE(hello.has_value() && hello->has_hello());
  EXPECT_EQ(hello->hello().protocol_version(), 1u);
  EXPECT_EQ(hello->hello().worker_id(), "w-1");
  EXPECT_GT(hello->hello().incarnation(), 0u);
  EXPECT_EQ(hello->hello().held_version(), 2);
  EXPECT_EQ(hello->hello().max_rows(), 8u);
  EXPECT_EQ(hello->hello().semantic_hash(), HashOfFields({{"a", "1"}}));
  v1::LearnerMessage message;
  message.mutable_welcome()->set_heartbeat_seconds(0.02);
  message.mutable_welcome()->set_resolved_config("{}");
  learner->Send(message);
  COHORT_ASSERT_OK(client_->WaitWelcomed(TestDeadline()));
  EXPECT_TRUE(client_->connected());
  const auto beat = learner->Next([](const auto& m) { return m.has_heartbeat(); });
  ASSERT_TRUE(beat.has_value());
  EXPECT_EQ(beat->heartbeat().running_rows(), 3u);
}

TEST_F(WorkerTest, ARefusalEndsTheSessionWithItsReason) {
  auto learner = service_.ends.Next();
  v1::LearnerMessage message;
  message.mutable_refusal()->set_reason(v1::Refusal::SEMANTIC_MISMATCH);
  message.mutable_refusal()->set_detail("rollout.temperature: learner has 1, worker has 0.7");
  learner->Send(message);
  const auto refused =
      StatusIs(absl::StatusCode::kFailedPrecondition,
               testing::AllOf(HasSubstr(host_->address()),
                              HasSubstr("rollout.temperature: learner has 1, worker has 0.7")));
  EXPECT_THAT(client_->WaitWelcomed(TestDeadline()), refused);
  EXPECT_THAT(client_->Wait(TestDeadline()), refused);
}

TEST_F(WorkerTest, TriesAgainWhenTheLearnerIsShuttingDown) {
  auto learner = service_.ends.Next();
  v1::LearnerMessage message;
  message.mutable_refusal()->set_reason(v1::Refusal::SHUTTING_DOWN);
  learner->Send(message);
  learner->stream().Finish(absl::UnavailableError("the run is ending"));
  Welcome();
  COHORT_ASSERT_OK(client_->WaitWelcomed(TestDeadline()));
}

TEST_F(WorkerTest, ARunThatIsOverEndsTheSessionInOrder) {
  auto learner = service_.ends.Next();
  v1::LearnerMessage message;
  message.mutable_refusal()->set_reason(v1::Refusal::RUN_OVER);
  learner->Send(message);
  COHORT_EXPECT_OK(client_->Wait(TestDeadline()));
}

TEST_F(WorkerTest, SendsAGroupInChunksAgainstCreditsAndForgetsItWithTheAck) {
  auto learner = Welcome(/*credit=*/100);
  const LeaseTerms terms = Lease(0);
  SendLease(*learner, terms);
  ASSERT_TRUE(seen_.WaitFor(&Seen::leases, 1));
  Group group = AnswerTo(terms, /*tokens=*/1);
  group.rows.resize(1);
  group.source.clear();
  const std::string bytes = EncodeGroup(group);
  ASSERT_LE(bytes.size(), 200u);
  if (bytes.size() > 100) {  // more than the window: given up in one line
    EXPECT_THAT(client_->SendGroup(group, TestDeadline()),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("credit_megabytes")));
    const auto failed = learner->Next([](const auto& m) { return m.has_lease_failed(); });
    ASSERT_TRUE(failed.has_value());
    EXPECT_EQ(failed->lease_failed().reason(), v1::LeaseFailed::INFRA);
    EXPECT_EQ(failed->lease_failed().lease_id(), terms.lease_id);
  }
}

TEST_F(WorkerTest, LargeGroupsWaitForCreditAndArriveWhole) {
  auto learner = Welcome(/*credit=*/60000);
  std::vector<std::string> sent;
  for (uint64_t ordinal = 0; ordinal < 4; ++ordinal) {
    const LeaseTerms terms = Lease(ordinal);
    SendLease(*learner, terms);
    ASSERT_TRUE(seen_.WaitFor(&Seen::leases, ordinal + 1));
    Group group = RandomGroup(ordinal, /*rows=*/4, /*tokens=*/600);
    group.id = terms.group_id;
    sent.push_back(EncodeGroup(group));
    ASSERT_LE(sent.back().size(), 60000u);
    COHORT_ASSERT_OK(client_->SendGroup(group, TestDeadline()));
  }
  uint64_t largest = 0;
  for (uint64_t ordinal = 0; ordinal < 4; ++ordinal) {
    EXPECT_EQ(ReceiveGroup(*learner, &largest), sent[ordinal]);
    SendAck(*learner, Lease(ordinal).group_id, v1::Ack::ACCEPTED);
  }
  EXPECT_LE(largest, 60000u);
  ASSERT_TRUE(seen_.WaitFor(&Seen::acks, 4));
  EXPECT_EQ(client_->unacked_groups(), 0u);
}

TEST_F(WorkerTest, SendsUnackedGroupsAgainAfterAReconnect) {
  Group group;
  auto learner = LeaseAndSend(Lease(0), &group);
  const std::string bytes = ReceiveGroup(*learner);
  EXPECT_EQ(bytes, EncodeGroup(group));
  learner->stream().Cancel(absl::UnavailableError("learner restarts"));
  auto again = Welcome();
  EXPECT_EQ(ReceiveGroup(*again), bytes);
  SendAck(*again, group.id, v1::Ack::DUPLICATE);
  ASSERT_TRUE(seen_.WaitFor(&Seen::acks, 1));
  EXPECT_EQ(client_->unacked_groups(), 0u);
  EXPECT_EQ(client_->reconnects(), 1u);
}

TEST_F(WorkerTest, SendsAGroupOnceMoreWhenItsHashDidNotMatchAndThenGivesUp) {
  Group group;
  auto learner = LeaseAndSend(Lease(0), &group);
  const std::string bytes = ReceiveGroup(*learner);
  SendAck(*learner, group.id, v1::Ack::HASH_MISMATCH);
  EXPECT_EQ(ReceiveGroup(*learner), bytes);
  SendAck(*learner, group.id, v1::Ack::HASH_MISMATCH);
  ASSERT_TRUE(seen_.WaitFor(&Seen::acks, 2));
  EXPECT_EQ(client_->unacked_groups(), 0u);
}

TEST_F(WorkerTest, EveryOtherOutcomeForgetsTheGroup) {
  auto learner = Welcome();
  size_t acks = 0;
  for (auto outcome : {v1::Ack::ACCEPTED, v1::Ack::DUPLICATE, v1::Ack::MALFORMED, v1::Ack::LATE}) {
    const LeaseTerms terms = Lease(acks);
    SendLease(*learner, terms);
    ASSERT_TRUE(seen_.WaitFor(&Seen::leases, acks + 1));
    COHORT_ASSERT_OK(client_->SendGroup(AnswerTo(terms), TestDeadline()));
    SendAck(*learner, terms.group_id, outcome);
    ASSERT_TRUE(seen_.WaitFor(&Seen::acks, ++acks));
    EXPECT_EQ(client_->unacked_groups(), 0u);
  }
}

TEST_F(WorkerTest, ACancelledLeaseIsReportedOnceAndItsGroupIsNotSent) {
  auto learner = Welcome();
  const LeaseTerms terms = Lease(0);
  SendLease(*learner, terms);
  v1::LearnerMessage cancel;
  cancel.mutable_cancel_lease()->set_group_id(terms.group_id);
  learner->Send(cancel);
  learner->Send(cancel);
  SendLease(*learner, Lease(1));
  ASSERT_TRUE(seen_.WaitFor(&Seen::leases, 2));
  {
    absl::MutexLock lock(&seen_.mu);
    EXPECT_EQ(seen_.cancelled, std::vector<GroupId>{terms.group_id});
  }
  COHORT_EXPECT_OK(client_->SendGroup(AnswerTo(terms), TestDeadline()));
  EXPECT_EQ(client_->unacked_groups(), 0u);
}

TEST_F(WorkerTest, ALeaseItAlreadyHasInHandOnlyChangesItsNumber) {
  auto learner = Welcome();
  SendLease(*learner, Lease(0, /*lease_id=*/1));
  SendLease(*learner, Lease(0, /*lease_id=*/9));
  SendLease(*learner, Lease(1, /*lease_id=*/10));
  ASSERT_TRUE(seen_.WaitFor(&Seen::leases, 2));
  COHORT_ASSERT_OK(client_->SendGroup(AnswerTo(Lease(0)), TestDeadline()));
  const auto chunk = learner->Next([](const auto& m) { return m.has_group_chunk(); });
  ASSERT_TRUE(chunk.has_value());
  EXPECT_EQ(chunk->group_chunk().lease_id(), 9u);
}

TEST_F(WorkerTest, ALearnerThatWentBackToACheckpointHasItsOlderFloorTaken) {
  LeaseTerms terms = Lease(0, /*lease_id=*/1);
  terms.version_floor = 50;
  auto learner = Welcome();
  SendLease(*learner, terms);
  ASSERT_TRUE(seen_.WaitFor(&Seen::leases, 1));
  learner->stream().Finish(absl::UnavailableError("the learner is shutting down"));
  learner = Welcome();
  terms.lease_id = 2;
  terms.version_floor = 40;
  SendLease(*learner, terms);
  EXPECT_TRUE(seen_.WaitFor(&Seen::leases, 2)) << "it would wait for version 50";
}

TEST_F(WorkerTest, GivesALeaseBackAndAnswersOneThatMakesNoSense) {
  auto learner = Welcome();
  LeaseTerms empty = Lease(0, /*lease_id=*/4);
  empty.prompt.clear();
  SendLease(*learner, empty);
  auto failed = learner->Next([](const auto& m) { return m.has_lease_failed(); });
  ASSERT_TRUE(failed.has_value());
  EXPECT_EQ(failed->lease_failed().lease_id(), 4u);
  EXPECT_THAT(failed->lease_failed().detail(), HasSubstr("lease.prompt_ids"));

  SendLease(*learner, Lease(1, /*lease_id=*/5));
  ASSERT_TRUE(seen_.WaitFor(&Seen::leases, 1));
  client_->FailLease(Lease(1).group_id, v1::LeaseFailed::DRAINING, "not UTF-8: \xff");
  failed = learner->Next([](const auto& m) { return m.has_lease_failed(); });
  ASSERT_TRUE(failed.has_value());
  EXPECT_EQ(failed->lease_failed().lease_id(), 5u);
  EXPECT_EQ(failed->lease_failed().reason(), v1::LeaseFailed::DRAINING);
}

class FullWorkerTest : public WorkerTest {
 protected:
  // Has sent one group, whose ack is outstanding, and has room for no other.
  void SetUp() override {
    WorkerTest::SetUp();
    service_.ends.Next();  // of a client that is not wanted here
    client_.reset();
    SessionClient::Options options = ClientOptions(host_->address());
    options.max_unacked_bytes = 1;
    client_ = std::make_unique<SessionClient>(options, seen_.Events());
    client_->Start();
    learner_ = Welcome();
    for (uint64_t ordinal : {0, 1}) SendLease(*learner_, Lease(ordinal));
    ASSERT_TRUE(seen_.WaitFor(&Seen::leases, 2));
    COHORT_ASSERT_OK(client_->SendGroup(AnswerTo(Lease(0)), TestDeadline()));
  }
  void ExpectGivenUp(v1::LeaseFailed::Reason reason) {
    const auto failed = learner_->Next([](const auto& m) { return m.has_lease_failed(); });
    ASSERT_TRUE(failed.has_value());
    EXPECT_EQ(failed->lease_failed().group_id(), Lease(1).group_id);
    EXPECT_EQ(failed->lease_failed().reason(), reason);
    SendLease(*learner_, Lease(1, /*lease_id=*/2));
    EXPECT_TRUE(seen_.WaitFor(&Seen::leases, 3)) << "a new lease of the group was swallowed";
  }
  std::shared_ptr<Learner> learner_;
};

TEST_F(FullWorkerTest, AGroupThatIsNotSentInTimeGivesItsLeaseUp) {
  EXPECT_THAT(client_->SendGroup(AnswerTo(Lease(1)), absl::Now()),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("wait for acks")));
  ExpectGivenUp(v1::LeaseFailed::INFRA);
}

TEST_F(FullWorkerTest, AWorkerThatEndsDoesNotWaitForAcks) {
  absl::Status sent;
  std::thread sender(
      [&] { sent = client_->SendGroup(AnswerTo(Lease(1)), absl::Now() + absl::Hours(1)); });
  client_->LimitSends(absl::Now());
  sender.join();
  EXPECT_THAT(sent, StatusIs(absl::StatusCode::kDeadlineExceeded, testing::_));
  ExpectGivenUp(v1::LeaseFailed::DRAINING);
}

TEST_F(WorkerTest, FinishesWithAGoodbyeAfterTheLastAck) {
  Group group;
  auto learner = LeaseAndSend(Lease(0), &group);
  v1::LearnerMessage drain;
  drain.mutable_drain()->set_deadline_seconds(5);
  drain.mutable_drain()->set_reason("training is done");
  learner->Send(drain);
  ASSERT_TRUE(seen_.WaitFor(&Seen::drains, 1));
  absl::Status finished = absl::UnknownError("");
  std::thread finish([&] { finished = client_->Finish("drained", TestDeadline()); });
  EXPECT_FALSE(ReceiveGroup(*learner).empty());
  SendAck(*learner, group.id, v1::Ack::ACCEPTED);
  const auto goodbye = learner->Next([](const auto& m) { return m.has_goodbye(); });
  ASSERT_TRUE(goodbye.has_value());
  EXPECT_EQ(goodbye->goodbye().reason(), "drained");
  learner->stream().Finish(absl::OkStatus());
  finish.join();
  COHORT_EXPECT_OK(finished);
  COHORT_EXPECT_OK(client_->Wait(TestDeadline()));
  EXPECT_THAT(client_->SendGroup(group, TestDeadline()),
              StatusIs(absl::StatusCode::kCancelled, testing::_));
}

TEST_F(WorkerTest, FinishSaysWhenGroupsWereGivenUp) {
  Group group;
  auto learner = LeaseAndSend(Lease(0), &group);
  EXPECT_THAT(client_->Finish("killed", absl::Now()),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("1 groups")));
}

TEST_F(WorkerTest, GarbageFromTheLearnerEndsTheSessionInOneLine) {
  auto learner = Welcome();
  learner->SendBytes("\xff\xff\xff");
  EXPECT_THAT(client_->Wait(TestDeadline()),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("no message")));
}

TEST_F(WorkerTest, StopIsPromptWhateverTheLearnerDoes) {
  auto learner = service_.ends.Next();  // connected, never welcomed
  client_->Stop();
  COHORT_EXPECT_OK(client_->Wait(TestDeadline()));
  EXPECT_THAT(client_->WaitWelcomed(TestDeadline()),
              StatusIs(absl::StatusCode::kCancelled, testing::_));
}

TEST(WorkerWithoutLearnerTest, GivesUpAfterItsLimitAndNamesTheLearner) {
  SessionClient::Options options = ClientOptions("127.0.0.1:1");
  options.connect_limit = absl::Milliseconds(100);
  SessionClient client(options, {});
  client.Start();
  EXPECT_THAT(client.Wait(TestDeadline()), StatusIs(absl::StatusCode::kDeadlineExceeded,
                                                    HasSubstr("no learner at 127.0.0.1:1")));
}

// ---- both real sides ----

TEST(SessionTest, TwoWorkersAnswerEveryPromptOfABatchOnce) {
  MemoryGroupLog log;
  Dispatcher dispatcher({.run_seed = 1, .groups_per_step = 24}, TestPrompt, nullptr, &log,
                        Clock::Real());
  SessionService service({.semantic = {{"a", "1"}}}, &dispatcher);
  COHORT_ASSERT_OK_AND_ASSIGN(auto host, ServerHost::Start({.services = {service.grpc_service()}}));
  std::vector<std::unique_ptr<SessionClient>> clients(2);
  Executor engine("engine", 2);
  for (size_t i = 0; i < clients.size(); ++i) {
    SessionClient::Options options = ClientOptions(host->address());
    options.worker_id = absl::StrCat("w-", i);
    clients[i] = std::make_unique<SessionClient>(
        options, SessionClient::Events{.on_lease = [&engine, &clients, i](LeaseTerms lease) {
          engine.Post([&clients, i, lease] {
            const absl::Status sent = clients[i]->SendGroup(AnswerTo(lease), TestDeadline());
            EXPECT_TRUE(sent.ok() || absl::IsCancelled(sent)) << sent;  // cancelled: at the end
          });
        }});
    clients[i]->Start();
  }
  for (int64_t step = 0; step < 3; ++step) {
    COHORT_ASSERT_OK_AND_ASSIGN(const DispatchBatch batch,
                                dispatcher.TakeBatch(step, TestDeadline()));
    ASSERT_EQ(batch.groups.size(), 24u);
    std::vector<uint64_t> ordinals;
    for (const Group& group : batch.groups) ordinals.push_back(group.ordinal);
    dispatcher.MarkTrained(ordinals);
    dispatcher.SetVersion(step + 1);
  }
  EXPECT_GE(service.counters().groups_received, 72u);
  EXPECT_EQ(dispatcher.Counts().Imbalance(), 0);
  dispatcher.Close();
  for (auto& client : clients) COHORT_EXPECT_OK(client->Finish("test is over", TestDeadline()));
  EXPECT_EQ(service.counters().lost_workers, 0u);
  engine.Stop();
  service.Shutdown();
}

}  // namespace
}  // namespace cohort

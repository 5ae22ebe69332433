// The learner's side of session.proto: every message a worker can send, and what it gets for it.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cohort/v1/session.grpc.pb.h"
#include "common/wire/group_codec.h"
#include "services/learner/session_service.h"
#include "tests/contract/contract_groups.h"
#include "tests/contract/peers.h"

namespace cohort {
namespace {

using testing::HasSubstr;
using Worker = RawEnd<v1::WorkerMessage, v1::LearnerMessage>;

const SemanticMap kSemantic = {{"model.sha256", "aa"}, {"rollout.temperature", "1"}};

class LearnerTest : public testing::Test {
 protected:
  void SetUp() override { Serve({}); }
  void TearDown() override {
    client_.reset();
    if (service_ != nullptr) service_->Shutdown();
    if (host_ != nullptr) host_->Shutdown(absl::Seconds(1));
  }

  void Serve(SessionService::Options options) {
    TearDown();
    options.semantic = kSemantic;
    options.resolved_config = R"({"run": {"steps": 3}})";
    if (options.fill_status == nullptr) {
      options.fill_status = [this](v1::StatusReply* reply) {
        reply->set_step(7);
        for (v1::WorkerStatus& worker : service_->Workers()) *reply->add_workers() = worker;
      };
    }
    dispatcher_ = std::make_unique<Dispatcher>(
        Dispatcher::Options{.run_seed = 1, .groups_per_step = 4, .max_staleness = 0}, TestPrompt,
        nullptr, &log_, Clock::Real());
    service_ = std::make_unique<SessionService>(options, dispatcher_.get());
    service_->SetCurrentVersion(0);
    COHORT_ASSERT_OK_AND_ASSIGN(host_, ServerHost::Start({.services = {service_->grpc_service()}}));
    client_ = std::make_unique<RawClient<v1::WorkerMessage, v1::LearnerMessage>>(
        host_->address(), "/cohort.v1.Session/Connect");
  }

  static v1::WorkerMessage Hello(const std::string& id, uint64_t incarnation = 1,
                                 const std::string& key = "0123456789abcdef") {
    v1::WorkerMessage message;
    v1::Hello* hello = message.mutable_hello();
    hello->set_protocol_version(1);
    hello->set_worker_id(id);
    hello->set_incarnation(incarnation);
    hello->set_instance_key(key);
    hello->set_max_rows(64);
    hello->set_held_version(-1);
    hello->set_host("here");
    hello->set_pid(42);
    for (const auto& [name, value] : kSemantic) {
      auto* field = hello->add_semantic();
      field->set_name(name);
      field->set_value(value);
    }
    return message;
  }
  std::shared_ptr<Worker> Connect(const std::string& id, uint64_t incarnation = 1) {
    auto worker = client_->Open();
    worker->Send(Hello(id, incarnation));
    EXPECT_TRUE(worker->Next([](const auto& m) { return m.has_welcome(); }).has_value());
    return worker;
  }
  static v1::Lease NextLease(Worker& worker) {
    const auto message = worker.Next([](const auto& m) { return m.has_lease(); });
    EXPECT_TRUE(message.has_value()) << "no lease";
    return message.has_value() ? message->lease() : v1::Lease();
  }
  static v1::Ack NextAck(Worker& worker) {
    const auto message = worker.Next([](const auto& m) { return m.has_ack(); });
    EXPECT_TRUE(message.has_value()) << "no ack";
    return message.has_value() ? message->ack() : v1::Ack();
  }
  static v1::Refusal RefusalOf(Worker& worker) {
    const auto message = worker.Next([](const auto& m) { return m.has_refusal(); });
    EXPECT_TRUE(message.has_value()) << "no refusal";
    return message.has_value() ? message->refusal() : v1::Refusal();
  }
  static void SendGroup(Worker& worker, const v1::Lease& lease, const std::string& bytes,
                        size_t max_chunk = 64) {
    for (const v1::WorkerMessage& message : ChunkMessages(lease, bytes, max_chunk)) {
      worker.Send(message);
    }
  }

  MemoryGroupLog log_;
  std::unique_ptr<Dispatcher> dispatcher_;
  std::unique_ptr<SessionService> service_;
  std::unique_ptr<ServerHost> host_;
  std::unique_ptr<RawClient<v1::WorkerMessage, v1::LearnerMessage>> client_;
};

// ---- hello ----

TEST_F(LearnerTest, WelcomesAWorkerWithConfigurationVersionAndCredit) {
  auto worker = client_->Open();
  worker->Send(Hello("w-1"));
  const auto message = worker->Next([](const auto& m) { return m.has_welcome(); });
  ASSERT_TRUE(message.has_value());
  EXPECT_EQ(message->welcome().protocol_version(), 1u);
  EXPECT_EQ(message->welcome().current_version(), 0);
  EXPECT_EQ(message->welcome().byte_credit(), uint64_t{64} << 20);
  EXPECT_EQ(message->welcome().heartbeat_seconds(), 2);
  EXPECT_EQ(message->welcome().resolved_config(), R"({"run": {"steps": 3}})");
}

TEST_F(LearnerTest, RefusesAnotherProtocolVersion) {
  auto worker = client_->Open();
  v1::WorkerMessage hello = Hello("w-1");
  hello.mutable_hello()->set_protocol_version(99);
  worker->Send(hello);
  const v1::Refusal refusal = RefusalOf(*worker);
  EXPECT_EQ(refusal.reason(), v1::Refusal::PROTOCOL_VERSION);
  EXPECT_THAT(refusal.detail(), HasSubstr("99"));
  EXPECT_THAT(worker->WaitClosed(), StatusIs(absl::StatusCode::kFailedPrecondition, testing::_));
}

TEST_F(LearnerTest, RefusesAHelloWhoseFieldsAreNotThoseOfItsHash) {
  auto worker = client_->Open();
  v1::WorkerMessage hello = Hello("w-1");
  hello.mutable_hello()->set_semantic_hash("0123");
  worker->Send(hello);
  EXPECT_THAT(RefusalOf(*worker).detail(), HasSubstr("semantic_hash"));
}

TEST_F(LearnerTest, RefusesAnotherConfigurationAndNamesTheField) {
  auto worker = client_->Open();
  v1::WorkerMessage hello = Hello("w-1");
  hello.mutable_hello()->mutable_semantic(1)->set_value("0.7");
  worker->Send(hello);
  const v1::Refusal refusal = RefusalOf(*worker);
  EXPECT_EQ(refusal.reason(), v1::Refusal::SEMANTIC_MISMATCH);
  ASSERT_EQ(refusal.differences_size(), 1);
  EXPECT_EQ(refusal.differences(0).name(), "rollout.temperature");
  EXPECT_EQ(refusal.differences(0).learner(), "1");
  EXPECT_EQ(refusal.differences(0).worker(), "0.7");
  EXPECT_THAT(refusal.detail(), HasSubstr("rollout.temperature: learner has 1, worker has 0.7"));
  EXPECT_EQ(service_->counters().refusals(), 1u);
  EXPECT_EQ(service_->counters().workers_connected, 0);
}

TEST_F(LearnerTest, ANewerIncarnationReplacesAnOlderOneAndNotTheOtherWayRound) {
  auto old = Connect("w-1", /*incarnation=*/5);
  auto fresh = Connect("w-1", /*incarnation=*/6);
  EXPECT_FALSE(old->WaitClosed().ok());
  auto stale = client_->Open();
  stale->Send(Hello("w-1", /*incarnation=*/5));
  EXPECT_EQ(RefusalOf(*stale).reason(), v1::Refusal::DUPLICATE_WORKER);
  EXPECT_EQ(service_->counters().workers_connected, 1);
}

TEST_F(LearnerTest, AnotherProcessDoesNotTakeAnIdThatIsConnected) {
  auto first = Connect("w-1", /*incarnation=*/5);
  for (const std::string& key : {std::string("fedcba9876543210"), std::string()}) {
    auto stranger = client_->Open();
    stranger->Send(Hello("w-1", ~uint64_t{0}, key));
    EXPECT_EQ(RefusalOf(*stranger).reason(), v1::Refusal::WORKER_ID_IN_USE);
    EXPECT_THAT(stranger->WaitClosed(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("w-1")));
  }
  EXPECT_EQ(service_->counters().workers_connected, 1);
  first->stream().Cancel(absl::CancelledError("gone"));
  const absl::Time deadline = TestDeadline();
  while (service_->counters().workers_connected > 0 && absl::Now() < deadline) {
    absl::SleepFor(absl::Milliseconds(5));
  }
  auto next = client_->Open();
  next->Send(Hello("w-1", 1, "fedcba9876543210"));
  EXPECT_TRUE(next->Next([](const auto& m) { return m.has_welcome(); }).has_value());
}

TEST_F(LearnerTest, RefusesAHelloBeyondItsBoundsAndNamesTheField) {
  const auto detail_of = [this](const std::function<void(v1::Hello*)>& change) {
    auto worker = client_->Open();
    v1::WorkerMessage hello = Hello("w-1");
    change(hello.mutable_hello());
    worker->Send(hello);
    const v1::Refusal refusal = RefusalOf(*worker);
    EXPECT_EQ(refusal.reason(), v1::Refusal::BAD_MESSAGE);
    EXPECT_LT(refusal.detail().size(), 200U);
    return refusal.detail();
  };
  const std::string longer(300, 'x');
  EXPECT_THAT(detail_of([&](v1::Hello* hello) { hello->set_worker_id(longer); }),
              HasSubstr("worker_id: expected at most 128 bytes, found 300"));
  EXPECT_THAT(detail_of([&](v1::Hello* hello) { hello->set_worker_id("w\n2026 I forged] line"); }),
              HasSubstr("worker_id: expected no control characters"));
  EXPECT_THAT(detail_of([&](v1::Hello* hello) { hello->set_host(longer); }), HasSubstr("host: "));
  EXPECT_THAT(detail_of([&](v1::Hello* hello) { hello->set_http_address(longer); }),
              HasSubstr("http_address: "));
  EXPECT_THAT(detail_of([&](v1::Hello* hello) { hello->set_max_rows(4000000000); }),
              HasSubstr("max_rows: expected at most 65536, found 4000000000"));
  EXPECT_THAT(detail_of([&](v1::Hello* hello) {
                for (int i = 0; i < 2000; ++i) hello->add_semantic();
              }),
              HasSubstr("semantic: expected at most 1000 fields"));
}

TEST_F(LearnerTest, UnfinishedGroupsOfAllWorkersTogetherAreBounded) {
  Serve({.max_unfinished_bytes = 1 << 20});
  auto small = Connect("w-1");
  auto large = Connect("w-2");
  const auto send = [](Worker& worker, uint64_t group, size_t bytes) {
    v1::WorkerMessage message;
    message.mutable_group_chunk()->set_group_id(group);
    message.mutable_group_chunk()->set_total(4 << 20);
    message.mutable_group_chunk()->set_payload(std::string(bytes, 'x'));
    worker.Send(message);
  };
  send(*small, 1, 100 << 10);
  send(*large, 2, 600 << 10);
  send(*large, 3, 600 << 10);
  EXPECT_THAT(large->WaitClosed(),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("over all workers")));
  EXPECT_FALSE(small->stream().closed());
}

TEST_F(LearnerTest, TellsAWorkerThatComesAfterTheDrainThatTheRunIsOver) {
  EXPECT_EQ(service_->Drain("done", absl::ZeroDuration()), 0);
  auto worker = client_->Open();
  worker->Send(Hello("w-1"));
  EXPECT_EQ(RefusalOf(*worker).reason(), v1::Refusal::RUN_OVER);
}

TEST_F(LearnerTest, RefusesWhatIsNoProtocol) {
  const auto refused = [this](const std::function<void(Worker&)>& play) {
    auto worker = client_->Open();
    play(*worker);
    const v1::Refusal refusal = RefusalOf(*worker);
    EXPECT_EQ(refusal.reason(), v1::Refusal::BAD_MESSAGE);
    EXPECT_THAT(worker->WaitClosed(), StatusIs(absl::StatusCode::kInvalidArgument, testing::_));
    return refusal.detail();
  };
  EXPECT_THAT(refused([](Worker& w) { w.SendBytes("\xff\xff\xff"); }), HasSubstr("found 3 bytes"));
  EXPECT_THAT(refused([](Worker& w) { w.SendBytes(""); }), HasSubstr("expected a hello first"));
  EXPECT_THAT(refused([](Worker& w) {
                v1::WorkerMessage message;
                message.mutable_heartbeat();
                w.Send(message);
              }),
              HasSubstr("expected a hello first"));
  EXPECT_THAT(refused([](Worker& w) {
                v1::WorkerMessage hello = Hello("w-1");
                hello.mutable_hello()->set_max_rows(0);
                w.Send(hello);
              }),
              HasSubstr("max_rows"));
  EXPECT_THAT(refused([](Worker& w) {
                w.Send(Hello("w-1"));
                w.Send(Hello("w-1"));
              }),
              HasSubstr("second hello"));
}

// ---- leases, groups, acks ----

TEST_F(LearnerTest, LeasesCarryThePromptAndAreAnsweredByAnAccept) {
  auto worker = Connect("w-1");
  const v1::Lease lease = NextLease(*worker);
  COHORT_ASSERT_OK_AND_ASSIGN(const LeaseTerms terms, DecodeLease(lease));
  COHORT_ASSERT_OK_AND_ASSIGN(const PromptItem item, TestPrompt(terms.ordinal));
  EXPECT_EQ(terms.prompt, item.prompt_ids);
  EXPECT_EQ(terms.columns_json, item.columns_json);
  EXPECT_EQ(terms.plans.size(), item.plans.size());
  EXPECT_EQ(terms.group_id, MakeGroupId(1, terms.ordinal, Purpose::kTrain));
  SendGroup(*worker, lease, EncodeGroup(AnswerTo(terms)));
  const v1::Ack ack = NextAck(*worker);
  EXPECT_EQ(ack.outcome(), v1::Ack::ACCEPTED);
  EXPECT_EQ(ack.group_id(), lease.group_id());
  EXPECT_EQ(ack.lease_id(), lease.lease_id());
  EXPECT_EQ(dispatcher_->Counts().buffered, 1u);
}

TEST_F(LearnerTest, GivesCreditBackForWhatItTook) {
  auto worker = Connect("w-1");
  const v1::Lease lease = NextLease(*worker);
  const std::string bytes = EncodeGroup(AnswerTo(*DecodeLease(lease)));
  SendGroup(*worker, lease, bytes);
  uint64_t returned = 0;
  while (returned < bytes.size()) {
    const auto credit = worker->Next([](const auto& m) { return m.has_byte_credit(); });
    ASSERT_TRUE(credit.has_value());
    returned += credit->byte_credit().bytes();
  }
  EXPECT_EQ(returned, bytes.size());
}

TEST_F(LearnerTest, ASecondCopyIsADuplicateAndAnUnknownGroupIsLate) {
  auto worker = Connect("w-1");
  const v1::Lease lease = NextLease(*worker);
  const std::string bytes = EncodeGroup(AnswerTo(*DecodeLease(lease)));
  SendGroup(*worker, lease, bytes);
  EXPECT_EQ(NextAck(*worker).outcome(), v1::Ack::ACCEPTED);
  SendGroup(*worker, lease, bytes);
  EXPECT_EQ(NextAck(*worker).outcome(), v1::Ack::DUPLICATE);
  LeaseTerms unknown = *DecodeLease(lease);
  unknown.group_id = 12345;
  SendGroup(*worker, EncodeLease(unknown), EncodeGroup(AnswerTo(unknown)));
  EXPECT_EQ(NextAck(*worker).outcome(), v1::Ack::LATE);
}

TEST_F(LearnerTest, MalformedGroupsAreSaidToBeAndTheirLeaseIsIssuedAgain) {
  auto worker = Connect("w-1");
  const v1::Lease lease = NextLease(*worker);
  SendGroup(*worker, lease, "these bytes are no group");
  const v1::Ack ack = NextAck(*worker);
  EXPECT_EQ(ack.outcome(), v1::Ack::MALFORMED);
  EXPECT_THAT(ack.detail(), HasSubstr("cohort.v1.Group"));
  const auto again = worker->Next([&lease](const auto& m) {
    return m.has_lease() && m.lease().group_id() == lease.group_id();
  });
  ASSERT_TRUE(again.has_value());
  EXPECT_NE(again->lease().lease_id(), lease.lease_id());

  Group wrong = AnswerTo(*DecodeLease(again->lease()));
  wrong.rows.pop_back();
  SendGroup(*worker, again->lease(), EncodeGroup(wrong));
  EXPECT_EQ(NextAck(*worker).outcome(), v1::Ack::MALFORMED);
}

TEST_F(LearnerTest, ChunksThatDoNotFitAreMalformedOnceAndAWrongHashIsNamed) {
  auto worker = Connect("w-1");
  const v1::Lease lease = NextLease(*worker);
  const std::string bytes = EncodeGroup(AnswerTo(*DecodeLease(lease)));
  auto gap = ChunkMessages(lease, bytes, 64);
  ASSERT_GT(gap.size(), 3u);
  gap.erase(gap.begin() + 1);
  for (const auto& message : gap) worker->Send(message);
  const v1::Ack ack = NextAck(*worker);
  EXPECT_EQ(ack.outcome(), v1::Ack::MALFORMED);
  EXPECT_THAT(ack.detail(), HasSubstr("offset 64"));

  auto flipped = ChunkMessages(lease, bytes, 64);
  flipped[1].mutable_group_chunk()->mutable_payload()->at(3) ^= 1;
  for (const auto& message : flipped) worker->Send(message);
  EXPECT_EQ(NextAck(*worker).outcome(), v1::Ack::HASH_MISMATCH) << "one ack for the whole gap";

  v1::WorkerMessage beyond = ChunkMessages(lease, bytes, 64)[0];
  beyond.mutable_group_chunk()->set_total(10);
  worker->Send(beyond);
  EXPECT_THAT(NextAck(*worker).detail(), HasSubstr("beyond the total of 10"));
  v1::WorkerMessage huge = ChunkMessages(lease, bytes, 64)[0];
  huge.mutable_group_chunk()->set_total(uint64_t{1} << 40);
  worker->Send(huge);
  EXPECT_THAT(NextAck(*worker).detail(), HasSubstr("expected a total of"));
  EXPECT_EQ(dispatcher_->Counts().deliveries[static_cast<size_t>(Delivery::kHashMismatch)], 1u);

  SendGroup(*worker, lease, bytes);
  EXPECT_EQ(NextAck(*worker).outcome(), v1::Ack::ACCEPTED) << "the stream must survive all this";
}

TEST_F(LearnerTest, CutsOffAWorkerThatOverdrawsItsCredit) {
  Serve({.credit_bytes = 1000});
  auto worker = Connect("w-1");
  v1::WorkerMessage chunk;
  chunk.mutable_group_chunk()->set_total(5000);
  chunk.mutable_group_chunk()->set_payload(std::string(1001, 'x'));
  worker->Send(chunk);
  const v1::Refusal refusal = RefusalOf(*worker);
  EXPECT_EQ(refusal.reason(), v1::Refusal::BAD_MESSAGE);
  EXPECT_THAT(refusal.detail(), HasSubstr("credit of 1000"));
}

TEST_F(LearnerTest, AMessageAboveTheLimitEndsOnlyItsStream) {
  auto worker = Connect("w-1");
  worker->SendBytes(std::string(kMaxMessageBytes + 1, 'x'));
  EXPECT_FALSE(worker->WaitClosed().ok());
  auto next = Connect("w-2");
  EXPECT_NE(NextLease(*next).group_id(), 0u);
}

TEST_F(LearnerTest, AFailedLeaseIsIssuedAgainAndATooLongPromptEnds) {
  auto worker = Connect("w-1");
  const v1::Lease lease = NextLease(*worker);
  v1::WorkerMessage failed;
  failed.mutable_lease_failed()->set_group_id(lease.group_id());
  failed.mutable_lease_failed()->set_lease_id(lease.lease_id());
  failed.mutable_lease_failed()->set_reason(v1::LeaseFailed::INFRA);
  failed.mutable_lease_failed()->set_detail("out of memory");
  worker->Send(failed);
  const auto again = worker->Next([&lease](const auto& m) {
    return m.has_lease() && m.lease().group_id() == lease.group_id();
  });
  ASSERT_TRUE(again.has_value());
  failed.mutable_lease_failed()->set_lease_id(again->lease().lease_id());
  failed.mutable_lease_failed()->set_reason(v1::LeaseFailed::PROMPT_TOO_LONG);
  worker->Send(failed);
  const auto another = worker->Next([](const auto& m) {
    return m.has_lease() && m.lease().ordinal() >= 4;  // its place is free again
  });
  ASSERT_TRUE(another.has_value());
  EXPECT_EQ(dispatcher_->Counts().ended[static_cast<size_t>(OrdinalEnd::kPromptTooLong)], 1u);
}

TEST_F(LearnerTest, ALeaseGivenBackByADrainingWorkerIsNoFailedAttempt) {
  auto worker = Connect("w-1");
  v1::Lease lease = NextLease(*worker);
  const uint64_t group = lease.group_id();
  for (int i = 0; i < 5; ++i) {  // more often than max_attempts
    v1::WorkerMessage back;
    back.mutable_lease_failed()->set_group_id(group);
    back.mutable_lease_failed()->set_lease_id(lease.lease_id());
    back.mutable_lease_failed()->set_reason(v1::LeaseFailed::DRAINING);
    worker->Send(back);
    const auto again = worker->Next(
        [group](const auto& m) { return m.has_lease() && m.lease().group_id() == group; });
    ASSERT_TRUE(again.has_value());
    lease = again->lease();
  }
  EXPECT_EQ(dispatcher_->Counts().ended[static_cast<size_t>(OrdinalEnd::kInfraFailed)], 0u);
}

TEST_F(LearnerTest, SpreadsLeasesByLoadAndBoundsThemByRows) {
  auto first = client_->Open();
  v1::WorkerMessage hello = Hello("w-1");
  hello.mutable_hello()->set_max_rows(1);  // 2 rows per group: one group reaches twice its rows
  first->Send(hello);
  NextLease(*first);
  auto second = Connect("w-2");
  for (int i = 0; i < 3; ++i) NextLease(*second);
  const std::vector<v1::WorkerStatus> workers = service_->Workers();
  ASSERT_EQ(workers.size(), 2u);
  EXPECT_EQ(workers[0].leases(), 1u);
  EXPECT_EQ(workers[1].leases(), 3u);
}

TEST_F(LearnerTest, AnAcceptedGroupIsCancelledWhereElseItIsInHand) {
  auto first = Connect("w-1");
  const v1::Lease lease = NextLease(*first);
  first->stream().Cancel(absl::CancelledError("connection lost"));
  auto second = Connect("w-2");
  const auto again = second->Next([&lease](const auto& m) {
    return m.has_lease() && m.lease().group_id() == lease.group_id();
  });
  ASSERT_TRUE(again.has_value()) << "the lost worker's lease must be issued again";
  auto back = Connect("w-1");
  SendGroup(*back, lease, EncodeGroup(AnswerTo(*DecodeLease(lease))));
  EXPECT_EQ(NextAck(*back).outcome(), v1::Ack::ACCEPTED);
  const auto cancel = second->Next([](const auto& m) { return m.has_cancel_lease(); });
  ASSERT_TRUE(cancel.has_value());
  EXPECT_EQ(cancel->cancel_lease().group_id(), lease.group_id());
}

// ---- heartbeats, drain, status ----

TEST_F(LearnerTest, AnswersAHeartbeatAndShowsItInTheStatus) {
  auto worker = Connect("w-1");
  v1::WorkerMessage message;
  message.mutable_heartbeat()->set_held_version(3);
  message.mutable_heartbeat()->set_running_rows(17);
  message.mutable_heartbeat()->set_tokens_per_second(250);
  message.mutable_heartbeat()->set_idle_seconds(0.5);
  message.mutable_heartbeat()->set_generated_tokens(1000);
  worker->Send(message);
  const auto answer = worker->Next([](const auto& m) { return m.has_byte_credit(); });
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->byte_credit().bytes(), 0u);

  auto stub = v1::Session::NewStub(MakeChannel(host_->address()));
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(TestDeadline()));
  v1::StatusReply reply;
  ASSERT_TRUE(stub->Status(&context, {}, &reply).ok());
  EXPECT_EQ(reply.step(), 7);
  ASSERT_EQ(reply.workers_size(), 1);
  EXPECT_EQ(reply.workers(0).worker_id(), "w-1");
  EXPECT_TRUE(reply.workers(0).connected());
  EXPECT_EQ(reply.workers(0).held_version(), 3);
  EXPECT_EQ(reply.workers(0).running_rows(), 17u);
  EXPECT_EQ(reply.workers(0).pid(), 42u);
  EXPECT_GE(reply.workers(0).leases(), 1u);
  const FleetSample sample = service_->TakeFleetSample();
  EXPECT_EQ(sample.workers, 1);
  EXPECT_EQ(sample.tokens_per_second, 250);
  EXPECT_EQ(sample.mean_idle_seconds, 0.5);
  EXPECT_EQ(sample.generated_tokens, 1000u);
  EXPECT_EQ(service_->TakeFleetSample().mean_idle_seconds, 0);
}

TEST_F(LearnerTest, CutsOffASilentWorkerAndIssuesItsLeasesAgain) {
  Serve({.heartbeat = absl::Milliseconds(40), .missed_heartbeats = 5});
  auto silent = Connect("w-1");
  const v1::Lease lease = NextLease(*silent);
  EXPECT_THAT(silent->WaitClosed(),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("no message for")));
  EXPECT_EQ(service_->counters().heartbeat_timeouts, 1u) << "counted once, not at every look";
  auto next = Connect("w-2");
  EXPECT_TRUE(next->Next([&lease](const auto& m) {
                    return m.has_lease() && m.lease().group_id() == lease.group_id();
                  })
                  .has_value());
  EXPECT_GE(service_->counters().lost_workers, 1u);
}

TEST_F(LearnerTest, DrainAsksForAGoodbyeAndWaitsForIt) {
  auto worker = Connect("w-1");
  int left = -1;
  std::thread drain([&] { left = service_->Drain("training is done", kTestLimit); });
  const auto message = worker->Next([](const auto& m) { return m.has_drain(); });
  ASSERT_TRUE(message.has_value());
  EXPECT_EQ(message->drain().reason(), "training is done");
  EXPECT_EQ(message->drain().deadline_seconds(), absl::ToDoubleSeconds(kTestLimit));
  v1::WorkerMessage goodbye;
  goodbye.mutable_goodbye()->set_reason("drained");
  worker->Send(goodbye);
  drain.join();
  EXPECT_EQ(left, 0);
  COHORT_EXPECT_OK(worker->WaitClosed());
  EXPECT_EQ(service_->counters().lost_workers, 0u);
}

TEST_F(LearnerTest, ShutdownEndsEveryStream) {
  auto worker = Connect("w-1");
  auto speechless = client_->Open();
  speechless->SendBytes("");  // so that the stream is known to be there
  (void)RefusalOf(*speechless);
  service_->Shutdown();
  EXPECT_FALSE(worker->WaitClosed().ok());
  EXPECT_EQ(service_->counters().workers_connected, 0);
}

}  // namespace
}  // namespace cohort

#include "common/reward_service/service_scorer.h"

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <limits>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "cohort/v1/reward.grpc.pb.h"
#include "common/base/status_matchers.h"
#include "common/rpc/server_host.h"

namespace cohort {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Answers by a function; calls are counted and kept.
class FakeService final : public v1::Reward::CallbackService {
 public:
  using Answer = std::function<grpc::Status(const v1::ScoreRequest&, v1::ScoreReply*)>;
  explicit FakeService(Answer answer) : answer_(std::move(answer)) {}

  grpc::ServerUnaryReactor* Score(grpc::CallbackServerContext* context,
                                  const v1::ScoreRequest* request, v1::ScoreReply* reply) override {
    Answer answer;
    {
      absl::MutexLock lock(&mu_);
      requests_.push_back(*request);
      answer = answer_;
    }
    auto* reactor = context->DefaultReactor();
    reactor->Finish(answer(*request, reply));
    return reactor;
  }
  void SetAnswer(Answer answer) {
    absl::MutexLock lock(&mu_);
    answer_ = std::move(answer);
  }
  std::vector<v1::ScoreRequest> requests() const {
    absl::MutexLock lock(&mu_);
    return requests_;
  }

 private:
  mutable absl::Mutex mu_;
  Answer answer_ ABSL_GUARDED_BY(mu_);
  std::vector<v1::ScoreRequest> requests_ ABSL_GUARDED_BY(mu_);
};

// Never answers until it is released or the caller goes away.
class HangingService final : public v1::Reward::CallbackService {
 public:
  class Reactor final : public grpc::ServerUnaryReactor {
   public:
    void OnCancel() override { Finish(grpc::Status::CANCELLED); }
    void OnDone() override { delete this; }
  };
  grpc::ServerUnaryReactor* Score(grpc::CallbackServerContext*, const v1::ScoreRequest*,
                                  v1::ScoreReply*) override {
    if (!called.HasBeenNotified()) called.Notify();
    return new Reactor;
  }
  absl::Notification called;
};

// Replies with bytes that are no ScoreReply.
class GarbageService final : public grpc::CallbackGenericService {
 public:
  class Reactor final : public grpc::ServerGenericBidiReactor {
   public:
    Reactor() { StartRead(&request_); }
    void OnReadDone(bool) override {
      const std::string junk = "\xff\xff\xff\xff not a message";
      const grpc::Slice slice(junk);
      reply_ = grpc::ByteBuffer(&slice, 1);
      StartWriteAndFinish(&reply_, grpc::WriteOptions(), grpc::Status::OK);
    }
    void OnDone() override { delete this; }

   private:
    grpc::ByteBuffer request_, reply_;
  };
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override {
    return new Reactor;
  }
};

grpc::Status ScoreAll(const v1::ScoreRequest& request, v1::ScoreReply* reply) {
  for (const v1::ScoreItem& item : request.items()) {
    v1::ItemScore* score = reply->add_scores();
    score->set_index(item.index());
    score->set_score(static_cast<double>(item.response().size()));
    (*score->mutable_components())["length"] = static_cast<double>(item.response_ids_size());
  }
  return grpc::Status::OK;
}

std::unique_ptr<ServerHost> Serve(grpc::Service* service) {
  auto host = ServerHost::Start({.services = {service}});
  EXPECT_TRUE(host.ok()) << host.status();
  return *std::move(host);
}

ServiceScorerOptions Quick(const std::string& address) {
  ServiceScorerOptions options;
  options.address = address;
  options.timeout = absl::Seconds(10);
  options.circuit.failures = 0;
  options.backoff.initial = absl::Milliseconds(5);
  return options;
}

std::vector<RewardInput> Rows(int count) {
  std::vector<RewardInput> rows;
  const auto prompt =
      *MakeRewardPrompt(R"({"answer": "7", "style": "short"})", "", 5, "What is 3 + 4?", {1, 2});
  for (int i = 0; i < count; ++i) {
    RewardInput row;
    row.prompt = prompt;
    row.completion = std::string(static_cast<size_t>(i), 'x');
    row.response_ids = {7, 8, 9};
    row.truncated = i == 1;
    row.row = i;
    rows.push_back(row);
  }
  return rows;
}

void ExpectUnscorable(const RewardVerdict& verdict, const char* cause) {
  EXPECT_EQ(verdict.outcome, Outcome::kUnscorable);
  EXPECT_STREQ(verdict.cause, cause);
  EXPECT_FALSE(verdict.note.empty());
}

TEST(ServiceScorerTest, RowsAreScoredWithAllThatIsKnownOfThem) {
  FakeService service(ScoreAll);
  const auto host = Serve(&service);
  ServiceScorerOptions options = Quick(host->address());
  options.run = "a-run";
  options.parts = {"length"};
  ServiceScorer scorer(options);
  const auto verdicts = scorer.Score(Rows(3));
  ASSERT_EQ(verdicts.size(), 3u);
  EXPECT_EQ(verdicts[2].outcome, Outcome::kValue);
  EXPECT_EQ(verdicts[2].value, 2);
  EXPECT_THAT(verdicts[2].parts, ElementsAre(3));
  ASSERT_EQ(service.requests().size(), 1u);
  const v1::ScoreRequest request = service.requests()[0];
  EXPECT_EQ(request.run(), "a-run");
  const v1::ScoreItem& item = request.items(1);
  EXPECT_EQ(item.prompt(), "What is 3 + 4?");
  EXPECT_THAT(item.prompt_ids(), ElementsAre(1, 2));
  EXPECT_EQ(item.response(), "x");
  EXPECT_THAT(item.response_ids(), ElementsAre(7, 8, 9));
  EXPECT_THAT(item.columns_json(), HasSubstr("\"style\": \"short\""));
  EXPECT_EQ(item.finish_reason(), "length");
  EXPECT_EQ(request.items(0).finish_reason(), "stop");
  EXPECT_EQ(item.group(), 5u);
  EXPECT_EQ(item.row(), 1u);
}

TEST(ServiceScorerTest, LargeGroupsGoOutInBatchesThatFailAlone) {
  FakeService service([](const v1::ScoreRequest& request, v1::ScoreReply* reply) {
    if (request.items(0).row() == 4) return grpc::Status(grpc::StatusCode::UNKNOWN, "KeyError: 4");
    return ScoreAll(request, reply);
  });
  const auto host = Serve(&service);
  ServiceScorerOptions options = Quick(host->address());
  options.batch = 4;
  ServiceScorer scorer(options);
  const auto verdicts = scorer.Score(Rows(10));
  EXPECT_EQ(service.requests().size(), 3u);
  for (size_t i = 0; i < 10; ++i) {
    if (i >= 4 && i < 8) {
      ExpectUnscorable(verdicts[i], cause::kCrash);
      EXPECT_THAT(verdicts[i].note, HasSubstr("KeyError"));
    } else {
      EXPECT_EQ(verdicts[i].value, static_cast<double>(i));
    }
  }
}

TEST(ServiceScorerTest, UnavailableIsTriedAgain) {
  auto left = std::make_shared<std::atomic<int>>(2);
  FakeService service([left](const v1::ScoreRequest& request, v1::ScoreReply* reply) {
    if ((*left)-- > 0) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "loading");
    return ScoreAll(request, reply);
  });
  const auto host = Serve(&service);
  ServiceScorer scorer(Quick(host->address()));
  EXPECT_EQ(scorer.Score(Rows(2))[1].value, 1);
  EXPECT_EQ(service.requests().size(), 3u);
}

TEST(ServiceScorerTest, AServiceThatHangsIsGivenUpInTime) {
  HangingService service;
  const auto host = Serve(&service);
  ServiceScorerOptions options = Quick(host->address());
  options.timeout = absl::Milliseconds(200);
  ServiceScorer scorer(options);
  const absl::Time start = absl::Now();
  const auto verdicts = scorer.Score(Rows(2));
  EXPECT_LT(absl::Now() - start, absl::Seconds(8));
  for (const RewardVerdict& verdict : verdicts) ExpectUnscorable(verdict, cause::kTimeout);
}

TEST(ServiceScorerTest, AServiceThatDiesInACallLeavesItsRowsUnscorable) {
  HangingService service;
  auto host = Serve(&service);
  ServiceScorer scorer(Quick(host->address()));
  std::vector<RewardVerdict> verdicts;
  std::thread caller([&] { verdicts = scorer.Score(Rows(2)); });
  EXPECT_TRUE(service.called.WaitForNotificationWithTimeout(absl::Seconds(20)));
  host->Shutdown(absl::ZeroDuration());
  host.reset();
  caller.join();
  for (const RewardVerdict& verdict : verdicts) ExpectUnscorable(verdict, cause::kUnavailable);
}

TEST(ServiceScorerTest, NobodyThereIsUnscorable) {
  std::string address;
  {
    FakeService service(ScoreAll);
    address = Serve(&service)->address();
  }
  ServiceScorer scorer(Quick(address));
  ExpectUnscorable(scorer.Score(Rows(1))[0], cause::kUnavailable);
}

// The last channel of a process ends the threads that gRPC calls back on: none of them may do it.
TEST(ServiceScorerTest, TheLastScorerOfAProcessEndsInItsOwnThread) {
  for (int round = 0; round < 300; ++round) {
    ServiceScorerOptions options = Quick("127.0.0.1:1");
    options.backoff.initial = options.backoff.limit = absl::ZeroDuration();
    ServiceScorer scorer(options);
    ExpectUnscorable(scorer.Score(Rows(1))[0], cause::kUnavailable);
  }
}

TEST(ServiceScorerTest, BytesThatAreNoReplyAreUnscorable) {
  GarbageService service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterCallbackGenericService(&service);
  const auto server = builder.BuildAndStart();
  ServiceScorer scorer(Quick(absl::StrCat("127.0.0.1:", port)));
  for (const RewardVerdict& verdict : scorer.Score(Rows(2))) {
    ExpectUnscorable(verdict, cause::kGarbage);
  }
  server->Shutdown();
}

TEST(ServiceScorerTest, HalfABatchCostsTheOtherHalfOnly) {
  FakeService service([](const v1::ScoreRequest& request, v1::ScoreReply* reply) {
    ScoreAll(request, reply);
    reply->mutable_scores()->DeleteSubrange(0, request.items_size() / 2);
    return grpc::Status::OK;
  });
  const auto host = Serve(&service);
  ServiceScorer scorer(Quick(host->address()));
  const auto verdicts = scorer.Score(Rows(4));
  ExpectUnscorable(verdicts[0], cause::kMissing);
  ExpectUnscorable(verdicts[1], cause::kMissing);
  EXPECT_EQ(verdicts[2].value, 2);
  EXPECT_EQ(verdicts[3].value, 3);
}

TEST(ServiceScorerTest, ABrokenServiceGivesNoRowOfASetAZero) {
  FakeService service([](const v1::ScoreRequest& request, v1::ScoreReply* reply) {
    ScoreAll(request, reply);
    reply->mutable_scores(0)->set_score(std::numeric_limits<double>::quiet_NaN());
    reply->mutable_scores(1)->set_score(std::numeric_limits<double>::infinity());
    reply->mutable_scores(2)->set_unscorable("not in English");
    return grpc::Status::OK;
  });
  const auto host = Serve(&service);
  RewardComponent component;
  component.name = "service";
  component.scorer = std::make_shared<ServiceScorer>(Quick(host->address()));
  COHORT_ASSERT_OK_AND_ASSIGN(const auto set, RewardSet::Create({component}, 1));
  const auto rows = set->Score(Rows(4));
  EXPECT_STREQ(rows[0].cause, cause::kNonFinite);
  EXPECT_STREQ(rows[1].cause, cause::kNonFinite);
  EXPECT_STREQ(rows[2].cause, cause::kDeclined);
  EXPECT_THAT(rows[2].note, HasSubstr("not in English"));
  for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(rows[i].unscorable);
  EXPECT_FALSE(rows[3].unscorable);
  EXPECT_EQ(rows[3].total, 3);
  EXPECT_EQ(set->unscorable(), 3);
}

TEST(ServiceScorerTest, AServiceThatFailsAgainAndAgainIsLeftAloneForAWhile) {
  FakeService service([](const v1::ScoreRequest&, v1::ScoreReply*) {
    return grpc::Status(grpc::StatusCode::INTERNAL, "broken");
  });
  const auto host = Serve(&service);
  ServiceScorerOptions options = Quick(host->address());
  options.circuit.failures = 2;
  options.circuit.pause = absl::Hours(1);
  ServiceScorer scorer(options);
  for (int i = 0; i < 5; ++i) {
    ExpectUnscorable(scorer.Score(Rows(1))[0], i < 2 ? cause::kGarbage : cause::kCircuitOpen);
  }
  EXPECT_EQ(service.requests().size(), 2u);
  options.circuit.pause = absl::ZeroDuration();
  ServiceScorer patient(options);
  for (int i = 0; i < 3; ++i) patient.Score(Rows(1));
  service.SetAnswer(ScoreAll);
  EXPECT_EQ(patient.Score(Rows(2))[1].value, 1);
}

TEST(CircuitTest, OpensAfterFailuresInARowAndTriesAfterThePause) {
  using State = Circuit::State;
  const absl::Time start = absl::UnixEpoch();
  Circuit circuit({.failures = 2, .pause = absl::Seconds(10)});
  EXPECT_FALSE(circuit.Failed(start));
  EXPECT_FALSE(circuit.Succeeded());
  EXPECT_FALSE(circuit.Failed(start));
  EXPECT_EQ(circuit.At(start), State::kClosed);
  EXPECT_TRUE(circuit.Failed(start));
  EXPECT_EQ(circuit.At(start + absl::Seconds(9)), State::kOpen);
  EXPECT_EQ(circuit.At(start + absl::Seconds(10)), State::kTrying);
  EXPECT_FALSE(circuit.Failed(start + absl::Seconds(10)));
  EXPECT_EQ(circuit.At(start + absl::Seconds(19)), State::kOpen);
  EXPECT_TRUE(circuit.Succeeded());
  EXPECT_EQ(circuit.At(start + absl::Seconds(19)), State::kClosed);
}

}  // namespace
}  // namespace cohort

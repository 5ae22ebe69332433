#include "common/rank_store/rank_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/base/status_matchers.h"
#include "common/rank_store/rank_session.h"
#include "common/rank_store/rank_store_host.h"
#include "common/rpc/test_certificates.h"

namespace cohort {
namespace {

using ::testing::_;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

v1::StoreJoin JoinOf(int rank, int world = 3, uint64_t process = 0) {
  v1::StoreJoin join;
  join.set_protocol_version(kRankProtocol);
  join.set_rank(rank);
  join.set_world(world);
  join.set_run_hash("run");
  join.set_host("node");
  join.set_pid(static_cast<uint32_t>(100 + rank));
  join.set_process(process == 0 ? static_cast<uint64_t>(1000 + rank) : process);
  return join;
}

v1::StoreKeys KeysOf(uint64_t generation, const std::vector<std::string>& keys,
                     double seconds = 0) {
  v1::StoreKeys request;
  request.set_generation(generation);
  for (const std::string& key : keys) request.add_keys(key);
  request.set_timeout_seconds(seconds);
  return request;
}

v1::StoreSet SetOf(uint64_t generation, const std::string& key, const std::string& value) {
  v1::StoreSet request;
  request.set_generation(generation);
  request.set_key(key);
  request.set_value(value);
  return request;
}

v1::StoreBeat BeatOf(int rank, uint64_t generation, double hold = 0) {
  v1::StoreBeat beat;
  beat.set_rank(rank);
  beat.set_generation(generation);
  beat.set_doing("all-reduce of gradients");
  beat.set_hold_seconds(hold);
  return beat;
}

// Three ranks that have met, at a time of the test's own.
class RankStoreTest : public ::testing::Test {
 protected:
  RankStoreTest() {
    options_.world = 3;
    options_.run_hash = "run";
    options_.silence = absl::Seconds(10);
    options_.patience = absl::Seconds(30);
    options_.clock = &clock_;
    store_ = std::make_unique<RankStore>(options_);
  }

  void MeetAll() {
    for (int rank = 0; rank < 3; ++rank) {
      COHORT_ASSERT_OK_AND_ASSIGN(const v1::StoreJoined joined, store_->Join(JoinOf(rank)));
      generations_[rank] = joined.generation();
    }
  }

  v1::StoreBeatReply Beat(int rank) {
    v1::StoreBeatReply reply;
    store_->Beat(BeatOf(rank, generations_[rank]), [&](auto answer) {
      COHORT_EXPECT_OK(answer);
      if (answer.ok()) reply = *answer;
    });
    return reply;
  }

  // Time passes in ticks; the ranks in `alive` beat.
  void Pass(absl::Duration time, const std::vector<int>& alive) {
    for (absl::Duration passed; passed < time; passed += absl::Seconds(1)) {
      clock_.Advance(absl::Seconds(1));
      for (int rank : alive) Beat(rank);
      store_->Tick();
    }
  }

  FakeClock clock_;
  RankStore::Options options_;
  std::unique_ptr<RankStore> store_;
  uint64_t generations_[3] = {};
};

TEST_F(RankStoreTest, JoiningIsRefusedWithWhatWasExpectedAndFound) {
  EXPECT_THAT(store_->Join(JoinOf(1, 4)),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("4 ranks"), HasSubstr("rank 0 for 3"))));
  EXPECT_THAT(store_->Join(JoinOf(3)), StatusIs(absl::StatusCode::kInvalidArgument, _));
  EXPECT_THAT(store_->Join(JoinOf(-1)), StatusIs(absl::StatusCode::kInvalidArgument, _));
  v1::StoreJoin other = JoinOf(1);
  other.set_run_hash("other\n");
  EXPECT_THAT(store_->Join(other), StatusIs(absl::StatusCode::kFailedPrecondition,
                                            AllOf(HasSubstr("other\\n"), HasSubstr("rank 0's run"),
                                                  HasSubstr("same configuration"))));
  other = JoinOf(1);
  other.set_protocol_version(9);
  EXPECT_THAT(store_->Join(other),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("speaks 9")));
}

TEST_F(RankStoreTest, ASecondProcessOfARankIsRefusedWhileTheFirstLives) {
  MeetAll();
  EXPECT_THAT(store_->Join(JoinOf(1, 3, 999)),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       AllOf(HasSubstr("rank 1 at node pid 101"), HasSubstr("start each rank"))));
}

TEST_F(RankStoreTest, BeforeAllAreThereALostRankMayComeAgainAndItsOldSelfIsFenced) {
  COHORT_ASSERT_OK_AND_ASSIGN(const v1::StoreJoined first, store_->Join(JoinOf(1)));
  int cancelled = 0;
  const uint64_t id = store_->Beat(BeatOf(1, first.generation(), 1), [&](const auto& answer) {
    cancelled += absl::IsCancelled(answer.status()) ? 1 : 0;
  });
  store_->Cancel(id);
  EXPECT_EQ(cancelled, 1);
  COHORT_ASSERT_OK_AND_ASSIGN(const v1::StoreJoined second, store_->Join(JoinOf(1, 3, 999)));
  EXPECT_NE(first.generation(), second.generation());
  EXPECT_THAT(store_->Set(SetOf(first.generation(), "a", "b")),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("took this rank's place")));
  EXPECT_THAT(store_->Check(KeysOf(first.generation(), {"a"})),
              StatusIs(absl::StatusCode::kFailedPrecondition, _));
  EXPECT_THAT(store_->Count(KeysOf(first.generation(), {})),
              StatusIs(absl::StatusCode::kFailedPrecondition, _));
  store_->Beat(BeatOf(1, first.generation()), [](const auto& answer) {
    EXPECT_THAT(answer, StatusIs(absl::StatusCode::kFailedPrecondition, _));
  });
  COHORT_EXPECT_OK(store_->Set(SetOf(second.generation(), "a", "b")));
}

TEST_F(RankStoreTest, KeepsValuesAsC10dDefinesThem) {
  MeetAll();
  const uint64_t me = generations_[1];
  v1::StoreCompareSet swap;
  swap.set_generation(me);
  swap.set_key("k");
  swap.set_expected("x");
  swap.set_desired("y");
  EXPECT_EQ(store_->CompareSet(swap)->value(), "x");  // absent, and something was expected
  swap.set_expected("");
  EXPECT_EQ(store_->CompareSet(swap)->value(), "y");
  swap.set_expected("no");
  swap.set_desired("z");
  EXPECT_EQ(store_->CompareSet(swap)->value(), "y");
  v1::StoreAdd add;
  add.set_generation(me);
  add.set_key("n");
  add.set_amount(3);
  EXPECT_EQ(*store_->Add(add), 3);
  EXPECT_EQ(*store_->Add(add), 6);
  add.set_amount(std::numeric_limits<int64_t>::max());
  EXPECT_THAT(store_->Add(add), StatusIs(absl::StatusCode::kOutOfRange, _));
  add.set_key("k");
  EXPECT_THAT(store_->Add(add), StatusIs(absl::StatusCode::kInvalidArgument, _));
  EXPECT_EQ(*store_->Count(KeysOf(me, {})), 2);
  EXPECT_TRUE(*store_->Check(KeysOf(me, {"k", "n"})));
  EXPECT_FALSE(*store_->Check(KeysOf(me, {"k", "m"})));
  EXPECT_TRUE(*store_->Delete(KeysOf(me, {"k"})));
  EXPECT_FALSE(*store_->Delete(KeysOf(me, {"k"})));
}

TEST_F(RankStoreTest, AWaitEndsWithTheLastKeyAndATimeOutNamesTheMissingOnes) {
  MeetAll();
  std::string value;
  store_->Wait(KeysOf(generations_[1], {"a", "b"}, 5), [&](auto answer) {
    COHORT_ASSERT_OK(answer);
    value = answer->value();
  });
  COHORT_ASSERT_OK(store_->Set(SetOf(generations_[0], "b", "2")));
  EXPECT_EQ(value, "");
  COHORT_ASSERT_OK(store_->Set(SetOf(generations_[0], "a", "1")));
  EXPECT_EQ(value, "1");
  absl::Status late;
  store_->Wait(KeysOf(generations_[1], {"a", "c", "d"}, 5),
               [&](const auto& answer) { late = answer.status(); });
  Pass(absl::Seconds(6), {0, 1, 2});
  EXPECT_THAT(late, StatusIs(absl::StatusCode::kDeadlineExceeded,
                             AllOf(HasSubstr("c, d of 3 keys"), HasSubstr("5 s"))));
}

TEST_F(RankStoreTest, WhatComesFromOutsideIsBounded) {
  MeetAll();
  const uint64_t me = generations_[1];
  EXPECT_THAT(store_->Set(SetOf(me, "", "v")), StatusIs(absl::StatusCode::kInvalidArgument, _));
  EXPECT_THAT(store_->Set(SetOf(me, std::string(RankStore::kMaxKeyBytes + 1, 'k'), "v")),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
  const std::string big(RankStore::kMaxValueBytes, 'v');
  EXPECT_THAT(store_->Set(SetOf(me, "k", big + "v")),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
  absl::Status status;
  for (int i = 0; status.ok() && i < 100; ++i)
    status = store_->Set(SetOf(me, absl::StrCat(i), big));
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("full")));
  v1::StoreBeat beat = BeatOf(1, me, std::numeric_limits<double>::quiet_NaN());
  beat.set_doing(std::string(1000, 'x') + "\n");
  bool answered = false;
  store_->Beat(beat, [&](const auto&) { answered = true; });
  EXPECT_TRUE(answered) << "a hold that is no number is none";
  clock_.Advance(absl::Seconds(11));
  EXPECT_LT(store_->RanksAlive().message().size(), 1000U);
}

TEST_F(RankStoreTest, ASilentRankIsNamedAndAfterAllPatienceTheRunEndsNamingIt) {
  EXPECT_THAT(store_->RanksAlive(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("ranks 0, 1, 2 of 3")));
  MeetAll();
  Beat(1);
  COHORT_EXPECT_OK(store_->RanksAlive());
  Pass(absl::Seconds(12), {0, 2});
  const std::string named =
      "rank 1 at node pid 101 has been silent for 12 s, last in all-reduce of";
  EXPECT_THAT(store_->RanksAlive(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr(named)));
  EXPECT_THAT(Beat(2).silent(), ElementsAre(1));
  EXPECT_THAT(Beat(2).trouble(), HasSubstr(named));
  EXPECT_EQ(store_->Silences()[1], absl::Seconds(12));
  Beat(1);  // it was only stopped for a while
  COHORT_EXPECT_OK(store_->RanksAlive());
  EXPECT_THAT(Beat(2).trouble(), IsEmpty());
  Pass(absl::Seconds(31), {0, 2});
  EXPECT_THAT(Beat(0).aborted(), HasSubstr("rank 1 at node pid 101 has been silent for 31 s"));
  EXPECT_THAT(store_->Set(SetOf(generations_[0], "a", "b")),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("rank 1")));
  EXPECT_THAT(store_->Join(JoinOf(1, 3, 999)), StatusIs(absl::StatusCode::kUnavailable, _));
}

TEST_F(RankStoreTest, ABrokenConnectionEndsTheRunUnlessTheRankComesAgain) {
  MeetAll();
  v1::StoreBeatReply heard;
  store_->Beat(BeatOf(2, generations_[2], 5), [&](const auto& answer) { heard = *answer; });
  const auto lose = [&] {
    store_->Cancel(store_->Beat(BeatOf(1, generations_[1], 5), [](const auto&) {}));
  };
  lose();
  EXPECT_THAT(heard.trouble(), HasSubstr("rank 1 at node pid 101 went away")) << "at once";
  EXPECT_THAT(heard.aborted(), IsEmpty());
  Beat(1);
  Pass(absl::Seconds(4), {0, 1, 2});
  EXPECT_FALSE(store_->aborted());
  lose();
  EXPECT_EQ(store_->Silences()[1], absl::InfiniteDuration());
  Pass(absl::Seconds(4), {0, 2});
  EXPECT_THAT(Beat(2).aborted(),
              HasSubstr("rank 1 at node pid 101 went away, last in all-reduce of gradients"));
}

TEST_F(RankStoreTest, ASuccessorOfASilentRankEndsTheMeetingThatItCannotJoin) {
  MeetAll();
  COHORT_EXPECT_OK(store_->Join(JoinOf(1)));  // the answer of before was lost
  Pass(absl::Seconds(12), {0, 2});            // its node is gone, and nothing says so
  EXPECT_FALSE(store_->aborted());
  EXPECT_THAT(store_->Join(JoinOf(1, 3, 999)),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("must end first")));
  EXPECT_THAT(Beat(0).aborted(), HasSubstr("rank 1 at node pid 101 went away"));
}

TEST_F(RankStoreTest, AGoodbyeIsNoLossAndAnAbortReachesWhoWaits) {
  MeetAll();
  v1::StoreBeat goodbye = BeatOf(2, generations_[2]);
  goodbye.set_leaving(true);
  store_->Beat(goodbye, [](const auto& answer) { COHORT_EXPECT_OK(answer); });
  EXPECT_FALSE(store_->OthersLeft());
  absl::Status waited;
  store_->Wait(KeysOf(generations_[1], {"never"}, 5),
               [&](const auto& answer) { waited = answer.status(); });
  v1::StoreBeat abort = BeatOf(1, generations_[1]);
  abort.set_abort("rank 1 gave up");
  store_->Beat(abort, [](const auto& answer) { EXPECT_EQ(answer->aborted(), "rank 1 gave up"); });
  EXPECT_THAT(waited, StatusIs(absl::StatusCode::kAborted, HasSubstr("rank 1 gave up")));
  Pass(absl::Seconds(6), {0});
  EXPECT_TRUE(store_->OthersLeft()) << "one said goodbye, the other nothing for long";
}

TEST_F(RankStoreTest, WhenThisProcessStoodStillTheRanksDidNot) {
  MeetAll();
  clock_.Advance(absl::Minutes(5));
  store_->Tick();
  COHORT_EXPECT_OK(store_->RanksAlive());
}

// ---- over gRPC ----

std::unique_ptr<RankStoreHost> Host(int world, absl::Duration silence = absl::Seconds(60)) {
  RankStoreHost::Options options;
  options.listen = "127.0.0.1:0";
  options.store.world = world;
  options.store.run_hash = "run";
  options.store.silence = silence;
  auto host = RankStoreHost::Start(options);
  COHORT_EXPECT_OK(host);
  return *std::move(host);
}

RankSession::Options SessionOptions(int rank, RankStoreHost& host, int world = 2) {
  RankSession::Options options;
  options.rank = rank;
  options.world = world;
  options.store = host.address();
  options.run_hash = "run";
  options.timeout = absl::Seconds(20);
  options.connect = [rank, &host]() -> absl::StatusOr<std::unique_ptr<StoreCalls>> {
    if (rank == 0) return LocalStoreCalls(&host.store());
    return RemoteStoreCalls(host.address(), nullptr);
  };
  return options;
}

// All ranks of a world of two, met.
std::vector<std::unique_ptr<RankSession>> Two(RankStoreHost& host) {
  std::vector<std::unique_ptr<RankSession>> sessions(2);
  std::thread other([&] {
    auto session = RankSession::Meet(SessionOptions(1, host));
    COHORT_ASSERT_OK(session);
    sessions[1] = *std::move(session);
  });
  auto session = RankSession::Meet(SessionOptions(0, host));
  other.join();
  COHORT_EXPECT_OK(session);
  sessions[0] = *std::move(session);
  return sessions;
}

TEST(RankSession, RanksMeetAndShareKeysOverGrpc) {
  const auto host = Host(2);
  const auto sessions = Two(*host);
  absl::Notification waiting;
  std::thread waiter([&] {
    waiting.Notify();
    const auto value = sessions[1]->calls().Get(KeysOf(sessions[1]->generation(), {"a"}, 10));
    COHORT_ASSERT_OK(value);
    EXPECT_EQ(value->value(), std::string("\0b", 2));
  });
  waiting.WaitForNotification();
  COHORT_EXPECT_OK(sessions[0]->calls().Set(
      SetOf(sessions[0]->generation(), "a", std::string("\0b", 2)), absl::Seconds(5)));
  waiter.join();
  EXPECT_TRUE(
      *sessions[1]->calls().Check(KeysOf(sessions[1]->generation(), {"a"}), absl::Seconds(5)));
  EXPECT_EQ(*sessions[1]->calls().Count(KeysOf(sessions[1]->generation(), {}), absl::Seconds(5)),
            1);
  EXPECT_THAT(sessions[1]->calls().Get(KeysOf(sessions[1]->generation(), {"b"}, 0.2)),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("has not got b")));
  COHORT_EXPECT_OK(host->store().RanksAlive());
}

TEST(RankSession, ARankThatWaitsSaysForWhomAndItsTimeOutNamesThem) {
  const auto host = Host(3);
  RankSession::Options options = SessionOptions(0, *host, 3);
  options.timeout = absl::Seconds(1);
  EXPECT_THAT(RankSession::Meet(options),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("ranks 1, 2 of 3")));
}

TEST(RankSession, AnotherWorldOrRunIsRefusedAtOnce) {
  const auto host = Host(2);
  RankSession::Options options = SessionOptions(1, *host);
  options.world = 3;
  EXPECT_THAT(RankSession::Meet(options),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("--world")));
  options = SessionOptions(1, *host);
  options.run_hash = "another";
  EXPECT_THAT(RankSession::Meet(options),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("another run")));
}

TEST(RankSession, ARankWaitsForAStoreThatComesLater) {
  auto host = Host(2);
  const std::string address = host->address();
  host.reset();
  RankSession::Options late;
  late.rank = 1;
  late.world = 2;
  late.run_hash = "run";
  late.timeout = absl::Seconds(20);
  late.store = address;
  late.connect = [address] { return RemoteStoreCalls(address, nullptr); };
  std::thread other([&] { COHORT_EXPECT_OK(RankSession::Meet(late)); });
  RankStoreHost::Options options;
  options.listen = address;
  options.store.world = 2;
  options.store.run_hash = "run";
  COHORT_ASSERT_OK_AND_ASSIGN(host, RankStoreHost::Start(options));
  COHORT_EXPECT_OK(RankSession::Meet(SessionOptions(0, *host)));
  other.join();
}

std::shared_ptr<const Security> Made(const SecurityOptions& options) {
  const auto security = Security::Create(options);
  COHORT_EXPECT_OK(security);
  return *security;
}

TEST(RankSession, OnlyLearnersReachTheStore) {
  TemporaryFolder folder;
  const TestAuthority authority;
  const auto of = [&](Role role) {
    return Made({.files = authority.Write(folder.path(), role), .roles = {role}});
  };
  RankStoreHost::Options options;
  options.listen = "127.0.0.1:0";
  options.store.world = 2;
  options.store.run_hash = "run";
  options.security = of(Role::kLearner);
  COHORT_ASSERT_OK_AND_ASSIGN(const auto host, RankStoreHost::Start(options));
  const auto joins_with = [&](std::shared_ptr<const Security> security) -> absl::Status {
    COHORT_ASSIGN_OR_RETURN(const auto calls, RemoteStoreCalls(host->address(), security));
    return calls->Join(JoinOf(1, 2), absl::Seconds(5)).status();
  };
  EXPECT_THAT(joins_with(of(Role::kRollout)), StatusIs(absl::StatusCode::kPermissionDenied, _));
  EXPECT_THAT(joins_with(of(Role::kCli)), StatusIs(absl::StatusCode::kPermissionDenied, _));
  EXPECT_FALSE(joins_with(nullptr).ok()) << "plaintext";
  COHORT_EXPECT_OK(joins_with(of(Role::kLearner)));
}

TEST(RankSession, OnOneMachineOnlyWhoKnowsTheSecretReachesTheStore) {
  const std::string secret(64, 'a');
  RankStoreHost::Options options;
  options.listen = "127.0.0.1:0";
  options.store.world = 2;
  options.store.run_hash = "run";
  options.security = Made({.files = {}, .secret = secret});
  COHORT_ASSERT_OK_AND_ASSIGN(const auto host, RankStoreHost::Start(options));
  for (const auto& [word, code] :
       {std::pair(secret, absl::StatusCode::kOk),
        std::pair(std::string(64, 'b'), absl::StatusCode::kUnauthenticated),
        std::pair(std::string(), absl::StatusCode::kUnauthenticated)}) {
    COHORT_ASSERT_OK_AND_ASSIGN(
        const auto calls, RemoteStoreCalls(host->address(), Made({.files = {}, .secret = word})));
    v1::StoreKeys keys = KeysOf(1, {"a"}, 0.1);
    const absl::Status joined = calls->Join(JoinOf(1, 2), absl::Seconds(5)).status();
    EXPECT_EQ(joined.code(), code) << joined;
    if (code == absl::StatusCode::kOk) continue;
    EXPECT_EQ(calls->Get(keys).status().code(), code);
    EXPECT_EQ(calls->Set(SetOf(1, "a", "b"), absl::Seconds(5)).code(), code);
    EXPECT_EQ(calls->Beat(BeatOf(1, 1), absl::Seconds(5)).status().code(), code);
  }
}

TEST(RankSession, AnAbortIsHeardByAllWithItsReason) {
  const auto host = Host(2);
  const auto sessions = Two(*host);
  sessions[1]->Abort("rank 1 gave up");
  EXPECT_THAT(sessions[0]->Trouble(absl::Seconds(10)), "rank 1 gave up");
  EXPECT_THAT(sessions[0]->ended(), "rank 1 gave up");
}

TEST(RankSession, AStoreThatGoesAwayEndsTheOthers) {
  auto host = Host(2);
  auto sessions = Two(*host);
  sessions[0].reset();
  sessions[1]->Doing("all-reduce of gradients");
  std::thread closing([&] { host.reset(); });
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  while (sessions[1]->ended().empty() && absl::Now() < deadline) {
    (void)sessions[1]->Trouble(absl::Milliseconds(100));
  }
  EXPECT_THAT(sessions[1]->ended(), HasSubstr("rank 0 has ended"));
  closing.join();
}

}  // namespace
}  // namespace cohort

#include "common/dispatch/dispatcher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_matchers.h"
#include "common/dispatch/dispatcher_testing.h"

namespace cohort {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(DispatcherTest, BoundZeroIssuesOneBatchAndWaitsForTheNextVersion) {
  Start({.groups_per_step = 2, .max_staleness = 0});
  const IssuedLease a = Lease(), b = Lease();
  EXPECT_EQ(a.item.ordinal, 0u);
  EXPECT_EQ(b.item.ordinal, 1u);
  EXPECT_TRUE(NothingToLease());
  Deliver(b);
  Deliver(a);
  EXPECT_TRUE(NothingToLease());
  EXPECT_THAT(Take(0), ElementsAre(0, 1));
  EXPECT_TRUE(NothingToLease()) << "a batch in training still holds its places";
  dispatcher_->MarkTrained({0, 1});
  EXPECT_TRUE(NothingToLease()) << "the new weights are not published yet";
  dispatcher_->SetVersion(1);
  const IssuedLease c = Lease();
  EXPECT_EQ(c.item.ordinal, 2u);
  EXPECT_EQ(c.version_floor, 1);
}

TEST_F(DispatcherTest, BoundKIssuesKPlusOneBatchesWithRisingFloors) {
  Start({.groups_per_step = 2, .max_staleness = 1});
  std::vector<int64_t> floors;
  for (int i = 0; i < 4; ++i) floors.push_back(Lease().version_floor);
  EXPECT_THAT(floors, ElementsAre(0, 0, 0, 0));
  EXPECT_TRUE(NothingToLease());
}

TEST_F(DispatcherTest, ALeaseGivenWhileTrainingCountsFromTheStepItWillReach) {
  Start({.groups_per_step = 1, .max_staleness = 2});
  std::vector<IssuedLease> leases = {Lease(), Lease(), Lease()};
  for (const IssuedLease& lease : leases) Deliver(lease);
  Train(0);
  // Ordinals 1 and 2 train at steps 1 and 2, so ordinal 3 trains at step 3 and needs version 1 or
  // newer.
  EXPECT_EQ(Lease().version_floor, 1);
}

TEST_F(DispatcherTest, TheOldestInFlightCountsFromItsFirstLease) {
  Start({.groups_per_step = 2, .max_staleness = 0});
  EXPECT_EQ(dispatcher_->Counts().oldest_in_flight, absl::ZeroDuration());
  const IssuedLease a = Lease();
  clock_.Advance(absl::Seconds(3));
  const IssuedLease b = Lease();
  dispatcher_->ReturnLease(a.group_id, a.lease_id);
  clock_.Advance(absl::Seconds(4));
  EXPECT_EQ(dispatcher_->Counts().oldest_in_flight, absl::Seconds(7)) << "waiting again counts";
  const IssuedLease again = Lease();
  Deliver(again);
  EXPECT_EQ(dispatcher_->Counts().oldest_in_flight, absl::Seconds(4));
  Deliver(b);
  EXPECT_EQ(dispatcher_->Counts().oldest_in_flight, absl::ZeroDuration());
}

TEST_F(DispatcherTest, TakesGroupsInPromptOrderWhateverTheOrderOfArrival) {
  Start({.groups_per_step = 2, .max_staleness = 1});
  std::vector<IssuedLease> leases = {Lease(), Lease(), Lease(), Lease()};
  Deliver(leases[3]);
  Deliver(leases[1]);
  Deliver(leases[2]);
  EXPECT_THAT(dispatcher_->TakeBatch(0, absl::Now()),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("ordinal 0 (leased to w)")));
  Deliver(leases[0]);
  EXPECT_THAT(Take(0), ElementsAre(0, 1));
}

TEST_F(DispatcherTest, ArrivalOrderIsAnOption) {
  Start({.groups_per_step = 2, .max_staleness = 1, .consume_in_order = false});
  std::vector<IssuedLease> leases = {Lease(), Lease(), Lease(), Lease()};
  Deliver(leases[3]);
  Deliver(leases[1]);
  EXPECT_THAT(Take(0), ElementsAre(3, 1));
}

TEST_F(DispatcherTest, TheFirstCopyOfAGroupWins) {
  Start({.groups_per_step = 1});
  const IssuedLease first = Lease("slow");
  clock_.Advance(absl::Minutes(11));
  EXPECT_THAT(dispatcher_->ExpireLeases(), ElementsAre(HasSubstr("held by slow expired")));
  const IssuedLease second = Lease("fast");
  EXPECT_EQ(Deliver(first), Delivery::kAccepted) << "late by its lease, but first to arrive";
  EXPECT_EQ(Deliver(second), Delivery::kDuplicate);
  Train(0);
  EXPECT_EQ(Deliver(second), Delivery::kDuplicate);
  EXPECT_EQ(log_.size(), 1u);
}

TEST_F(DispatcherTest, FilteredGroupsAreReplacedUpToExactlyTheBatchSize) {
  const auto filter = [](const Group& group) -> std::optional<OrdinalEnd> {
    const double sum = group.rows[0].reward + group.rows[1].reward;
    if (sum == 0) return OrdinalEnd::kAllWrong;
    if (sum == 2) return OrdinalEnd::kAllRight;
    return std::nullopt;
  };
  Start({.groups_per_step = 2, .max_prompts_per_batch = 10}, filter);
  const IssuedLease a = Lease(), b = Lease();
  dispatcher_->Deliver("w", Answer(a, 0, 1, 1));
  dispatcher_->Deliver("w", Answer(b, 0, 0, 0));
  const IssuedLease c = Lease(), d = Lease();
  EXPECT_TRUE(NothingToLease());
  Deliver(d);
  Deliver(c);
  auto batch = dispatcher_->TakeBatch(0, absl::Now() + absl::Seconds(10));
  COHORT_ASSERT_OK(batch);
  EXPECT_EQ(batch->groups.size(), 2u);
  EXPECT_EQ(batch->prompts_drawn, 4);
  EXPECT_EQ(batch->dropped.at("all_right"), 1);
  EXPECT_EQ(batch->dropped.at("all_wrong"), 1);
}

TEST_F(DispatcherTest, TokensOfFilteredGroupsCountForTheBatchTheyWereSampledFor) {
  const auto filter = [](const Group& group) -> std::optional<OrdinalEnd> {
    return group.rows[0].reward == 0 ? std::optional(OrdinalEnd::kAllWrong) : std::nullopt;
  };
  Start({.groups_per_step = 1, .max_staleness = 2}, filter);
  const IssuedLease a = Lease(), b = Lease(), c = Lease();
  dispatcher_->Deliver("w", Answer(a, 0, 0));  // four tokens each
  dispatcher_->Deliver("w", Answer(c, 0, 0));
  Deliver(b);
  auto batch = dispatcher_->TakeBatch(0, absl::Now() + absl::Seconds(10));
  COHORT_ASSERT_OK(batch);
  EXPECT_EQ(batch->sampled_tokens, 8);
  EXPECT_EQ(dispatcher_->DroppedTokens(), 4) << "c belongs to the next batch";
  Deliver(Lease());
  batch = dispatcher_->TakeBatch(1, absl::Now() + absl::Seconds(10));
  COHORT_ASSERT_OK(batch);
  EXPECT_EQ(batch->sampled_tokens, 8);
  EXPECT_EQ(dispatcher_->DroppedTokens(), 0);
}

TEST_F(DispatcherTest, ABrokenRewardDoesNotHoldUpTheStep) {
  Start({.groups_per_step = 2}, [](const Group&) { return OrdinalEnd::kUnscorable; });
  for (int i = 0; i < 4; ++i) {
    Group group = Answer(Lease(), 0);
    for (Row& row : group.rows) row.unscorable = true;
    dispatcher_->Deliver("w", group);
  }
  auto batch = dispatcher_->TakeBatch(0, absl::Now() + absl::Seconds(10));
  COHORT_ASSERT_OK(batch);
  EXPECT_EQ(batch->groups.size(), 2u);
  EXPECT_EQ(batch->dropped.at("unscorable"), 2);
}

TEST_F(DispatcherTest, WhatIsOnItsWayMayStillFillABatchWhosePromptsAreUsedUp) {
  const auto filter = [](const Group& group) -> std::optional<OrdinalEnd> {
    if (group.rows[0].reward == 0) return OrdinalEnd::kAllWrong;
    return std::nullopt;
  };
  Start({.groups_per_step = 2, .max_staleness = 1, .max_prompts_per_batch = 2}, filter);
  const IssuedLease a = Lease(), b = Lease(), c = Lease(), d = Lease();
  dispatcher_->Deliver("w", Answer(a, 0, 0, 0));
  dispatcher_->Deliver("w", Answer(b, 0, 0, 0));
  EXPECT_TRUE(NothingToLease()) << "no further prompt is asked for";
  Deliver(c);
  EXPECT_THAT(dispatcher_->TakeBatch(0, absl::Now() + absl::Seconds(10)),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("only 1 of 2 groups")));
  EXPECT_FALSE(dispatcher_->WaitClosed(absl::Now()));
  Deliver(d);
  EXPECT_THAT(Take(0), ElementsAre(c.item.ordinal, d.item.ordinal));
  dispatcher_->Close();
  EXPECT_TRUE(dispatcher_->WaitClosed(absl::Now() + absl::Seconds(10)));
}

TEST_F(DispatcherTest, OneDegenerateGroupTooManyIsReplaced) {
  Dispatcher::Options options{.groups_per_step = 3, .max_prompts_per_batch = 6};
  options.limit_field = "algorithm.filter.prompts.min_valid.max_tries";
  options.max_degenerate = 1;
  options.degenerate = [](const Group& group) -> std::optional<OrdinalEnd> {
    if (group.rows[0].reward != group.rows[1].reward) return std::nullopt;
    return OrdinalEnd::kAllRight;
  };
  Start(options);
  const IssuedLease a = Lease(), b = Lease(), c = Lease();
  dispatcher_->Deliver("w", Answer(a, 0, 1, 1));
  dispatcher_->Deliver("w", Answer(b, 0, 1, 1));
  Deliver(c);
  EXPECT_THAT(dispatcher_->TakeBatch(0, absl::Now()),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("2 of 3 groups")));
  const IssuedLease d = Lease();
  Deliver(d);
  EXPECT_THAT(Take(0), ElementsAre(a.item.ordinal, c.item.ordinal, d.item.ordinal));
  EXPECT_EQ(dispatcher_->Counts().ended[static_cast<size_t>(OrdinalEnd::kAllRight)], 1u);
}

TEST_F(DispatcherTest, NewLeasesFollowTheLengthScheduleOfTheStepTheyAreFor) {
  Dispatcher::Options options{.groups_per_step = 1, .max_staleness = 2};
  options.max_new_tokens = [](int64_t step) { return step < 1 ? 4 : 3; };
  Start(options);
  const IssuedLease first = Lease(), second = Lease();
  EXPECT_EQ(first.item.plans[1].max_new_tokens, 4);
  EXPECT_EQ(second.item.plans[0].max_new_tokens, 3);
  EXPECT_EQ(Deliver(second), Delivery::kAccepted);
}

TEST_F(DispatcherTest, AGroupOlderThanTheBoundEndsStaleAndIsReplaced) {
  Start({.groups_per_step = 1, .max_staleness = 1});
  const IssuedLease a = Lease(), b = Lease();
  Deliver(a);
  Train(0);
  dispatcher_->Deliver("w", Answer(b, 0));
  // Trained two versions later than it was sampled, where one is allowed.
  EXPECT_THAT(dispatcher_->TakeBatch(2, absl::Now()),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("0 of 1 groups")));
  EXPECT_EQ(dispatcher_->Counts().ended[static_cast<size_t>(OrdinalEnd::kStale)], 1u);
}

TEST_F(DispatcherTest, EvaluationComesBeforeTrainingAndKeepsItsOrder) {
  Start({.groups_per_step = 1});
  dispatcher_->BeginEval({MakeItem(10), MakeItem(11)});
  const IssuedLease a = Lease(), b = Lease("v");
  EXPECT_EQ(a.item.purpose, Purpose::kEval);
  EXPECT_EQ(Lease().item.purpose, Purpose::kTrain);
  EXPECT_EQ(Deliver(b), Delivery::kAccepted);
  EXPECT_EQ(Deliver(b), Delivery::kDuplicate);
  dispatcher_->WorkerGone("w");
  const IssuedLease again = Lease();
  EXPECT_EQ(again.group_id, a.group_id);
  EXPECT_EQ(Deliver(again), Delivery::kAccepted);
  COHORT_ASSERT_OK_AND_ASSIGN(std::vector<Group> groups,
                              dispatcher_->WaitEval(absl::Now() + absl::Seconds(10)));
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0].ordinal, 10u);
  EXPECT_EQ(groups[1].ordinal, 11u);
  EXPECT_EQ(log_.size(), 2u) << "what is accepted is in the log";
}

TEST_F(DispatcherTest, WithoutTrainingOnlyTheEvaluationIsLeased) {
  Start({.groups_per_step = 1, .train = false});
  EXPECT_TRUE(NothingToLease());
  dispatcher_->BeginEval({MakeItem(10)});
  EXPECT_EQ(Deliver(Lease()), Delivery::kAccepted);
  EXPECT_TRUE(NothingToLease());
  COHORT_EXPECT_OK(dispatcher_->WaitEval(absl::Now() + absl::Seconds(10)).status());
}

TEST_F(DispatcherTest, AResumedRunDispatchesItsHolesFirst) {
  Start({.groups_per_step = 2, .max_staleness = 1}, nullptr, {.next_ordinal = 9, .holes = {4, 6}});
  std::vector<uint64_t> ordinals;
  for (int i = 0; i < 4; ++i) ordinals.push_back(Lease().item.ordinal);
  EXPECT_THAT(ordinals, ElementsAre(4, 6, 9, 10));
}

TEST_F(DispatcherTest, TheCursorNamesWhateverIsNotEnded) {
  Start({.groups_per_step = 1, .max_staleness = 2});
  const IssuedLease a = Lease(), b = Lease();
  Lease();
  Deliver(a);
  Deliver(b);
  Take(0);
  DispatchCursor cursor = dispatcher_->Cursor();
  EXPECT_EQ(cursor.next_ordinal, 3u);
  EXPECT_THAT(cursor.holes, ElementsAre(0, 1, 2));
  dispatcher_->MarkTrained({0});
  EXPECT_THAT(dispatcher_->Cursor().holes, ElementsAre(1, 2));
}

TEST_F(DispatcherTest, TheLastStepBoundsWhatIsIssued) {
  Start({.groups_per_step = 1, .max_staleness = 3, .last_step = 2});
  Lease();
  Lease();
  EXPECT_TRUE(NothingToLease()) << "two steps need two groups";
}

TEST_F(DispatcherTest, ARunThatMakesAllItsStepsLeavesNoGroupOver) {
  const auto filter = [](const Group& group) -> std::optional<OrdinalEnd> {
    return group.ordinal % 3 == 0 ? std::optional(OrdinalEnd::kAllWrong) : std::nullopt;
  };
  Start({.groups_per_step = 2, .max_staleness = 2, .max_prompts_per_batch = 20, .last_step = 4},
        filter);
  // Every group that may be asked for is, and is there before the learner looks.
  const auto sample_all = [&](int64_t version) {
    while (true) {
      const auto lease = dispatcher_->NextLease("w");
      ASSERT_THAT(lease, IsOk());
      if (!lease->has_value()) return;
      ASSERT_EQ(Deliver(**lease, version), Delivery::kAccepted);
    }
  };
  for (int64_t step = 0; step < 4; ++step) {
    sample_all(step);
    Train(step);
  }
  sample_all(4);
  const LedgerCounts counts = dispatcher_->Counts();
  EXPECT_EQ(counts.ended[static_cast<size_t>(OrdinalEnd::kTrained)], 8u);
  EXPECT_EQ(counts.in_flight + counts.buffered + counts.training, 0u);
  dispatcher_->Close();
  EXPECT_EQ(dispatcher_->Counts().ended[static_cast<size_t>(OrdinalEnd::kAbandoned)], 0u);
}

TEST_F(DispatcherTest, TheLedgerBalancesAtEveryStationOfAGroup) {
  Start({.groups_per_step = 1, .max_staleness = 2});
  const auto stations = [this] {
    const LedgerCounts counts = dispatcher_->Counts();
    EXPECT_EQ(counts.Imbalance(), 0);
    return std::vector<uint64_t>{counts.in_flight, counts.buffered, counts.training,
                                 counts.TotalEnded()};
  };
  EXPECT_THAT(stations(), ElementsAre(0, 0, 0, 0));
  const IssuedLease a = Lease(), b = Lease();
  EXPECT_THAT(stations(), ElementsAre(2, 0, 0, 0));
  Deliver(a);
  EXPECT_THAT(stations(), ElementsAre(1, 1, 0, 0));
  Take(0);
  EXPECT_THAT(stations(), ElementsAre(1, 0, 1, 0));
  dispatcher_->Close();  // the step that has a group may still finish
  EXPECT_THAT(stations(), ElementsAre(0, 0, 1, 1));
  dispatcher_->MarkTrained({a.item.ordinal});
  EXPECT_THAT(stations(), ElementsAre(0, 0, 0, 2));
}

TEST_F(DispatcherTest, SaysHowLongEachGroupWasBuffered) {
  Start({.groups_per_step = 2});
  const IssuedLease a = Lease(), b = Lease();
  Deliver(b);
  clock_.Advance(absl::Seconds(3));
  Deliver(a);
  clock_.Advance(absl::Seconds(1));
  auto batch = dispatcher_->TakeBatch(0, absl::Now() + absl::Seconds(10));
  COHORT_ASSERT_OK(batch);
  EXPECT_THAT(batch->queued, ElementsAre(absl::Seconds(1), absl::Seconds(4)));
}

TEST_F(DispatcherTest, CloseWakesTheLearnerAndAbandonsTheRest) {
  Start({.groups_per_step = 2});
  const IssuedLease lease = Lease();
  std::thread closer([&] { dispatcher_->Close(); });
  EXPECT_THAT(dispatcher_->TakeBatch(0, absl::InfiniteFuture()),
              StatusIs(absl::StatusCode::kCancelled, HasSubstr("")));
  closer.join();
  EXPECT_TRUE(NothingToLease());
  EXPECT_EQ(Deliver(lease), Delivery::kLate);
  EXPECT_EQ(dispatcher_->Counts().ended[static_cast<size_t>(OrdinalEnd::kAbandoned)], 1u);
}

TEST_F(DispatcherTest, WhatARunLeftWhenItWasClosedIsDispatchedAgainByTheNextOne) {
  Start({.groups_per_step = 1, .max_staleness = 2});
  const IssuedLease trained = Lease(), buffered = Lease();
  Lease();
  Deliver(trained);
  EXPECT_THAT(Take(0), ElementsAre(0));
  Deliver(buffered);
  dispatcher_->Close();
  EXPECT_THAT(dispatcher_->Cursor().holes, ElementsAre(0, 1, 2));
  dispatcher_->MarkTrained({0});  // its step was already on the way
  EXPECT_THAT(dispatcher_->Cursor().holes, ElementsAre(1, 2));
  EXPECT_EQ(dispatcher_->Counts().ended[static_cast<size_t>(OrdinalEnd::kTrained)], 1u);
}

TEST_F(DispatcherTest, ManyWorkersThatFailAtRandomLoseAndRepeatNothing) {
  constexpr int kSteps = 60;
  constexpr int kGroups = 4;
  Start({.groups_per_step = kGroups,
         .max_staleness = 2,
         .max_attempts = 1 << 30,
         .max_losses = 1 << 30,
         .last_step = kSteps});
  std::atomic<bool> done{false};
  std::atomic<int64_t> version{0};
  std::vector<std::thread> workers;
  for (int w = 0; w < 4; ++w) {
    workers.emplace_back([&, w] {
      const std::string name = absl::StrCat("w", w);
      CounterRng rng(17, static_cast<uint64_t>(w));
      while (!done) {
        auto lease = dispatcher_->NextLease(name);
        if (!lease.ok() || !lease->has_value()) {
          std::this_thread::yield();
          continue;
        }
        switch (rng.Below(4)) {
          case 0:
            dispatcher_->WorkerGone(name);
            break;
          case 1:
            dispatcher_->FailLease((*lease)->group_id, (*lease)->lease_id, false, "test");
            break;
          default:
            dispatcher_->Deliver(name, Answer(**lease, version.load()));
        }
      }
    });
  }
  std::vector<uint64_t> trained;
  for (int step = 0; step < kSteps; ++step) {
    auto batch = dispatcher_->TakeBatch(step, absl::Now() + absl::Seconds(60));
    ASSERT_THAT(batch, IsOk());
    std::vector<uint64_t> ordinals;
    for (const Group& group : batch->groups) ordinals.push_back(group.ordinal);
    trained.insert(trained.end(), ordinals.begin(), ordinals.end());
    dispatcher_->MarkTrained(ordinals);
    dispatcher_->SetVersion(step + 1);
    version = step + 1;
  }
  done = true;
  for (std::thread& worker : workers) worker.join();
  EXPECT_EQ(trained.size(), static_cast<size_t>(kSteps * kGroups));
  EXPECT_TRUE(std::is_sorted(trained.begin(), trained.end()));
  EXPECT_EQ(std::adjacent_find(trained.begin(), trained.end()), trained.end()) << "trained twice";
}

}  // namespace
}  // namespace cohort

// What the dispatcher does when prompts, workers, rewards or the disk fail it.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "absl/time/clock.h"
#include "common/base/status_matchers.h"
#include "common/dispatch/dispatcher.h"
#include "common/dispatch/dispatcher_testing.h"

namespace cohort {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST_F(DispatcherTest, ALostWorkersLeasesGoToAnotherWithTheSameGroupId) {
  Start({.groups_per_step = 1});
  const IssuedLease first = Lease("dead");
  dispatcher_->WorkerGone("dead");
  const IssuedLease second = Lease("alive");
  EXPECT_EQ(first.group_id, second.group_id);
  EXPECT_NE(first.lease_id, second.lease_id);
  EXPECT_EQ(dispatcher_->Counts().reissued, 1u);
}

TEST_F(DispatcherTest, DynamicSamplingStopsAtItsBoundWithANamedAlert) {
  Start({.groups_per_step = 2, .max_prompts_per_batch = 3},
        [](const Group&) { return OrdinalEnd::kAllWrong; });
  for (int i = 0; i < 2; ++i) Deliver(Lease());
  EXPECT_TRUE(NothingToLease()) << "two more would be a fourth prompt";
  EXPECT_THAT(
      dispatcher_->TakeBatch(0, absl::Now() + absl::Seconds(10)),
      StatusIs(absl::StatusCode::kResourceExhausted,
               AllOf(HasSubstr("ALERT dynamic_sampling_exhausted"), HasSubstr("all_wrong 2"))));
}

TEST_F(DispatcherTest, MalformedGroupsAreRefusedAndLeasedAgain) {
  struct Case {
    std::function<void(Group&)> damage;
    const char* says;
  };
  const std::vector<Case> cases = {
      {[](Group& g) { g.rows.pop_back(); }, "1 rows where 2 were planned"},
      {[](Group& g) { g.prompt.push_back(3); }, "its prompt is not the leased one"},
      {[](Group& g) { g.rows[1].logprobs.pop_back(); }, "arrays of different lengths"},
      {[](Group& g) { g.rows[0].logprobs[0] = std::nanf(""); }, "a log-prob is not finite"},
      {[](Group& g) { g.rows[0].reward = std::numeric_limits<double>::infinity(); },
       "its reward is not finite"},
      {[](Group& g) { g.rows[0].rewards.clear(); }, "0 rewards for 1 components"},
      {[](Group& g) { g.rows[0].parent = 5; }, "parent 5"},
      {[](Group& g) { g.rows[1].tokens[1] = -1; }, "token -1 is not in the vocabulary"},
      {[](Group& g) { g.rows[1].tokens[1] = 32; }, "token 32 is not in the vocabulary of 32"},
      {[](Group& g) { g.temperature = 0.5f; }, "temperature 0.5, planned 1"},
      {[](Group& g) { g.rows[0].versions[1] = 1; }, "weight version 1, expected 0 to 0"},
      {[](Group& g) { g.end_version = 7; }, "weight versions 0 to 7"},
      {[](Group& g) { g.start_version = -1; }, "weight versions -1 to 0"},
      {[](Group& g) { g.rows[0].entropy = {0.1f, std::nanf("")}; }, "an entropy is not finite"},
      {[](Group& g) {
         Row& row = g.rows[0];
         row.tokens.resize(9);
         row.logprobs.resize(9);
         row.mask.resize(9);
         row.versions.resize(9);
       },
       "9 tokens where the plan allows 4"},
  };
  Start({.groups_per_step = 1, .max_attempts = 100, .vocab_size = 32});
  for (const Case& c : cases) {
    const IssuedLease lease = Lease();
    Group group = Answer(lease, 0);
    c.damage(group);
    const auto result = dispatcher_->Deliver("w", std::move(group));
    EXPECT_EQ(result.outcome, Delivery::kMalformed) << c.says;
    EXPECT_THAT(result.detail, HasSubstr(c.says));
    EXPECT_EQ(lease.item.ordinal, 0u) << "the same prompt is leased again";
  }
}

TEST_F(DispatcherTest, AnOrdinalThatKeepsFailingEndsAsInfraFailed) {
  Start({.groups_per_step = 1, .max_attempts = 2});
  for (int attempt = 0; attempt < 2; ++attempt) {
    const IssuedLease lease = Lease();
    EXPECT_EQ(lease.item.ordinal, 0u);
    dispatcher_->FailLease(lease.group_id, lease.lease_id, false, "out of memory");
  }
  EXPECT_EQ(Lease().item.ordinal, 1u);
  EXPECT_EQ(dispatcher_->Counts().ended[static_cast<size_t>(OrdinalEnd::kInfraFailed)], 1u);
}

TEST_F(DispatcherTest, AnOrdinalThatEndsEveryWorkerItMeetsIsGivenUp) {
  const std::vector<std::function<void(const IssuedLease&)>> losses = {
      [&](const IssuedLease&) { dispatcher_->WorkerGone("w"); },
      [&](const IssuedLease&) {
        clock_.Advance(absl::Minutes(11));
        dispatcher_->ExpireLeases();
      },
      [&](const IssuedLease& lease) {
        dispatcher_->CountBadDelivery(lease.group_id, "w", Delivery::kHashMismatch);
      },
  };
  for (const auto& lose : losses) {
    Start({.groups_per_step = 1, .max_losses = 3});
    for (int i = 0; i < 3; ++i) {
      const IssuedLease lease = Lease();
      EXPECT_EQ(lease.item.ordinal, 0u);
      lose(lease);
    }
    EXPECT_EQ(Lease().item.ordinal, 1u);
    EXPECT_EQ(dispatcher_->Counts().ended[static_cast<size_t>(OrdinalEnd::kInfraFailed)], 1u);
  }
}

TEST_F(DispatcherTest, AnEvaluationPromptThatEndsEveryWorkerItMeetsIsGivenUp) {
  Start({.groups_per_step = 1, .max_losses = 2});
  dispatcher_->BeginEval({MakeItem(10)});
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(Lease().item.ordinal, 10u);
    dispatcher_->WorkerGone("w");
  }
  COHORT_ASSERT_OK_AND_ASSIGN(std::vector<Group> groups, dispatcher_->WaitEval(absl::Now()));
  ASSERT_EQ(groups.size(), 1u);
  EXPECT_TRUE(groups[0].rows.empty());
}

TEST_F(DispatcherTest, ARunWhoseWorkersAllFailStopsAtItsBoundAndSaysWhy) {
  Start({.groups_per_step = 2, .max_prompts_per_batch = 6, .max_attempts = 1});
  const auto fail = [&] {
    const IssuedLease lease = Lease();
    dispatcher_->FailLease(lease.group_id, lease.lease_id, false, "out of memory");
  };
  for (int i = 0; i < 4; ++i) fail();
  EXPECT_THAT(dispatcher_->TakeBatch(0, absl::Now()),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       AllOf(HasSubstr("infra_failed 4"), HasSubstr("out of memory"))));
  fail();
  EXPECT_THAT(dispatcher_->TakeBatch(0, absl::InfiniteFuture()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("ALERT no_trainable_groups"), HasSubstr("infra_failed 5"),
                             HasSubstr("out of memory"))));
}

TEST_F(DispatcherTest, WhatEndsOnBehalfOfALaterBatchIsCountedThere) {
  Start({.groups_per_step = 2, .max_staleness = 1, .max_prompts_per_batch = 3},
        [](const Group& group) -> std::optional<OrdinalEnd> {
          if (group.ordinal == 2 || group.ordinal == 3) return OrdinalEnd::kAllWrong;
          return std::nullopt;
        });
  std::vector<IssuedLease> leases = {Lease(), Lease(), Lease(), Lease()};
  Deliver(leases[2]);
  Deliver(leases[3]);
  EXPECT_THAT(dispatcher_->TakeBatch(0, absl::Now()),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("all_wrong 2")));
  Deliver(leases[0]);
  Deliver(leases[1]);
  auto batch = dispatcher_->TakeBatch(0, absl::Now());
  COHORT_ASSERT_OK(batch);
  EXPECT_EQ(batch->prompts_drawn, 2);
  EXPECT_TRUE(batch->dropped.empty());
  EXPECT_THAT(dispatcher_->TakeBatch(1, absl::Now()),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("all_wrong 2")));
}

TEST_F(DispatcherTest, AGroupThatCouldNotBeLoggedIsLeasedAgainAtOnce) {
  class FullDisk final : public GroupLog {
   public:
    absl::Status Append(const Group&) override { return absl::DataLossError("no space left"); }
    bool Contains(GroupId) const override { return false; }
    absl::Status AppendStep(const StepRecord&) override { return absl::OkStatus(); }
  } full;
  dispatcher_ = std::make_unique<Dispatcher>(
      Dispatcher::Options{.groups_per_step = 1}, [](uint64_t ordinal) { return MakeItem(ordinal); },
      nullptr, &full, &clock_);
  const IssuedLease lease = Lease();
  const auto result = dispatcher_->Deliver("w", Answer(lease, 0));
  EXPECT_EQ(result.outcome, Delivery::kLate);
  EXPECT_THAT(result.detail, HasSubstr("no space left"));
  EXPECT_EQ(Lease().group_id, lease.group_id);
}

TEST_F(DispatcherTest, AMalformedCopyOfALostWorkerDoesNotDisturbTheHolder) {
  Start({.groups_per_step = 1, .max_attempts = 1});
  dispatcher_->BeginEval({MakeItem(10)});
  Lease("lost");
  dispatcher_->WorkerGone("lost");
  const IssuedLease held = Lease("w");
  Group damaged = Answer(held, 0);
  damaged.rows.pop_back();
  EXPECT_EQ(dispatcher_->Deliver("lost", std::move(damaged)).outcome, Delivery::kMalformed);
  EXPECT_EQ(Lease().item.purpose, Purpose::kTrain) << "the evaluation prompt is still held";
  EXPECT_EQ(Deliver(held), Delivery::kAccepted);
}

TEST_F(DispatcherTest, ASourceOfTooLongPromptsEndsTheRun) {
  Start({.groups_per_step = 1}, nullptr, {}, [](uint64_t) -> absl::StatusOr<PromptItem> {
    return absl::OutOfRangeError("900 tokens, 512 fit");
  });
  EXPECT_THAT(dispatcher_->NextLease("w"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("1000 prompts in a row"), HasSubstr("900 tokens"))));
}

TEST_F(DispatcherTest, TooLongPromptsAreSkippedAndCounted) {
  Start({.groups_per_step = 1}, nullptr, {}, [](uint64_t ordinal) -> absl::StatusOr<PromptItem> {
    if (ordinal < 3) return absl::OutOfRangeError("900 tokens, 512 fit");
    return MakeItem(ordinal);
  });
  EXPECT_EQ(Lease().item.ordinal, 3u);
  EXPECT_EQ(dispatcher_->Counts().ended[static_cast<size_t>(OrdinalEnd::kPromptTooLong)], 3u);
}

TEST_F(DispatcherTest, ABrokenPromptSourceEndsTheWait) {
  Start({.groups_per_step = 1}, nullptr, {},
        [](uint64_t) -> absl::StatusOr<PromptItem> { return absl::NotFoundError("file gone"); });
  EXPECT_THAT(dispatcher_->NextLease("w"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("file")));
  EXPECT_THAT(dispatcher_->TakeBatch(0, absl::InfiniteFuture()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("file")));
  EXPECT_EQ(dispatcher_->Cursor().next_ordinal, 0u) << "asked for again when the run is resumed";
}

TEST_F(DispatcherTest, GroupsWithoutAnyVerdictEndUnscorable) {
  Start({.groups_per_step = 1});
  const IssuedLease lease = Lease();
  Group group = Answer(lease, 0);
  for (Row& row : group.rows) row.unscorable = true;
  EXPECT_EQ(dispatcher_->Deliver("w", group).outcome, Delivery::kAccepted);
  EXPECT_EQ(dispatcher_->Counts().ended[static_cast<size_t>(OrdinalEnd::kUnscorable)], 1u);
  EXPECT_EQ(Lease().item.ordinal, 1u);
}

}  // namespace
}  // namespace cohort

// Prompts, answers and the fixture of the dispatcher's tests.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "common/base/status_matchers.h"
#include "common/dispatch/dispatcher.h"

namespace cohort {

inline PromptItem MakeItem(uint64_t ordinal) {
  PromptItem item;
  item.ordinal = ordinal;
  item.source = "test";
  item.prompt_ids = {static_cast<int32_t>(ordinal), 7};
  item.plans.resize(2);
  for (SamplePlan& plan : item.plans) plan.max_new_tokens = 4;
  return item;
}

inline Group Answer(const IssuedLease& lease, int64_t version, double first = 1,
                    double second = 0) {
  Group group;
  group.id = lease.group_id;
  group.ordinal = lease.item.ordinal;
  group.purpose = lease.item.purpose;
  group.prompt = lease.item.prompt_ids;
  group.reward_names = {"rule"};
  group.start_version = group.end_version = version;
  for (double reward : {first, second}) {
    Row row;
    row.tokens = {1, 2};
    row.logprobs = {-0.5f, -0.25f};
    row.mask = {1, 1};
    row.versions = {version, version};
    row.reward = reward;
    row.rewards = {static_cast<float>(reward)};
    group.rows.push_back(row);
  }
  return group;
}

class DispatcherTest : public testing::Test {
 protected:
  void Start(
      Dispatcher::Options options, GroupFilter filter = nullptr, DispatchCursor cursor = {},
      PromptFeed feed = [](uint64_t ordinal) { return MakeItem(ordinal); }) {
    options_ = options;
    dispatcher_ = std::make_unique<Dispatcher>(options, std::move(feed), std::move(filter), &log_,
                                               &clock_, std::move(cursor));
  }
  IssuedLease Lease(const std::string& worker = "w") {
    auto lease = dispatcher_->NextLease(worker);
    EXPECT_TRUE(lease.ok() && lease->has_value());
    return **lease;
  }
  bool NothingToLease(const std::string& worker = "w") {
    auto lease = dispatcher_->NextLease(worker);
    return lease.ok() && !lease->has_value();
  }
  Delivery Deliver(const IssuedLease& lease, int64_t version = 0) {
    return dispatcher_->Deliver("w", Answer(lease, version)).outcome;
  }
  std::vector<uint64_t> Take(int64_t step) {
    auto batch = dispatcher_->TakeBatch(step, absl::Now() + absl::Seconds(10));
    EXPECT_THAT(batch, IsOk());
    std::vector<uint64_t> ordinals;
    if (batch.ok()) {
      for (const Group& group : batch->groups) ordinals.push_back(group.ordinal);
    }
    return ordinals;
  }
  void Train(int64_t step) {
    dispatcher_->MarkTrained(Take(step));
    dispatcher_->SetVersion(step + 1);
  }
  void TearDown() override { EXPECT_EQ(dispatcher_->Counts().Imbalance(), 0); }

  Dispatcher::Options options_;
  FakeClock clock_;
  MemoryGroupLog log_;
  std::unique_ptr<Dispatcher> dispatcher_;
};

}  // namespace cohort

#include "common/dispatch/group_log.h"

#include <gtest/gtest.h>

#include "common/base/status_matchers.h"

namespace cohort {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Group WithId(GroupId id) {
  Group group;
  group.id = id;
  return group;
}

StepRecord Step(int64_t step) {
  StepRecord record;
  record.step = step;
  record.groups = {7, 9};
  record.updates = 2 * step;
  record.cursor = {.next_ordinal = 12, .holes = {10, 11}};
  record.weights_hash = "ab";
  return record;
}

TEST(MemoryGroupLogTest, TheFirstCopyOfAGroupCounts) {
  MemoryGroupLog log;
  COHORT_EXPECT_OK(log.Append(WithId(7)));
  EXPECT_THAT(log.Append(WithId(7)), StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("7")));
  EXPECT_TRUE(log.Contains(7));
  EXPECT_FALSE(log.Contains(8));
  EXPECT_EQ(log.size(), 1u);
}

TEST(MemoryGroupLogTest, ForgetsTheOldestIdsBeyondItsBound) {
  MemoryGroupLog log(/*ids_kept=*/2);
  for (const GroupId id : {1u, 2u, 3u}) COHORT_EXPECT_OK(log.Append(WithId(id)));
  EXPECT_FALSE(log.Contains(1));
  EXPECT_TRUE(log.Contains(2) && log.Contains(3));
  EXPECT_EQ(log.size(), 2u);
}

TEST(MemoryGroupLogTest, KeepsTheRecordOfTheNewestStep) {
  MemoryGroupLog log;
  EXPECT_FALSE(log.newest_step().has_value());
  COHORT_EXPECT_OK(log.AppendStep(Step(5)));  // the first one of a resumed run
  COHORT_EXPECT_OK(log.AppendStep(Step(6)));
  const std::optional<StepRecord> newest = log.newest_step();
  ASSERT_TRUE(newest.has_value());
  EXPECT_EQ(newest->step, 6);
  EXPECT_THAT(newest->groups, ElementsAre(7, 9));
  EXPECT_EQ(newest->updates, 12);
  EXPECT_EQ(newest->cursor.next_ordinal, 12u);
  EXPECT_THAT(newest->cursor.holes, ElementsAre(10, 11));
  EXPECT_EQ(newest->weights_hash, "ab");
}

TEST(MemoryGroupLogTest, AStepThatIsSkippedOrMadeTwiceIsRefused) {
  MemoryGroupLog log;
  COHORT_EXPECT_OK(log.AppendStep(Step(1)));
  for (int64_t step : {1, 3}) {
    EXPECT_THAT(log.AppendStep(Step(step)),
                StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("expected step 2")));
  }
  COHORT_EXPECT_OK(log.AppendStep(Step(2)));
}

}  // namespace
}  // namespace cohort

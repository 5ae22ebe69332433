// What a batch says about itself before anything is learned from it.
#include "common/train/step_report.h"

#include <cmath>
#include <optional>
#include <vector>

#include "common/rl/signals.h"
#include "common/train/train_runs.h"

namespace cohort {
namespace {

// One group per requested length, 0 for none, with responses of the lengths given.
struct Requests {
  explicit Requests(const std::vector<std::pair<int, std::vector<int>>>& lengths) {
    for (const auto& [asked, used] : lengths) {
      Group group;
      group.prompt = {1};
      group.reward_names = {"task"};
      if (asked > 0) group.signals[kTargetTokens] = asked;
      for (const int tokens : used) {
        Row row;
        row.tokens.assign(static_cast<size_t>(tokens), 5);
        row.logprobs.assign(static_cast<size_t>(tokens), -1);
        row.mask.assign(static_cast<size_t>(tokens), 1);
        row.versions.assign(static_cast<size_t>(tokens), 0);
        row.rewards = {0};
        group.rows.push_back(row);
      }
      groups.push_back(group);
    }
  }

  std::optional<LengthRequestReport> Describe() const {
    StepReport report;
    DescribeGroups(*PrepareBatch(groups, AlgorithmSpec(), 0), RewardScaleSpec(), 0, &report);
    return report.length_request;
  }

  std::vector<Group> groups;
};

TEST(LengthRequest, IsComparedWithWhatEveryResponseUsed) {
  const auto report = Requests({{4, {3, 5}}, {8, {6, 10}}}).Describe();
  ASSERT_TRUE(report.has_value());
  EXPECT_NEAR(report->correlation, 0.7844645405527362, 1e-12);  // numpy.corrcoef
  EXPECT_NEAR(report->relative_error, 0.25, 1e-12);
}

TEST(LengthRequest, IsMetByResponsesOfThatLength) {
  const auto report = Requests({{4, {4, 4}}, {8, {8, 8}}}).Describe();
  ASSERT_TRUE(report.has_value());
  EXPECT_NEAR(report->correlation, 1, 1e-12);
  EXPECT_EQ(report->relative_error, 0);
}

TEST(LengthRequest, HasNoCorrelationWhereOneSideDoesNotVary) {
  const auto one_request = Requests({{4, {3, 5}}}).Describe();
  const auto one_length = Requests({{4, {6}}, {8, {6}}}).Describe();
  ASSERT_TRUE(one_request.has_value());
  ASSERT_TRUE(one_length.has_value());
  EXPECT_TRUE(std::isnan(one_request->correlation));
  EXPECT_TRUE(std::isnan(one_length->correlation));
  EXPECT_NEAR(one_length->relative_error, 0.375, 1e-12);
  const auto neither = Requests({{7, {10, 10, 10, 10, 10, 10}}}).Describe();
  ASSERT_TRUE(neither.has_value());
  EXPECT_TRUE(std::isnan(neither->correlation));
}

TEST(LengthRequest, LeavesOutRowsWithoutOneAndThoseThatWereCutShort) {
  EXPECT_FALSE(Requests({{0, {3, 5}}}).Describe().has_value());
  Requests requests({{0, {30}}, {4, {4, 40}}, {8, {8}}});
  requests.groups[1].rows[1].finish = FinishReason::kAborted;
  const auto report = requests.Describe();
  ASSERT_TRUE(report.has_value());
  EXPECT_NEAR(report->correlation, 1, 1e-12);
  EXPECT_EQ(report->relative_error, 0);
}

TEST(StepReport, SaysThatABatchWasTooSmallToWhiten) {
  TrainerOptions options = TinyOptions();
  options.algorithm.advantage.baseline = AdvantageBaseline::kNone;
  options.algorithm.advantage.scale = AdvantageScale::kTokenWhiten;
  std::vector<Group> groups = MakeGroups(1, 2);
  const Outcome enough = TrainAlone(options, groups, at::kDouble, 1);
  EXPECT_FALSE(enough.report.whitening_skipped);
  EXPECT_EQ(enough.report.updates, 1);
  for (Row& row : groups[0].rows) std::fill(row.mask.begin(), row.mask.end(), uint8_t{0});
  groups[0].rows[0].mask[0] = 1;
  const Outcome one_token = TrainAlone(options, groups, at::kDouble, 1);
  EXPECT_TRUE(one_token.report.whitening_skipped);
  EXPECT_EQ(one_token.report.updates, 0);
}

TEST(RowAccuracy, IsOfTheFirstComponentThatIsARule) {
  Group group;
  Row row;
  row.rewards = {1, 0};
  for (const char* rule : {"task", "task:strict", "rule_math", "rule_math:strict", "code_tests",
                           "code_tests:hidden"}) {
    group.reward_names = {"contains:rule_", rule};
    EXPECT_EQ(RowAccuracy(group, row, RewardScaleSpec()), 0) << rule;
  }
  for (const char* other : {"format_boxed", "random", "tasks", "code_style", "my_rule_"}) {
    group.reward_names = {"contains", other};
    EXPECT_EQ(RowAccuracy(group, row, RewardScaleSpec()), 1) << other;
    EXPECT_TRUE(std::isnan(RowTruth(group, row, RewardScaleSpec()))) << other;
  }
}

}  // namespace
}  // namespace cohort

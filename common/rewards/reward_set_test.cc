#include "common/rewards/reward_set.h"

#include <limits>
#include <stdexcept>

#include "absl/synchronization/notification.h"
#include "common/base/status_matchers.h"

namespace cohort {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::shared_ptr<const RewardPrompt> MakePrompt(const std::string& reward = "rule_last_integer") {
  return *MakeRewardPrompt(R"({"answer": "7"})", reward, 11);
}

std::vector<RewardInput> Inputs(const std::vector<std::string>& completions,
                                const std::string& reward = "rule_last_integer") {
  std::vector<RewardInput> inputs;
  for (const std::string& completion : completions) {
    inputs.push_back(
        {MakePrompt(reward), completion, 1, false, static_cast<int32_t>(inputs.size())});
  }
  return inputs;
}

// Answers at once, except for the completions "wait", "nan" and "throw".
class OddVerifier final : public Verifier {
 public:
  explicit OddVerifier(std::shared_ptr<absl::Notification> release)
      : release_(std::move(release)) {}
  RewardVerdict Verify(const RewardInput& input) const override {
    if (input.completion == "wait") {
      release_->WaitForNotificationWithTimeout(absl::Seconds(30));
    }
    if (input.completion == "throw") throw std::runtime_error("broken");
    const double nan = std::numeric_limits<double>::quiet_NaN();
    return {Outcome::kValue, input.completion == "nan" ? nan : 1, ""};
  }

 private:
  std::shared_ptr<absl::Notification> release_;
};

TEST(RewardSetTest, ComponentsAddUpByWeight) {
  std::vector<RewardComponent> components = {{kTaskReward, 1, {}}, {"format_boxed", 0.5, {}}};
  COHORT_ASSERT_OK_AND_ASSIGN(const auto set, RewardSet::Create(components, 1));
  EXPECT_THAT(set->names(), ElementsAre("task", "format_boxed"));
  const auto rows = set->Score(Inputs({"7", "\\boxed{7}", "\\boxed{8}", "none"}));
  EXPECT_THAT(rows[1].components, ElementsAre(1, 1));
  EXPECT_EQ(rows[0].total, 1);
  EXPECT_EQ(rows[1].total, 1.5);
  EXPECT_EQ(rows[2].total, 0.5);
  EXPECT_EQ(rows[3].total, 0);
  EXPECT_TRUE(rows[1].correct);
  EXPECT_FALSE(rows[2].correct);
  EXPECT_FALSE(rows[3].unscorable);
}

TEST(RewardSetTest, TheDefaultIsTheTasksOwnReward) {
  COHORT_ASSERT_OK_AND_ASSIGN(const auto set, RewardSet::Create({}, 1));
  EXPECT_EQ(set->Score(Inputs({"7"}))[0].total, 1);
  const RowReward row = set->Score(Inputs({"7"}, "rule_nothing"))[0];
  EXPECT_TRUE(row.unscorable);
  EXPECT_THAT(row.note, HasSubstr("rule_nothing"));
}

// Scores by row: half of the row's number; no verdict for row 2.
class RowScorer final : public BatchScorer {
 public:
  std::vector<RewardVerdict> Score(absl::Span<const RewardInput> inputs) override {
    std::vector<RewardVerdict> verdicts;
    for (const RewardInput& input : inputs) {
      verdicts.push_back({Outcome::kValue, input.row / 2.0, "", "", {1.0 * input.row}});
      if (input.row == 2) verdicts.back() = {Outcome::kUnscorable, 0, "lost", cause::kMissing, {}};
    }
    return verdicts;
  }
  const std::vector<std::string>& PartNames() const override { return parts_; }

 private:
  const std::vector<std::string> parts_ = {"length"};
};

TEST(RewardSetTest, BatchScorersStandBesideVerifiersAndShowTheirParts) {
  COHORT_ASSERT_OK_AND_ASSIGN(
      const auto set,
      RewardSet::Create(
          {{"service", 2, {}, "style", std::make_shared<RowScorer>()}, {kTaskReward, 1, {}}}, 1));
  EXPECT_THAT(set->names(), ElementsAre("service:style", "service:style.length", "task"));
  const auto rows = set->Score(Inputs({"8", "7", "7"}));
  EXPECT_THAT(rows[1].components, ElementsAre(0.5, 1, 1));
  EXPECT_EQ(rows[1].total, 2);
  EXPECT_TRUE(rows[1].correct);
  EXPECT_TRUE(rows[2].unscorable);
  EXPECT_STREQ(rows[2].cause, cause::kMissing);
  EXPECT_THAT(rows[2].components, ElementsAre(0, 0, 1));
}

TEST(RewardSetTest, TwoComponentsOfOneNameNeedLabels) {
  VerifierOptions one, other;
  one.pattern = "a";
  other.pattern = "b";
  EXPECT_FALSE(RewardSet::Create({{"rule_regex", 1, one}, {"rule_regex", 1, other, ""}}, 1).ok());
  COHORT_ASSERT_OK_AND_ASSIGN(
      const auto set,
      RewardSet::Create({{"rule_regex", 1, one, "a"}, {"rule_regex", 1, other, "b", nullptr}}, 1));
  EXPECT_THAT(set->Score(Inputs({"xbx"}))[0].components, ElementsAre(0, 1));
}

TEST(RewardSetTest, UnknownComponentsAreRefused) {
  EXPECT_THAT(RewardSet::Create({{"rule_x", 1, {}}}, 1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("rule_x")));
}

TEST(EdgeCaseVerifierTimeOut, SlowNonFiniteAndFailingVerdictsAreUnscorableNeverZero) {
  const auto release = std::make_shared<absl::Notification>();
  RewardSetOptions options;
  options.timeout = absl::Milliseconds(50);
  const auto set =
      RewardSet::FromVerifiers({{"odd", 1, {}}}, {std::make_shared<OddVerifier>(release)}, options);
  const auto rows = set->Score(Inputs({"fine", "wait", "nan", "throw", "fine"}));
  EXPECT_EQ(rows[0].total, 1);
  EXPECT_EQ(rows[4].total, 1);  // the stuck thread was replaced
  EXPECT_THAT(rows[1].note, HasSubstr("no verdict within 50ms"));
  EXPECT_THAT(rows[2].note, HasSubstr("nan"));
  EXPECT_THAT(rows[3].note, HasSubstr("broken"));
  for (int i = 1; i <= 3; ++i) EXPECT_TRUE(rows[static_cast<size_t>(i)].unscorable);
  EXPECT_EQ(set->timeouts(), 1);
  EXPECT_EQ(set->non_finite(), 1);
  EXPECT_EQ(set->unscorable(), 3);
  release->Notify();
}

}  // namespace
}  // namespace cohort

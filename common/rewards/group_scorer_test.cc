#include "common/rewards/group_scorer.h"

#include <cmath>

#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/rewards/answer_text.h"
#include "common/rl/signals.h"
#include "common/text/json.h"
#include "common/text/tiny_tokenizer.h"

namespace cohort {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(AnswerTextTest, EveryVerifierReadsItsOwnForm) {
  EXPECT_EQ(ReadAnswer("rule_math", "so \\boxed{ 1/2 }"), "1/2");
  EXPECT_EQ(ReadAnswer("rule_math", "\\boxed{}"), std::nullopt);
  EXPECT_EQ(ReadAnswer("rule_gsm8k", "x\n#### 1,234"), "1234");
  EXPECT_EQ(ReadAnswer("rule_dapo", "Answer: $7$"), "7");
  EXPECT_EQ(ReadAnswer("rule_last_integer", "3 + 4 = 7."), "7");
  EXPECT_EQ(ReadAnswer("rule_last_integer", "seven"), std::nullopt);
  EXPECT_EQ(ReadAnswer("rule_sorting", "here:\n1, 2 3"), "1 2 3");
  EXPECT_EQ(ReadAnswer("rule_countdown", "<answer>8 * 3 = 24</answer>"), "8 * 3");
  EXPECT_EQ(ReadAnswer("mine", "one\ntwo \n"), "two");
}

TEST(AnswerTextTest, WhatIsWrittenIsReadAgain) {
  for (const char* verifier : {"rule_math", "rule_gsm8k", "rule_dapo", "rule_last_integer",
                               "rule_sorting", "rule_countdown", "mine"}) {
    EXPECT_EQ(ReadAnswer(verifier, WriteAnswer(verifier, "42")), "42") << verifier;
  }
}

TEST(AnswerTextTest, TokensThatTouchTheLastOccurrenceSpellIt) {
  const std::vector<size_t> ends = {1, 3, 4, 6};  // "1", "2 ", "1", "23"
  EXPECT_THAT(TokensSpelling("12 123", ends, "12"), ElementsAre(0, 0, 1, 1));
  EXPECT_THAT(TokensSpelling("12 123", ends, "3"), ElementsAre(0, 0, 0, 1));
  EXPECT_THAT(TokensSpelling("12 123", ends, "4"), testing::IsEmpty());
}

class GroupScorerTest : public testing::Test {
 protected:
  void SetUp() override {
    COHORT_ASSERT_OK(WriteTinyTokenizer(folder_.path()));
    COHORT_ASSERT_OK_AND_ASSIGN(tokenizer_, Tokenizer::Load(folder_.path()));
  }

  Group GroupOf(const std::vector<std::string>& texts, size_t votes = 0) {
    Group group;
    group.id = 9;
    for (const std::string& text : texts) {
      Row row;
      row.tokens = *tokenizer_->Encode(text, false);
      row.logprobs.assign(row.tokens.size(), -0.5f);
      row.mask.assign(row.tokens.size(), 1);
      row.versions.assign(row.tokens.size(), 0);
      for (size_t t = 0; t < row.tokens.size(); ++t) row.entropy.push_back(static_cast<float>(t));
      if (group.rows.size() + votes >= texts.size()) row.role = RowRole::kVote;
      group.rows.push_back(row);
    }
    return group;
  }

  Group Score(std::vector<ScoredComponent> components, Group group,
              const json& columns = {{"answer", "7"}}, bool cluster = false) {
    GroupScorerOptions options;
    options.run_seed = 1;
    options.cluster = cluster;
    const auto scorer = GroupScorer::Create(std::move(components), options);
    EXPECT_THAT(scorer, IsOk());
    const auto prompt = *MakeRewardPrompt(columns.dump(), "rule_last_integer", group.id);
    EXPECT_THAT((*scorer)->Score(*tokenizer_, prompt, &group), IsOk());
    return group;
  }

  static std::vector<double> Rewards(const Group& group) {
    std::vector<double> rewards;
    for (const Row& row : group.rows) rewards.push_back(row.reward);
    return rewards;
  }

  static ScoredComponent Source(const std::string& name, GroupSourceOptions options) {
    options.source = *GroupSourceOf(name);
    return {{name, 1, {}}, options};
  }

  TemporaryFolder folder_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(GroupScorerTest, VotesDecideTheLabelAndAreNotRewarded) {
  Group group = Score({Source("majority_online", {.n_votes = 5})},
                      GroupOf({"7", "8", "none", "8", "8", "7", "7"}, /*votes=*/3));
  EXPECT_THAT(Rewards(group), ElementsAre(0, 1, 0, 1, 0, 0, 0));
  EXPECT_EQ(group.signals.at(kMajorityRatio), 3.0 / 5);
  EXPECT_EQ(group.signals.at(kLabelAccuracy), 0);
  EXPECT_EQ(group.signals.at(kRewardAccuracy), 0.25);  // only the row without an answer
  EXPECT_TRUE(group.rows[2].no_answer);
  EXPECT_EQ(group.rows[0].truth, 1);
  EXPECT_EQ(group.rows[6].rewards.size(), 1u);

  group = Score({Source("majority_online", {})}, GroupOf({"7", "8", "x", "y"}));
  EXPECT_THAT(Rewards(group), ElementsAre(1, 0, 0, 0)) << "a tie goes to the first";
  group =
      Score({Source("majority_online", {.tie = VoteTie::kNone})}, GroupOf({"7", "8", "8", "7"}));
  EXPECT_THAT(Rewards(group), ElementsAre(0, 0, 0, 0));
  group = Score({Source("majority_online", {})}, GroupOf({"x", "y"}));
  EXPECT_THAT(Rewards(group), ElementsAre(0, 0)) << "no votes at all";
  EXPECT_FALSE(group.rows[0].unscorable);
}

// Marks that a tokenizer has as special tokens are text like any other; the end of the sequence,
// which the model samples to stop, is none.
TEST_F(GroupScorerTest, SpecialTokensReachTheRewards) {
  RewardComponent answer;
  answer.name = "rule_regex";
  answer.options.pattern = "^<\\|im_start\\|>hm<\\|endoftext\\|>7$";
  Group group = GroupOf({"<|im_start|>hm<|endoftext|>7<|im_end|>"});
  group.rows[0].finish = FinishReason::kStop;
  ASSERT_EQ(group.rows[0].tokens.back(), kTinyMessageEnd);
  EXPECT_THAT(Rewards(Score({{answer, std::nullopt}}, group)), ElementsAre(1));
  group.rows[0].tokens.pop_back();  // cut off by the length limit: no end
  EXPECT_THAT(Rewards(Score({{answer, std::nullopt}}, group)), ElementsAre(1));
}

TEST_F(GroupScorerTest, EquivalentAnswersCanVoteTogether) {
  GroupSourceOptions options{.merge_equivalent = true};
  Group group = GroupOf(
      {"\\boxed{1/2}", "\\boxed{0.5}", "\\boxed{3}", "\\boxed{3}", "\\boxed{\\frac{2}{4}}"});
  const auto score = [&](bool merge) {
    options.merge_equivalent = merge;
    Group copy = group;
    const auto scorer = *GroupScorer::Create({Source("majority_online", options)}, {});
    const auto prompt = *MakeRewardPrompt("{}", "rule_math", 1);
    EXPECT_THAT(scorer->Score(*tokenizer_, prompt, &copy), IsOk());
    return Rewards(copy);
  };
  EXPECT_THAT(score(true), ElementsAre(1, 1, 0, 0, 1));
  EXPECT_THAT(score(false), ElementsAre(0, 0, 1, 1, 0));
}

// Whoever agrees with a label is compared with it: it is neither matched as a pattern nor run.
TEST_F(GroupScorerTest, ALabelIsNoPatternAndNoProgram) {
  const auto rewards = [&](const std::string& reward, const json& columns, Group group) {
    const auto scorer = *GroupScorer::Create({Source("majority_online", {})}, {});
    const auto prompt = *MakeRewardPrompt(columns.dump(), reward, 1);
    EXPECT_THAT(scorer->Score(*tokenizer_, prompt, &group), IsOk());
    return Rewards(group);
  };
  EXPECT_THAT(rewards("rule_regex", json::object(), GroupOf({".*", "7", ".*"})),
              ElementsAre(1, 0, 1));
  EXPECT_THAT(
      rewards("code_tests", {{"tests", "pass"}}, GroupOf({"print(1)", "print(2)", "print(1)"})),
      ElementsAre(1, 0, 1))
      << "all three pass the tests";
}

TEST_F(GroupScorerTest, WithoutATruthNothingIsSaidAboutIt) {
  const Group group =
      Score({Source("majority_online", {})}, GroupOf({"7", "7", "8"}), json::object());
  EXPECT_FALSE(group.signals.contains(kLabelAccuracy));
  EXPECT_FALSE(group.signals.contains(kRewardAccuracy));
  EXPECT_TRUE(std::isnan(group.rows[0].truth));
  EXPECT_THAT(Rewards(group), ElementsAre(1, 1, 0));
}

TEST_F(GroupScorerTest, WithoutAnySourceNoVerdictIsNeeded) {
  const Group sealed = Score({}, GroupOf({"7", "8"}), json::object());
  EXPECT_FALSE(sealed.rows[0].unscorable);
  EXPECT_TRUE(std::isnan(sealed.rows[0].truth));
  const Group known = Score({}, GroupOf({"7", "8"}));
  EXPECT_EQ(known.rows[0].truth, 1);
  EXPECT_EQ(known.rows[1].truth, 0);
  EXPECT_THAT(sealed.reward_names, testing::IsEmpty());
  EXPECT_THAT(sealed.rows[0].rewards, testing::IsEmpty());
  // A held-out prompt that nobody can judge is unscorable, not wrong.
  Group heldout = GroupOf({"7"});
  heldout.purpose = Purpose::kEval;
  EXPECT_TRUE(Score({}, heldout, json::object()).rows[0].unscorable);
}

TEST_F(GroupScorerTest, FrequenciesAreSharesOfTheAnswers) {
  Group group = Score({Source("semantic_frequency", {})}, GroupOf({"7", "8", "7", "none"}));
  EXPECT_THAT(Rewards(group), ElementsAre(0.5, 0.25, 0.5, 0));
  EXPECT_EQ(group.signals.at(kSemanticClusters), 3);
  group = Score({Source("semantic_frequency", {.gate = {.kind = Gate::kFewerClustersThanN}})},
                GroupOf({"7", "8", "9"}));
  EXPECT_THAT(Rewards(group), ElementsAre(0, 0, 0));
  group = Score({{{kTaskReward, 1, {}}, std::nullopt}}, GroupOf({"7", "8"}), {{"answer", "7"}},
                /*cluster=*/true);
  EXPECT_EQ(group.signals.at(kSemanticClusters), 2) << "for the gate alone";
}

TEST_F(GroupScorerTest, EntropiesAreOfTheTokensOfTheirSpan) {
  Group group = Score({Source("neg_entropy_mean", {})}, GroupOf({"abcdefg7"}));
  const auto n = static_cast<double>(group.rows[0].tokens.size());
  EXPECT_NEAR(group.rows[0].reward, -(n - 1) / 2, 1e-6);
  group = Score({Source("neg_entropy_mean", {.span = EntropySpan::kAnswer})},
                GroupOf({"abcd 7", "abcd"}));
  EXPECT_NEAR(group.rows[0].reward, -static_cast<double>(group.rows[0].tokens.size() - 1), 1e-6);
  EXPECT_EQ(group.rows[1].reward, -7) << "no answer";
  Group without = GroupOf({"7"});
  without.rows[0].entropy.clear();
  group = Score({Source("neg_entropy_sum", {})}, without);
  EXPECT_TRUE(group.rows[0].unscorable) << "never 0 because something is missing";
  EXPECT_THAT(group.rows[0].note, HasSubstr("no entropies"));
}

TEST_F(GroupScorerTest, SourcesAddUpInTheOrderOfTheConfiguration) {
  std::vector<ScoredComponent> components = {Source("majority_online", {}),
                                             {{kTaskReward, 2, {}}, std::nullopt},
                                             {{"random", 0, {}}, std::nullopt}};
  components[2].row.options.probability = 1;
  components[2].row.inverse = true;
  components[0].row.weight = 0.5;
  components[0].row.inverse = true;
  const Group group = Score(components, GroupOf({"7", "8", "8"}));
  EXPECT_THAT(group.reward_names, ElementsAre("majority_online", "task", "random"));
  EXPECT_THAT(group.rows[0].rewards, ElementsAre(1, 1, 0));
  EXPECT_THAT(Rewards(group), ElementsAre(2.5, 0, 0));
  EXPECT_EQ(group.rows[1].truth, 0);
}

TEST_F(GroupScorerTest, ALabelOfAColumnIsJudgedByTheSourcesRules) {
  std::vector<ScoredComponent> components = {{{"majority_offline", 1, {}}, std::nullopt},
                                             {{"incorrect_label", 1, {}}, std::nullopt}};
  components[1].row.options.column = "bad";
  Group group = Score(components, GroupOf({"07", "8", "x"}),
                      {{"answer", "9"}, {"majority_answer", 7}, {"bad", "8"}});
  EXPECT_THAT(group.rows[0].rewards, ElementsAre(1, 0));
  EXPECT_THAT(group.rows[1].rewards, ElementsAre(0, 1));
  EXPECT_EQ(group.rows[0].truth, 0);
  group = Score(components, GroupOf({"7"}), {{"answer", "9"}, {"bad", "8"}});
  EXPECT_TRUE(group.rows[0].unscorable);
  EXPECT_THAT(group.rows[0].note, HasSubstr("no column `majority_answer`"));
}

TEST_F(GroupScorerTest, AnEvaluationIsJudgedAgainstTheTruth) {
  const auto scorer = *GroupScorer::Create({Source("neg_entropy_mean", {})}, {});
  EXPECT_TRUE(scorer->needs_entropy());
  Group group = GroupOf({"7", "8"});
  for (Row& row : group.rows) row.entropy.clear();
  const auto prompt = *MakeRewardPrompt(R"({"answer": 7})", "rule_last_integer", 1);
  COHORT_ASSERT_OK(scorer->Judge(*tokenizer_, prompt, &group));
  EXPECT_THAT(group.reward_names, ElementsAre("task"));
  EXPECT_EQ(group.rows[0].truth, 1);
  EXPECT_EQ(group.rows[1].truth, 0);
}

}  // namespace
}  // namespace cohort

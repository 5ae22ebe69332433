#include "common/rl/label_free.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/rl/em_inf.h"

namespace cohort {
namespace {

using testing::Each;
using testing::ElementsAre;

TEST(EdgeCaseMajorityTie, GoesToTheFirstSeenOrAsAsked) {
  const std::vector<Answer> answers = {"5", "3", "3", "5"};
  EXPECT_EQ(MajorityVote(answers).label, "5");
  VoteOptions options;
  options.tie = VoteTie::kNone;
  EXPECT_EQ(MajorityVote(answers, options).label, std::nullopt);
  options.tie = VoteTie::kRandom;
  const Vote vote = MajorityVote(answers, options);
  EXPECT_TRUE(vote.label == "5" || vote.label == "3");
  EXPECT_EQ(vote.label, MajorityVote(answers, options).label);
}

TEST(EdgeCaseUnparsableAnswer, CastsNoVote) {
  const std::vector<Answer> answers = {std::nullopt, "", "", "7"};
  const Vote vote = MajorityVote(answers);
  EXPECT_EQ(vote.label, "7");
  EXPECT_EQ(vote.ratio, 0.25);
  EXPECT_THAT(LabelRewards(answers, vote.label), ElementsAre(0, 0, 0, 1));
}

TEST(EdgeCaseUnparsableAnswer, WithoutVotesAllRewardsAreZero) {
  const std::vector<Answer> answers = {std::nullopt, ""};
  const Vote vote = MajorityVote(answers);
  EXPECT_FALSE(vote.label);
  EXPECT_THAT(LabelRewards(answers, vote.label), Each(0.0));
  EXPECT_EQ(MajorityVote({}).ratio, 0);
}

TEST(LabelRewards, AnEquivalentAnswerIsRewardedAlthoughItDidNotVote) {
  const std::vector<Answer> answers = {"a", "bb", std::nullopt, "cc"};
  std::vector<size_t> asked;
  const auto agrees = [&](size_t i) {
    asked.push_back(i);
    return answers[i]->size() == 2;
  };
  EXPECT_THAT(LabelRewards(answers, "cc", agrees), ElementsAre(0, 1, 0, 1));
  EXPECT_THAT(asked, ElementsAre(0, 1)) << "neither without an answer nor for the label's string";
}

TEST(EdgeCaseUnparsableAnswer, IsAClusterOfItsOwnThatEarnsNothing) {
  const std::vector<Answer> answers = {"", "", "x", "x"};
  EXPECT_EQ(ClusterAnswers(answers).members.size(), 3u);
  EXPECT_THAT(SemanticFrequencyRewards(answers, {Gate::kFewerClustersThanN}),
              ElementsAre(0, 0, 0.5, 0.5));
}

TEST(SemanticFrequency, AllDistinctAnswersEarnNothingUnderTheGate) {
  const std::vector<Answer> answers = {"a", "b", "c"};
  EXPECT_THAT(SemanticFrequencyRewards(answers, {Gate::kFewerClustersThanN}), Each(0.0));
  EXPECT_THAT(SemanticFrequencyRewards(answers, {Gate::kNone}), Each(1.0 / 3));
  EXPECT_THAT(SemanticFrequencyRewards(answers, {Gate::kEntropyBand, 0.1, 1.0}), Each(0.0));
}

TEST(SemanticFrequency, ClustersFollowTheirFirstMember) {
  const AnswerEquality near = [](const std::string& a, const std::string& b) {
    return std::abs(a[0] - b[0]) <= 1;
  };
  const std::vector<Answer> answers = {"a", "b", "c"};
  EXPECT_THAT(ClusterAnswers(answers, near).cluster, ElementsAre(0, 0, 1));
}

TEST(EdgeCaseUnparsableAnswer, EarnsTheFloorOfRent) {
  EXPECT_EQ(NegEntropyMean({}, {}, true), -7);
  EXPECT_EQ(NegEntropyMean({0.5}, {1}, false), -7);
  EXPECT_EQ(NegEntropyMean({0.5, 9}, {1, 0}), -0.5);
}

TEST(EmInf, KeepsTheOrderOfTheLogitsAndLowersTheEntropy) {
  const EmInfResult r = MinimizeEntropy({0.3, 0.2, -1, 0.25}, {});
  EXPECT_GT(r.logits[0], r.logits[3]);
  EXPECT_GT(r.logits[3], r.logits[1]);
  EXPECT_LT(r.entropy_after, r.entropy_before);
  EXPECT_TRUE(MinimizeEntropy({}, {}).logits.empty());
}

}  // namespace
}  // namespace cohort

#include "common/rewards/extract.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cohort {
namespace {

using testing::Eq;
using testing::Optional;

TEST(ExtractBoxedTest, TakesTheLastBalancedBox) {
  EXPECT_THAT(ExtractBoxed("so \\boxed{1} then \\boxed{\\frac{1}{2}}."),
              Optional(Eq("\\frac{1}{2}")));
  EXPECT_THAT(ExtractBoxed("\\boxed{}"), Optional(Eq("")));
  EXPECT_THAT(ExtractBoxed("set \\boxed{\\{1,2\\}}"), Optional(Eq("\\{1,2\\}")));
  EXPECT_EQ(ExtractBoxed("x \\boxed{\\text{a}{b}"), std::nullopt);
  EXPECT_EQ(ExtractBoxed("none"), std::nullopt);
}

TEST(ExtractBoxedTest, ABoxThatIsCutOffHidesNone) {
  EXPECT_THAT(ExtractBoxed("\\boxed{1} and \\boxed{2"), Optional(Eq("1")));
  EXPECT_THAT(ExtractBoxed("\\boxed{1}. Check: \\boxed{"), Optional(Eq("1")));
  EXPECT_EQ(ExtractBoxed("so \\boxed{2"), std::nullopt);
  EXPECT_EQ(ExtractBoxedCompat("\\boxed{1} and \\boxed{2"), std::nullopt);
}

TEST(ExtractBoxedTest, HasManyForms) {
  for (const char* text :
       {"\\boxed {7}", "\\boxed 7", "$\\boxed7$", "\\fbox{7}", "\\framebox{7}", "\\boxed\n{7}",
        "\\framebox[2cm][c]{7}", "\\boxed{3} or \\fbox{7}", "\\\\boxed{7}", "} \\boxed{7} {"}) {
    EXPECT_THAT(ExtractBoxed(text), Optional(Eq("7"))) << text;
  }
  EXPECT_THAT(ExtractBoxed("\\boxed{\\left\\{1\\right.}"), Optional(Eq("\\left\\{1\\right.")));
  EXPECT_THAT(ExtractBoxed("\\boxed A"), Optional(Eq("A")));
  EXPECT_THAT(ExtractBoxed("\\boxed{\\fbox{3} and \\fbox{4}}"),
              Optional(Eq("\\fbox{3} and \\fbox{4}")));
  for (const char* text : {"\\mybox{7}", "\\boxedx{7}", "boxed{7}", "\\boxed"}) {
    EXPECT_EQ(ExtractBoxed(text), std::nullopt) << text;
  }
}

TEST(ExtractGsm8kTest, FollowsTheStrictRule) {
  EXPECT_THAT(ExtractGsm8kStrict("#### 1,234"), Optional(Eq("1234")));
  EXPECT_THAT(ExtractGsm8kStrict("a #### 5 b #### -7.5"), Optional(Eq("-7.5")));
  EXPECT_THAT(ExtractGsm8kStrict("#### 42."), Optional(Eq("42.")));
  EXPECT_THAT(ExtractGsm8kStrict("#### 3 #### x"), Optional(Eq("3")));
  for (const char* text : {"####42", "The answer is 9", "#### $18", "#### -", "#### "}) {
    EXPECT_EQ(ExtractGsm8kStrict(text), std::nullopt) << text;
  }
}

TEST(ExtractGsm8kTest, TheWindowCountsCharactersFromTheEnd) {
  const std::string tail(294, 'x');
  EXPECT_THAT(ExtractGsm8kStrict("#### 5" + tail), Optional(Eq("5")));
  EXPECT_EQ(ExtractGsm8kStrict("#### 5" + tail + "x"), std::nullopt);
  EXPECT_THAT(ExtractGsm8kStrict("#### 5" + tail + "x", kNoWindow), Optional(Eq("5")));
  std::string wide;
  for (int i = 0; i < 294; ++i) wide += "\u00e9";
  EXPECT_THAT(ExtractGsm8kStrict("#### 5" + wide), Optional(Eq("5")));
}

TEST(ExtractGsm8kTest, TheAnswerStandsBehindTheLastMark) {
  for (const char* text : {"#### 42", "####42", "####   42", "#### 42.", "#### **42**", "#### $42$",
                           "#### 7\n#### 42", "#### 42\n#### Notes on 7 things"}) {
    EXPECT_THAT(ExtractGsm8kAnswer(text), Optional(Eq("42"))) << text;
  }
  EXPECT_THAT(ExtractGsm8kAnswer("#### 42 or 43"), Optional(Eq("42 or 43")));
  EXPECT_THAT(ExtractGsm8kAnswer("#### x = 42"), Optional(Eq("x = 42")));
  EXPECT_EQ(ExtractGsm8kAnswer("It is 42"), std::nullopt);
  EXPECT_EQ(ExtractGsm8kAnswer("####"), std::nullopt);
}

TEST(ExtractAnswerLineTest, ReadsEmphasisAndFullWidthColons) {
  EXPECT_THAT(ExtractAnswerLine("**Answer:** 5"), Optional(Eq("5")));
  EXPECT_THAT(ExtractAnswerLine("**Answer**: 5"), Optional(Eq("5")));
  EXPECT_THAT(ExtractAnswerLine("Answer: **5**"), Optional(Eq("**5**")));
  EXPECT_THAT(ExtractAnswerLine("Answer\uff1a5\nok"), Optional(Eq("5")));
  EXPECT_THAT(ExtractAnswerLine("Answer: 1\nAnswer: 2"), Optional(Eq("2")));
  EXPECT_THAT(ExtractAnswerLine("Answer: 1\nAnswer:\n"), Optional(Eq("1")));
  EXPECT_EQ(ExtractAnswerLine("The answer is 5"), std::nullopt);
}

TEST(ExtractDapoTest, FollowsTheExpression) {
  EXPECT_THAT(ExtractDapoAnswer("Answer: 34"), Optional(Eq("34")));
  EXPECT_THAT(ExtractDapoAnswer("answer : $12$\nmore"), Optional(Eq("$12$")));
  EXPECT_THAT(ExtractDapoAnswer("Answer: 1\nAnswer: 2"), Optional(Eq("2")));
  EXPECT_THAT(ExtractDapoAnswer("ANSWER:\n 7"), Optional(Eq("7")));
  EXPECT_THAT(ExtractDapoAnswer("Answer: Answer: 5"), Optional(Eq("Answer: 5")));
  EXPECT_THAT(ExtractDapoAnswer("Answer\u00a0:\u30007"), Optional(Eq("7")));
  EXPECT_THAT(ExtractDapoAnswer("Answer: 1\nAnswer:\n"), Optional(Eq("1")));
  EXPECT_THAT(ExtractDapoAnswer("Answer:  "), Optional(Eq(" ")));
  EXPECT_EQ(ExtractDapoAnswer("The result is 4"), std::nullopt);
  EXPECT_EQ(ExtractDapoAnswer("Answer"), std::nullopt);
}

TEST(ExtractLastIntegerTest, ReadsNumbersAsTheyAreWritten) {
  EXPECT_THAT(ExtractLastInteger("2 + 3 = 5."), Optional(Eq("5")));
  EXPECT_THAT(ExtractLastInteger("It is 1,234!"), Optional(Eq("1234")));
  EXPECT_THAT(ExtractLastInteger("The answer is -7"), Optional(Eq("-7")));
  EXPECT_THAT(ExtractLastInteger("10-5"), Optional(Eq("5")));
  EXPECT_THAT(ExtractLastInteger("10 -5"), Optional(Eq("5")));
  EXPECT_THAT(ExtractLastInteger("12.0"), Optional(Eq("12")));
  EXPECT_THAT(ExtractLastInteger("\u22127"), Optional(Eq("-7")));
  EXPECT_THAT(ExtractLastInteger("It is - 7"), Optional(Eq("-7")));
  EXPECT_THAT(ExtractLastInteger("13 - 7 = 6"), Optional(Eq("6")));
  EXPECT_THAT(ExtractLastInteger("25 cm^2"), Optional(Eq("25")));
  EXPECT_THAT(ExtractLastInteger("1,2,3"), Optional(Eq("3")));
  EXPECT_THAT(ExtractLastInteger("1,2345"), Optional(Eq("2345")));
  for (const char* text : {"4 or 3.5", "3 + 5 = 8.5", "11/2", "\\frac{11}{2}", "11%", "10^3"}) {
    EXPECT_EQ(ExtractLastInteger(text), std::nullopt) << text;
  }
  EXPECT_EQ(ExtractLastInteger("none"), std::nullopt);
  EXPECT_EQ(ExtractLastInteger(""), std::nullopt);
}

TEST(FormatBoxedTest, NeedsAnyNonEmptyBox) {
  EXPECT_EQ(FormatBoxedReward("\\boxed{0}"), 1.0);
  EXPECT_EQ(FormatBoxedReward("wrong but \\boxed{999}"), 1.0);
  EXPECT_EQ(FormatBoxedReward("\\boxed{5}, that is \\boxed{}"), 1.0);
  EXPECT_EQ(FormatBoxedReward("\\boxed{5} and \\boxed{never closed"), 1.0);
  EXPECT_EQ(FormatBoxedReward("} \\boxed{\\frac{1}{2}}"), 1.0);
  for (const char* text :
       {"no", "\\boxed{}", "\\boxed{ }", "\\boxed{5", "{5} \\boxed{}", "boxed{5}"})
    EXPECT_EQ(FormatBoxedReward(text), 0.0) << text;
}

TEST(AfterThinkingTest, KeepsWhatFollowsTheLastTag) {
  EXPECT_EQ(AfterThinking("<think>1</think> 2"), " 2");
  EXPECT_EQ(AfterThinking("no tag"), "");
  EXPECT_EQ(AfterThinking("<think>never ended"), "");
}

}  // namespace
}  // namespace cohort

#include "common/tasks/wrong_answer.h"

#include <map>

#include "common/base/status_matchers.h"

namespace cohort {
namespace {

using testing::HasSubstr;

Prompt Sum(const std::string& answer) {
  Prompt prompt;
  prompt.source = "sums";
  prompt.answer = answer;
  prompt.solution = "50+42=92;" + answer;
  return prompt;
}

TEST(WrongAnswerTest, NextIsTheRightNumberPlusOne) {
  CounterRng rng(1);
  Prompt prompt = Sum("99");
  COHORT_ASSERT_OK(EndInWrongAnswer(WrongAnswerKind::kNext, &rng, &prompt));
  EXPECT_EQ(prompt.solution, "50+42=92;100");
  EXPECT_EQ(prompt.answer, "99") << "a verifier still looks for the right one";
}

TEST(WrongAnswerTest, AnyIsEveryOtherNumberOfTheSameSizeEquallyOften) {
  CounterRng rng(2);
  std::map<std::string, int> one, two;
  for (int i = 0; i < 9000; ++i) {
    Prompt prompt = Sum("7");
    COHORT_ASSERT_OK(EndInWrongAnswer(WrongAnswerKind::kAny, &rng, &prompt));
    ++one[prompt.solution];
    prompt = Sum("10");
    COHORT_ASSERT_OK(EndInWrongAnswer(WrongAnswerKind::kAny, &rng, &prompt));
    ++two[prompt.solution];
  }
  EXPECT_EQ(one.size(), 9u);
  EXPECT_FALSE(one.contains("50+42=92;7"));
  for (const auto& [solution, count] : one) EXPECT_NEAR(count, 1000, 150) << solution;
  EXPECT_EQ(two.size(), 89u);
  EXPECT_FALSE(two.contains("50+42=92;10"));
  EXPECT_TRUE(two.contains("50+42=92;99"));
}

TEST(WrongAnswerTest, TheSameDrawsGiveTheSameAnswer) {
  CounterRng a(3, 4), b(3, 4);
  Prompt first = Sum("92"), second = Sum("92");
  COHORT_ASSERT_OK(EndInWrongAnswer(WrongAnswerKind::kAny, &a, &first));
  COHORT_ASSERT_OK(EndInWrongAnswer(WrongAnswerKind::kAny, &b, &second));
  EXPECT_EQ(first.solution, second.solution);
}

TEST(WrongAnswerTest, WhatDoesNotEndWithAWholeNumberIsRefused) {
  CounterRng rng(4);
  for (const char* answer : {"", "1 2 3", "-4", "x", "1234567890123456789"}) {
    Prompt prompt = Sum(answer);
    EXPECT_THAT(EndInWrongAnswer(WrongAnswerKind::kNext, &rng, &prompt),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("sft.wrong_share")))
        << answer;
  }
  Prompt prompt = Sum("92");
  prompt.solution += " is it";
  EXPECT_THAT(EndInWrongAnswer(WrongAnswerKind::kNext, &rng, &prompt),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("column-addition-3")));
}

}  // namespace
}  // namespace cohort

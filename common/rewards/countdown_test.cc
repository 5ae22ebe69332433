#include "common/rewards/countdown.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cohort {
namespace {

using testing::ElementsAre;

std::string Value(absl::string_view reply) {
  const auto result = EvaluateCountdown(CountdownExpression(reply));
  return result && result->value ? result->value->ToString() : "none";
}

TEST(CountdownTest, SignsOfAllKindsAreRead) {
  for (const char* reply :
       {"4 * 7 + 2", "4 \\times 7 + 2", "4 \u00d7 7 + 2", "$4 \\cdot 7 + 2$", "4 x 7 + 2 = 30",
        "30 = 4*7+2", "**4*7+2**", "\\left(4\\cdot7\\right)+2", "[4*7]+2", "(4*7)+2."}) {
    EXPECT_EQ(Value(reply), "30") << reply;
  }
  EXPECT_EQ(Value("4 \u2212 7"), "-3");
  EXPECT_EQ(Value("\\frac{8}{6}"), "4/3");
  EXPECT_EQ(Value("8 \u00f7 2"), "4");
}

TEST(CountdownTest, OtherTextIsNoExpression) {
  for (const char* reply : {"", "three times eight", "3 8/2", "1 0", "2(3)", "(2", "2)", "2**3",
                            "8/(2-2)", "1.5", "+", "5!"}) {
    EXPECT_EQ(Value(reply), "none") << reply;
  }
  EXPECT_EQ(Value(std::string(1000, '(') + "1" + std::string(1000, ')')), "none");
}

TEST(CountdownTest, UsedNumbersAreListed) {
  EXPECT_THAT(EvaluateCountdown("(08-3)*2")->used, ElementsAre("8", "3", "2"));
}

TEST(CountdownTest, ClaimsAreWhatTheSidesSay) {
  const auto claims = CountdownClaims("(8-2)*4 = 25");
  ASSERT_EQ(claims.size(), 2u);
  EXPECT_EQ(claims[0].ToString(), "24");
  EXPECT_EQ(claims[1].ToString(), "25");
}

}  // namespace
}  // namespace cohort

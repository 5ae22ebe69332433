#include "common/rewards/normalize.h"

#include <gtest/gtest.h>

namespace cohort {
namespace {

TEST(NormalizeHendrycksTest, AppliesEachRule) {
  EXPECT_EQ(NormalizeHendrycks("\\tfrac12"), "\\frac{1}{2}");
  EXPECT_EQ(NormalizeHendrycks("\\dfrac1{72}"), "\\frac{1}{72}");
  EXPECT_EQ(NormalizeHendrycks("3/4"), "\\frac{3}{4}");
  EXPECT_EQ(NormalizeHendrycks("0.5"), "\\frac{1}{2}");
  EXPECT_EQ(NormalizeHendrycks(".25"), "0.25");
  EXPECT_EQ(NormalizeHendrycks("x = 5"), "5");
  EXPECT_EQ(NormalizeHendrycks("abc=5"), "abc=5");
  EXPECT_EQ(NormalizeHendrycks("90^\\circ"), "90");
  EXPECT_EQ(NormalizeHendrycks("5.4 \\text{ cents}"), "5.4");
  EXPECT_EQ(NormalizeHendrycks("\\$18.90"), "18.90");
  EXPECT_EQ(NormalizeHendrycks("11\\sqrt2"), "11\\sqrt{2}");
  EXPECT_EQ(NormalizeHendrycks("\\left( 3, \\frac{\\pi}{2} \\right)"), "(3,\\frac{\\pi}{2})");
  EXPECT_EQ(NormalizeHendrycks("10,\\!080"), "10,080");
  EXPECT_EQ(NormalizeHendrycks("50\\%"), "50");
  EXPECT_EQ(NormalizeHendrycks(""), "");
  EXPECT_EQ(NormalizeHendrycks("\\frac"), "\\frac");
}

TEST(NormalizeMinervaTest, AppliesEachRule) {
  EXPECT_EQ(NormalizeMinerva("$12$"), "12");
  EXPECT_EQ(NormalizeMinerva("x = 1,234"), "1234");
  EXPECT_EQ(NormalizeMinerva("the sum is $a+b$ dollars"), "a+b");
  EXPECT_EQ(NormalizeMinerva("18 dollars"), "18");
  EXPECT_EQ(NormalizeMinerva("\\text{Evelyn}"), "Evelyn");
  EXPECT_EQ(NormalizeMinerva("\\boxed{\\frac{1}{2}}"), "\\frac{1}{2}");
  EXPECT_EQ(NormalizeMinerva("\\frac12"), "\\frac{1}{2}");
  EXPECT_EQ(NormalizeMinerva("\\sqrt3"), "\\sqrt{3}");
  EXPECT_EQ(NormalizeMinerva("90^\\circ"), "90");
  EXPECT_EQ(NormalizeMinerva("(1,2)"), "(1,2)");
  EXPECT_EQ(NormalizeMinerva("frac"), "frac");
}

// The reference takes an answer with two units for one that it cannot read.
TEST(NormalizeTest, TwoUnitsAreComparedAsTheyAre) {
  EXPECT_FALSE(HendrycksEqual("6\\text{ tall, }1\\text{ low}", "6\\text{ tall, }5\\text{ low}"));
  EXPECT_TRUE(HendrycksEqual("6\\text{ tall, }1\\text{ low}", "6\\text{ tall, }1\\text{ low}"));
  EXPECT_TRUE(HendrycksEqual("6\\text{ tall}", "6"));
}

}  // namespace
}  // namespace cohort

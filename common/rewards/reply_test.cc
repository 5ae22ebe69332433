#include "common/rewards/reply.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/rewards/quantity.h"

namespace cohort {
namespace {

using testing::Eq;
using testing::Optional;

TEST(ExtractReplyTest, PrefersTheClearestPlace) {
  EXPECT_EQ(ExtractReply("Answer: 3\n\\boxed{ 4 }\nso 5"), "4");
  EXPECT_EQ(ExtractReply("Answer: 3\n<answer> x </answer> done"), "x");
  EXPECT_EQ(ExtractReply("Answer: 3 \nThanks"), "3");
  EXPECT_EQ(ExtractReply("It is\n\n Paris \n\n"), "Paris");
  EXPECT_EQ(ExtractReply("<answer>cut"), "cut");
  EXPECT_EQ(ExtractReply(""), "");
}

TEST(ExtractChoiceTest, ReadsALetterWhereItIsTheAnswer) {
  EXPECT_THAT(ExtractChoice("\\boxed{C}"), Optional('C'));
  EXPECT_THAT(ExtractChoice("\\boxed{\\text{(B)}}"), Optional('B'));
  EXPECT_THAT(ExtractChoice("The answer is (D)."), Optional('D'));
  EXPECT_THAT(ExtractChoice("The correct answer is **A**"), Optional('A'));
  EXPECT_THAT(ExtractChoice("Answer: B) Paris\nbecause A is wrong."), Optional('B'));
  EXPECT_THAT(ExtractChoice("First, answer A. No: the answer should be C."), Optional('C'));
  EXPECT_THAT(ExtractChoice("so\n(c)"), Optional('C'));
  EXPECT_THAT(ExtractChoice("C. Paris"), Optional('C'));
  EXPECT_THAT(ExtractChoice("<answer>b</answer>"), Optional('B'));
  for (const char* text : {"The answer is a number", "A good question", "\\boxed{Cats}", "", "42",
                           "answers", "the answer is"}) {
    EXPECT_EQ(ExtractChoice(text), std::nullopt) << text;
  }
  EXPECT_EQ(ExtractChoice("\\boxed{F}", 'D'), std::nullopt);
}

TEST(ExtractLastNumberTest, TakesTheNumberAsWritten) {
  EXPECT_THAT(ExtractLastNumber("so 3 of 1,234.50 dollars"), Optional(Eq("1,234.50")));
  EXPECT_THAT(ExtractLastNumber("about -3/4."), Optional(Eq("-3/4")));
  EXPECT_THAT(ExtractLastNumber("7-5"), Optional(Eq("5")));
  EXPECT_THAT(ExtractLastNumber("12.5% of it"), Optional(Eq("12.5%")));
  EXPECT_THAT(ExtractLastNumber("x = .5"), Optional(Eq(".5")));
  EXPECT_EQ(ExtractLastNumber("none."), std::nullopt);
}

bool Same(const char* a, const char* b) {
  const auto left = ParseQuantity(a);
  const auto right = ParseQuantity(b);
  return left && right && SameQuantity(*left, *right) && SameQuantity(*right, *left);
}

TEST(QuantityTest, EqualQuantitiesAreEqualInAnyUnit) {
  const std::pair<const char*, const char*> kEqual[] = {
      {"1.5 km", "1500\\text{ m}"}, {"5\\text{ cm}^2", "0.0005 m^2"},
      {"36 km/h", "10 m/s"},        {"36 km/h", "10\\,\\mathrm{m\\,s^{-1}}"},
      {"2 hours", "120 minutes"},   {"9.8 m/s^2", "9.8 \\text{ meters per second}^2"},
      {"\\frac{1}{2} kg", "500 g"}, {"3 square meters", "3 m^2"},
      {"\\$18.50", "1850 cents"},   {"18 dollars", "$18$"},
      {"12", "12 apples"},          {"12 apples", "12 Apples"},
      {"90^\\circ", "90 degrees"},  {"180 degrees", "\\pi rad"},
      {"1 inch", "2.54 cm"},        {"6.02 \\times 10^{23} mol", "6.02 \\times 10^{23} mol"},
      {"1 kWh", "3.6 MJ"},          {"50\\%", "0.5"},
      {"1,000 m", "1 km"},
  };
  for (const auto& [a, b] : kEqual) EXPECT_TRUE(Same(a, b)) << a << " and " << b;
  const std::pair<const char*, const char*> kDifferent[] = {
      {"5 cm", "5 m"},      {"5 kg", "5 m"},  {"12 apples", "12 pears"}, {"1 h", "61 min"},
      {"10 m/s", "10 m s"}, {"5 m^2", "5 m"}, {"90^\\circ", "90 rad"},   {"2 m", "3"}};
  for (const auto& [a, b] : kDifferent) EXPECT_FALSE(Same(a, b)) << a << " and " << b;
  for (const char* text : {"", "cm", "fast", "{", "^2"}) {
    EXPECT_EQ(ParseQuantity(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace cohort

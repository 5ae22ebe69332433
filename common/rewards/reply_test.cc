#include "common/rewards/reply.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/rewards/answer.h"
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

TEST(GoldAnswerTest, MayBeASolution) {
  EXPECT_EQ(GoldAnswer(" 7 "), "7");
  EXPECT_EQ(GoldAnswer("Adding gives $\\boxed 8$."), "8");
  EXPECT_EQ(GoldAnswer("6*4=24\n####24"), "24");
  EXPECT_EQ(GoldAnswer("x\n#### 1,200"), "1,200");
}

TEST(StatedNumberTest, TheLineHoldsNothingElse) {
  for (const char* line :
       {"24", "$24", "\\$24", "**24**.", "\\boxed{24}", "x = 24", "24 dollars", "24%", "+24", "024",
        "24.00", "\u20ac24", "The answer is 24", "Answer: 24"}) {
    EXPECT_EQ(StatedNumber(line), CanonicalNumber("24")) << line;
  }
  EXPECT_EQ(StatedNumber("-$24"), CanonicalNumber("-24"));
  EXPECT_EQ(StatedNumber("\u221224"), CanonicalNumber("-24"));
  for (const char* line : {"24 or 26", "24, 26", "24x", "24 million and more", "not 24", ""}) {
    EXPECT_EQ(StatedNumber(line), std::nullopt) << line;
  }
}

TEST(RepliedNumberTest, IsTheReplyOrTheLastNumberOfItsSentence) {
  const auto is = [](const char* completion, const char* number) {
    return RepliedNumber(completion) == CanonicalNumber(number);
  };
  EXPECT_TRUE(is("The total is 1,250 coins.", "1250"));
  EXPECT_TRUE(is("The area is 54 cm^2.", "54"));
  EXPECT_TRUE(is("It is \\boxed{\\frac{38}{2}}.", "19"));
  EXPECT_TRUE(is("So it is 19.\nI hope this helps!", "19"));
  for (const char* text :
       {"It is \\boxed{5x+19}.", "Of 19, \\boxed{\\text{none}}", "19\nAnswer: none"}) {
    EXPECT_EQ(RepliedNumber(text), std::nullopt) << text;
  }
}

bool Same(const char* a, const char* b) {
  const auto left = ParseQuantity(a);
  const auto right = ParseQuantity(b);
  return left && right && SameQuantity(*left, *right) && SameQuantity(*right, *left);
}

TEST(QuantityTest, EqualQuantitiesAreEqualInAnyUnit) {
  const std::pair<const char*, const char*> kEqual[] = {
      {"1.5 km", "1500\\text{ m}"},
      {"5\\text{ cm}^2", "0.0005 m^2"},
      {"36 km/h", "10 m/s"},
      {"36 km/h", "10\\,\\mathrm{m\\,s^{-1}}"},
      {"2 hours", "120 minutes"},
      {"9.8 m/s^2", "9.8 \\text{ meters per second}^2"},
      {"\\frac{1}{2} kg", "500 g"},
      {"3 square meters", "3 m^2"},
      {"\\$18.50", "1850 cents"},
      {"18 dollars", "$18$"},
      {"12", "12 apples"},
      {"12 apples", "12 Apples"},
      {"90^\\circ", "90 degrees"},
      {"180 degrees", "\\pi rad"},
      {"1 inch", "2.54 cm"},
      {"6.02 \\times 10^{23} mol", "6.02 \\times 10^{23} mol"},
      {"1 kWh", "3.6 MJ"},
      {"50\\%", "0.5"},
      {"1,000 m", "1 km"},
      {"135 minutes", "2 h 15 min"},
      {"135 minutes", "2 \\text{ h } 15 \\text{ min}"},
      {"5 ft 6 in", "5 feet and 6 inches"},
      {"2 years", "24 months"},
      {"12 apples", "12 apple"},
      {"31^\\circ\\text{C}", "31 degrees Celsius"},
      {"31 \u00b0C", "87.8^{\\circ}\\mathrm{F}"},
      {"0 K", "-273.15\u2103"},
      {"15 m/s", "54 kmph"},
      {"0.34 L", "340 cc"},
      {"300 kPa", "3 bar"},
      {"1 atm", "101325 Pa"},
      {"8 m", "x = 800 cm"},
      {"\\$7 per hour", "7 dollars an hour"},
      {"\u221240 m", "-40 m"},
  };
  for (const auto& [a, b] : kEqual) EXPECT_TRUE(Same(a, b)) << a << " and " << b;
  const std::pair<const char*, const char*> kDifferent[] = {{"5 cm", "5 m"},
                                                            {"5 kg", "5 m"},
                                                            {"12 apples", "12 pears"},
                                                            {"1 h", "61 min"},
                                                            {"10 m/s", "10 m s"},
                                                            {"5 m^2", "5 m"},
                                                            {"90^\\circ", "90 rad"},
                                                            {"2 m", "3"},
                                                            {"2 years", "730 days"},
                                                            {"31^\\circ\\text{C}", "31 K"},
                                                            {"\\$7 per hour", "\\$7 per day"},
                                                            {"135 minutes", "2 h 25 min"}};
  for (const auto& [a, b] : kDifferent) EXPECT_FALSE(Same(a, b)) << a << " and " << b;
  for (const char* text : {"", "cm", "fast", "{", "^2"}) {
    EXPECT_EQ(ParseQuantity(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace cohort

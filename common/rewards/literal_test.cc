#include "common/rewards/literal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cohort {
namespace {

std::string Text(absl::string_view sentence) {
  const auto literal = LastLiteral(sentence);
  return literal && !literal->in_expression ? literal->text : "";
}

TEST(LiteralTest, TakesTheLastNumberAsItIsWritten) {
  const std::pair<const char*, const char*> kLast[] = {
      {"so 3 of 1,234.50 dollars", "1,234.50"},
      {"about -3/4.", "-3/4"},
      {"12.5% of it", "12.5%"},
      {"x = .5", ".5"},
      {"It is \u22125", "-5"},
      {"It is - 5.", "-5"},
      {"It costs -$5", "-5"},
      {"The result is 2.6e3.", "2.6e3"},
      {"The result is 2.6 \u00d7 10^3.", "2.6 \u00d7 10^3"},
      {"It is $\\frac{2}{19}$.", "\\frac{2}{19}"},
      {"It is $2\\sqrt{3}$", "2\\sqrt{3}"},
      {"It is 1 1/2", "1 1/2"},
      {"It is 1.25 thousand", "1.25 thousand"},
      {"3 + 5 = 8", "8"},
      {"3 + 5 = **8**.", "8"},
      {"The area is 54 cm^2.", "54"},
      {"The area is 54 \\text{ cm}^{2}", "54"},
      {"5 parts of CO2", "5"},
      {"19 - the end", "19"},
      {"COVID-19", "19"},
      {"It is 1{,}234", "1{,}234"},
  };
  for (const auto& [sentence, number] : kLast) EXPECT_EQ(Text(sentence), number) << sentence;
}

TEST(LiteralTest, PartsOfExpressionsAreNoNumbers) {
  for (const char* sentence : {"$5x+19$", "x - 19", "7-5", "12 + 30", "x^{19}", "a_{19}", "f(19)",
                               "19x", "(1+19)^2", "11/2/2024", "19 \\times 3", "none.", ""}) {
    EXPECT_EQ(Text(sentence), "") << sentence;
  }
}

TEST(LiteralTest, IntegersAreKnown) {
  const auto integer = [](const char* text) {
    const auto literal = LastLiteral(text);
    return literal && literal->integer;
  };
  for (const char* text : {"7", "1,234", "12.0", "13 - 7", "-7"})
    EXPECT_TRUE(integer(text)) << text;
  for (const char* text : {"8.5", "11/2", "11 / 2", "11%", "10^3", "2e3", "\\frac{1}{2}"}) {
    EXPECT_FALSE(integer(text)) << text;
  }
}

}  // namespace
}  // namespace cohort

#include "common/rewards/answer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <utility>
#include <vector>

#include "common/rewards/exact_number.h"

namespace cohort {
namespace {

// 50 ms for one, on a machine that does other work too.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr std::chrono::milliseconds kTwoComparisons(5000);
#else
constexpr std::chrono::milliseconds kTwoComparisons(100);
#endif

TEST(ExactNumberTest, ParsesTheNativeDomain) {
  const auto print = [](const char* text) {
    const auto number = ParseExactNumber(text);
    return number ? number->ToString() : "none";
  };
  EXPECT_EQ(print("3/6"), "1/2");
  EXPECT_EQ(print("0.5"), "1/2");
  EXPECT_EQ(print("50%"), "1/2");
  EXPECT_EQ(print("-.25"), "-1/4");
  EXPECT_EQ(print("1,234,567"), "1234567");
  EXPECT_EQ(print("1\\frac{4}{5}"), "9/5");
  EXPECT_EQ(print("137 \\frac{1}{2}"), "275/2");
  EXPECT_EQ(print("1 4/5"), "9/5");
  EXPECT_EQ(print("\\frac 59"), "5/9");
  EXPECT_EQ(print("\\sqrt{12}"), "2*sqrt(3)");
  EXPECT_EQ(print("\\frac{\\sqrt{3}}{3}"), "1/3*sqrt(3)");
  EXPECT_EQ(print("1/\\sqrt3"), "1/3*sqrt(3)");
  EXPECT_EQ(print("18+2\\pi"), "18+2*pi^1");
  EXPECT_EQ(print("6.72 \\times 10^{-5}"), "21/312500");
  EXPECT_EQ(print("2^{100}"), "1267650600228229401496703205376");
  EXPECT_EQ(print("(1+\\sqrt{2})(1-\\sqrt{2})"), "-1");
  EXPECT_EQ(print("\\sqrt{\\pi^2}"), "1*pi^1");
  for (const char* text :
       {"", "x", "1/0", "1 000", "2^{1000}", "\\sqrt{-1}", "1,23", "5 apples", ".",
        "1/(1+\\sqrt{2})", "52_8", "((1)", "170141183460469231731687303715884105728"}) {
    EXPECT_EQ(print(text), "none") << text;
  }
}

TEST(ExactNumberTest, CanonicalDecimalsHaveAnyLength) {
  EXPECT_EQ(CanonicalDecimal("007.50"), "7.5");
  EXPECT_EQ(CanonicalDecimal("-0.0"), "0");
  EXPECT_EQ(CanonicalDecimal("1,000"), "1000");
  EXPECT_EQ(CanonicalDecimal("42."), "42");
  EXPECT_EQ(CanonicalDecimal("+.5"), "0.5");
  EXPECT_EQ(CanonicalDecimal(std::string(100, '0') + "1"), "1");
  for (const char* text : {"", "-", ".", "1,00", "1,0000", "1e5", "1.2.3", "--1"}) {
    EXPECT_EQ(CanonicalDecimal(text), std::nullopt) << text;
  }
}

TEST(AnswerTest, EqualValuesAreEqual) {
  const std::vector<std::vector<const char*>> classes = {
      {"1/2", "0.5", "3/6", "\\frac12", "\\dfrac{1}{2}", "50\\%", "50%", ".50", "$\\frac{2}{4}$"},
      {"1/3", "\\frac{1}{3}", "2/6"},
      {"0.333"},
      {"0.3333"},
      {"5", "x=5", "x = 5", "5.", "5.0", "\\$5", "5 \\text{ cents}", "5^\\circ", "{5}", "(5)",
       "05"},
      {"10080", "10,080", "10,\\!080", "10{,}080"},
      {"11111111100", "11,\\! 111,\\! 111,\\! 100"},
      {"15", "15\\mbox{ cm}^2", "15\\text{ degrees}"},
      {"\\frac{270}{7}", "\\frac{270}7\\text{ degrees}"},
      {"(3,\\frac{\\pi}{2})", "\\left( 3, \\frac{\\pi}{2} \\right)", "(3, \\pi/2)",
       "(6/2,0.5\\pi)"},
      {"(\\pi/2,3)"},
      {"1,-2", "-2,1", "-2, 1", "x=1,-2"},
      {"(1,-2)"},
      {"(3,100)", "(3, 100)"},
      {"(1,-2]"},
      {"\\{1,2\\}", "\\{2,1\\}", "\\{2, 1, 1\\}", "1,2"},
      {"1 \\pm \\sqrt{19}", "1+\\sqrt{19},1-\\sqrt{19}", "1 - \\sqrt{19}, 1 + \\sqrt{19}"},
      {"\\{1\\pm\\sqrt{5},-2\\}", "\\{-2,1-\\sqrt5,1+\\sqrt5\\}"},
      {"(0,9) \\cup (9,36)", "(9,36) \\cup (0,9)"},
      {"(-\\infty, 0]", "(-\\infty,0]"},
      {"x \\in [-2,7]", "[-2,7]"},
      {"\\begin{pmatrix} -1/3 \\\\ 2/3 \\end{pmatrix}",
       "\\begin{pmatrix} -\\frac{1}{3} \\\\ \\frac{2}{3} \\end{pmatrix}"},
      {"\\text{Evelyn}", "Evelyn"},
      {"\\text{(C)}", "C", "(C)"},
      {"p - q", "p-q"},
      {"\\frac{\\sqrt{3}}{3}", "\\frac{1}{\\sqrt{3}}"},
      {"2k+2", "2k + 2"},
      {"\\infty", "+\\infty"},
      {""},
  };
  for (size_t i = 0; i < classes.size(); ++i) {
    for (const char* a : classes[i]) {
      for (size_t j = 0; j < classes.size(); ++j) {
        for (const char* b : classes[j]) {
          EXPECT_EQ(AnswersEqual(a, b), i == j)
              << a << " and " << b << ": " << CanonicalAnswer(a) << " | " << CanonicalAnswer(b);
        }
      }
    }
  }
}

TEST(AnswerTest, HostileAnswersTakeLittleTime) {
  std::vector<std::string> answers = {
      std::string(1'000'000, '9'),   "0." + std::string(1'000'000, '3'),
      std::string(1'000'000, '('),   std::string(1'000'000, '{'),
      std::string(3'000, '('),       std::string(1'000'000, ','),
      std::string(3'999, ','),       std::string(1'000'000, '\xff'),
      std::string(3'999, '-') + "1", std::string(1'999, '9'),
  };
  std::string nested;
  std::string roots;
  std::string products = "1";
  for (int i = 0; i < 600; ++i) nested += "\\frac{";
  for (int i = 0; i < 200; ++i) roots += "\\sqrt{999999937}";
  for (int i = 0; i < 150; ++i) products += "(1+\\pi)";
  answers.insert(answers.end(), {nested, roots, products, "9^{9^{9^9}}",
                                 "(1+\\sqrt2+\\sqrt3+\\sqrt5+\\sqrt7)^{64}"});
  for (const std::string& answer : answers) {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_TRUE(AnswersEqual(answer, answer));
    const auto taken = std::chrono::steady_clock::now() - start;
    EXPECT_LT(taken, kTwoComparisons) << answer.substr(0, 20);
  }
}

}  // namespace
}  // namespace cohort

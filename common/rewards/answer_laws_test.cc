// Laws that hold whatever the answers are: equality is an equivalence, what carries nothing changes
// nothing, and answers that mean different things stay different under all of it.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/rewards/answer.h"

namespace cohort {
namespace {

// Each line one value in several forms; no two lines are equal.
const std::vector<std::vector<std::string>>& Values() {
  static const auto* const kValues = new std::vector<std::vector<std::string>>{
      {"1/2", "0.5", "\\frac{3}{6}", "2^{-1}", "\\sqrt{\\frac14}", "\\sin\\frac{\\pi}{6}"},
      {"-1/2", "\\frac{-1}{2}", "−0.5", "-\\frac12"},
      {"2", "\\sqrt[3]{8}", "4^{1/2}", "\\log_3 9", "|-2|", "2!"},
      {"\\sqrt2", "2^{1/2}", "\\frac{2}{\\sqrt2}", "\\sqrt{\\sqrt4}"},
      {"1.41421356", "\\frac{141421356}{100000000}"},
      {"\\sqrt2-1", "\\frac{1}{\\sqrt2+1}"},
      {"1-\\sqrt2", "-\\frac{1}{1+\\sqrt2}"},
      {"2\\pi", "2π", "\\frac{4\\pi}{2}"},
      {"6.28", "\\frac{157}{25}"},
      {"123456", "123{,}456", "123\\,456", "1.23456\\times10^5"},
      {"(123,456)", "(123,\\,456)"},
      {"123456_7", "123456_{7}", "(123456)_7"},
      {"x+1", "1+x", "\\frac{x^2-1}{x-1}"},
      {"X+1", "1+X"},
      {"x=1+y", "y=x-1", "2x-2y=2"},
      {"x<1", "(-\\infty,1)", "1>x"},
      {"x\\le1", "(-\\infty,1]"},
      {"(1,2)", "\\left(1,\\,2\\right)"},
      {"[1,2)", "1\\le x<2"},
      {"1,2", "2,1", "1 \\text{ and } 2", "x=1 \\text{ or } x=2"},
      {"1,2,3", "3, 1 \\text{ and } 2"},
      {"1:2", "1\\text{ to }2"},
      {"1\\pm2", "3,-1"},
      {"3\\pm\\sqrt2", "3-\\sqrt2,3+\\sqrt2"},
      {"\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\frac12\\begin{bmatrix}2\\\\4\\end{bmatrix}"},
      {"\\begin{pmatrix}1&2\\end{pmatrix}"},
      {"4\\pmod9", "4 \\bmod 9"},
      {"3+4i", "4i+3"},
      {"3-4i", "-4i+3"},
      {"\\text{even}", "Even", "\\textbf{even}"},
      {"\\text{not even}"},
      {"\\text{even or odd}"},
      {"\\emptyset", "\\varnothing"},
      {"0"},
      {"4:15\\text{ p.m.}", "\\text{4:15 PM}"},
      {"4:15\\text{ a.m.}"},
      {"3\\text{ red, }4\\text{ blue}", "3 \\text{ red, } 4 \\text{ blue}"},
      {"4\\text{ red, }3\\text{ blue}"},
      {"2^n", "2^{n}", "2\\cdot2^{n-1}"},
      {"n^2", "n^{2}", "n\\cdot n"},
      {"\\cos x", "\\cos(x)"},
      {"\\cos 2x", "\\cos(2x)"},
      {"\\int\\frac{1}{23}dx"},
      {"\\int\\frac{12}{3}dx"},
  };
  return *kValues;
}

constexpr const char* kDress[] = {
    "$@$", "\\displaystyle @", "@\\,", " @ ", "\\boldsymbol{@}", "\\(@\\)", "{@}", "@.", "@\\\\"};

TEST(AnswerLawsTest, FormsOfOneValueAreEqualAndValuesApart) {
  for (const auto& forms : Values()) {
    for (const std::string& a : forms) {
      EXPECT_TRUE(AnswerMatches(a, a)) << a;
      for (const std::string& b : forms) {
        EXPECT_EQ(CanonicalAnswer(a), CanonicalAnswer(b)) << a << " and " << b;
      }
      for (const auto& others : Values()) {
        if (&others == &forms) continue;
        for (const std::string& other : others) {
          EXPECT_NE(CanonicalAnswer(a), CanonicalAnswer(other)) << a << " and " << other;
          EXPECT_FALSE(AnswersEqual(a, other)) << a << " and " << other;
        }
      }
    }
  }
}

TEST(AnswerLawsTest, EqualityIsSymmetricAndMatchesGrantNoLess) {
  for (const auto& left : Values()) {
    for (const auto& right : Values()) {
      for (const std::string& a : left) {
        for (const std::string& b : right) {
          const bool equal = AnswersEqual(a, b);
          EXPECT_EQ(AnswersEqual(b, a), equal) << a << " and " << b;
          EXPECT_EQ(CanonicalAnswer(a) == CanonicalAnswer(b), equal) << a << " and " << b;
          EXPECT_TRUE(!equal || AnswerMatches(a, b)) << a << " for " << b;
        }
      }
    }
  }
}

TEST(AnswerLawsTest, BareWordsThatJoinAreNoLetters) {
  EXPECT_TRUE(AnswerMatches("37:19", "37 to 19"));
  EXPECT_FALSE(AnswerMatches("19 to 37", "37 to 19"));
  EXPECT_FALSE(AnswerMatches("5 mod 12", "12 mod 5"));
  EXPECT_TRUE(AnswerMatches("6ma", "6am"));
}

TEST(AnswerLawsTest, DressCarriesNothing) {
  for (const auto& forms : Values()) {
    for (const std::string& form : forms) {
      for (const char* dress : kDress) {
        const std::string dressed = absl::StrReplaceAll(dress, {{"@", form}});
        EXPECT_EQ(CanonicalAnswer(dressed), CanonicalAnswer(form)) << dressed;
      }
    }
  }
}

}  // namespace
}  // namespace cohort

// Which answers have one value: in each group all are equal, and none of one group equals one of
// another.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/rewards/answer.h"

namespace cohort {
namespace {

using Groups = std::vector<std::vector<const char*>>;

void ExpectApart(const Groups& groups) {
  for (size_t i = 0; i < groups.size(); ++i) {
    for (const char* a : groups[i]) {
      for (size_t j = 0; j < groups.size(); ++j) {
        for (const char* b : groups[j]) {
          EXPECT_EQ(AnswersEqual(a, b), i == j)
              << a << " and " << b << ": " << CanonicalAnswer(a) << " | " << CanonicalAnswer(b);
        }
      }
    }
  }
}

TEST(AnswerValuesTest, Numbers) {
  ExpectApart({
      {"6", "\\sqrt[3]{216}", "36^{1/2}", "\\binom{4}{2}", "{4 \\choose 2}", "3!", "\\log_2 64",
       "|-6|", "\\lfloor 6.9 \\rfloor", "\\lceil 5.1\\rceil", "\\frac{5!}{20}", "\\gcd(18, 24)",
       "\\frac{\\log 46656}{\\log 6}", "６", "\\textbf{6}", "**6**", "6\\,", "\\boxed{6}", "6\\\\"},
      {"\\sqrt{6}", "√6", "6^{\\frac12}", "\\sqrt{2}\\cdot\\sqrt3", "\\frac{6}{\\sqrt 6}"},
      {"\\sqrt[3]{6}", "6^{1/3}", "\\sqrt[6]{36}"},
      {"\\sqrt7-\\sqrt5", "\\frac{2}{\\sqrt{7}+\\sqrt{5}}", "\\sqrt{12-2\\sqrt{35}}"},
      {"\\frac{5}{11}", "0.\\overline{45}", "0.(45)", "\\cfrac{5}{11}", "{5 \\over 11}",
       "\\frac{-5}{-11}", "5⁄11"},
      {"0.45", "\\frac{9}{20}", "45\\%", "45 percent", "45\\text{ per cent}"},
      {"12300000", "1.23e7", "1.23 \\times 10^7", "1.23·10⁷", "12{,}300{,}000", "12\\,300\\,000",
       "12 300 000", "12.3 \\text{ million}"},
      {"1.23e-7", "1.23\\times10^{-7}"},
      {"3-2i", "-2i+3", "3-2\\mathrm{i}", "3 - 2\\cdot i", "\\frac{13}{3+2i}"},
      {"3+2i"},
      {"2e^3", "2\\mathrm{e}^{3}", "2\\exp(3)"},
      {"\\frac{\\sqrt3}{2}", "\\sin 60^\\circ", "\\cos\\frac{\\pi}{6}"},
      {"½", "0.5", "\\frac{1}{2}"},
      {"(\\frac{3}{5})^{40}"},
      {"(\\frac{3}{5})^{41}"},
  });
}

TEST(AnswerValuesTest, FormulasAndEquations) {
  ExpectApart({
      {"5m^2-45", "5(m-3)(m+3)", "-45+5m^{2}", "5\\left(m^2-9\\right)"},
      {"5M^2-45"},
      {"5n^2-45"},
      {"\\frac{m+4}{m-1}", "1+\\frac{5}{m-1}", "(m+4)/(m-1)", "\\frac{m^2-16}{(m-1)(m-4)}"},
      {"\\frac{m+4}{1-m}"},
      {"m+4/m-1"},
      {"3^{k+2}", "9\\cdot 3^k", "3^k 3^2"},
      {"3^k+2"},
      {"b_7", "b_{7}"},
      {"b_{n+1}", "b_{n + 1}"},
      {"b_n+1"},
      {"b^7", "b^{7}"},
      {"\\sqrt{4t}", "2\\sqrt{t}", "2t^{1/2}"},
      {"\\tan t", "\\tan(t)", "\\tan{t}"},
      {"\\tan 2t"},
      {"3x+4y=10", "6x+8y-20=0", "4y=10-3x", "10 = 3x + 4y", "y = \\frac{10-3x}{4}"},
      {"3x+4y=-10"},
      {"3x+4y-10"},
      {"g(x)=x^3-1", "x^3-1", "g(x) = (x-1)(x^2+x+1)"},
      {"q+r=31", "31 = q+r"},
      {"31", "z = 31", "\\theta=31", "a_2 = 31", "f(9)=31", "\\text{Sum} = 31", "31 = z",
       "S = 20+11 = 31", "AB = 31", "\\angle ABC = 31^\\circ", "25+6=31"},
      {"3z=31"},
      {"-z=31"},
      {"z \\ne 31"},
      {"30 = 31"},
  });
}

TEST(AnswerValuesTest, SetsOfNumbers) {
  ExpectApart({
      {"(-3,5]", "-3 < x \\le 5", "x∈(-3,5]", "5 \\ge t > -3", "x > -3 \\text{ and } x \\leq 5",
       "-6 < 2x \\le 10", "\\{x \\mid -3 < x \\le 5\\}"},
      {"[-3,5)"},
      {"[-3,5]"},
      {"(-\\infty,2)\\cup(2,\\infty)", "x \\neq 2", "\\mathbb{R} \\setminus \\{2\\}",
       "x<2 \\text{ or } x>2", "(2,∞)∪(-∞,2)"},
      {"x<2"},
      {"x \\le 2", "(-\\infty, 2]", "2 \\geq x", "x≤2"},
      {"\\mathbb{R}", "(-\\infty,\\infty)", "\\text{all real numbers}", "ℝ"},
      {"\\emptyset", "\\varnothing", "\\{\\}", "\\text{no solution}"},
      {"\\{\\emptyset\\}"},
      {"3x+2y<12", "6x+4y<24", "2y < 12-3x"},
      {"3x+2y>12"},
      {"|x|>2"},
      {"x>2"},
      {"g(x)>2"},
  });
}

TEST(AnswerValuesTest, Lists) {
  ExpectApart({
      {"7, -3", "-3 \\text{ and } 7", "x=7 \\text{ or } x=-3", "x_1 = -3,\\ x_2 = 7", "7; -3",
       "7 and -3", "7 \\text{ und } -3", "\\{7,\\,-3\\}", "x = 7, -3", "2 \\pm 5",
       "x \\in \\{-3, 7\\}"},
      {"7, 3"},
      {"7"},
      {"(7,-3)", "(x,y)=(7,-3)", "x=7, y=-3", "y=-3 \\text{ and } x=7", "\\bigl(7,-3\\bigr)",
       "（7，-3）", "\\langle 7, -3 \\rangle", "\\frac12(14,-6)"},
      {"(-3,7)", "x=-3, y=7"},
      {"(1,2),(3,4)", "(3,4) \\text{ and } (1,2)"},
      {"(1,4),(3,2)"},
      {"\\begin{pmatrix} 7 \\\\ -3 \\end{pmatrix}",
       "\\left(\\begin{array}{c} 7 \\\\ -3\\end{array}\\right)",
       "\\begin{bmatrix} 7 \\\\[4pt] -3 \\end{bmatrix}",
       "\\mathbf{v} = \\begin{pmatrix} 7 \\\\ -3 \\end{pmatrix}",
       "\\frac12\\begin{pmatrix} 14 \\\\ -6 \\end{pmatrix}"},
      {"\\begin{pmatrix} 7 & -3 \\end{pmatrix}"},
      {"\\begin{vmatrix} 4 & 1 \\\\ 2 & 6 \\end{vmatrix}", "22"},
      {"\\begin{pmatrix} 4 & 1 \\\\ 2 & 6 \\end{pmatrix}"},
  });
}

TEST(AnswerValuesTest, Words) {
  ExpectApart({
      {"\\text{Monday}", "monday", "\\textbf{Monday}", "\\text{Monday.}"},
      {"\\text{not Monday}"},
      {"\\text{Monday or Friday}"},
      {"E", "(E)", "E)", "\\textbf{(E)}", "\\text{E}", "\\text{Option E}"},
      {"\\text{D or E}"},
      {"44", "44\\text{ cm}", "44 cm", "44~\\text{cm}", "44\\,\\mathrm{cm}^2", "44\\ \\text{km/h}",
       "44 degrees", "44\\degree", "\\$44", "44\\text{ dollars}", "44\\text{ pears}",
       "44\\,\\mathrm{m/s^2}", "44^\\circ\\text{C}"},
      {"44x"},
      {"44\\text{ or }50"},
      {"44\\text{ or more}"},
      {"44\\text{ less than }50"},
      {"44\\text{ is odd}"},
      {"44\\text{ billion}", "44{,}000{,}000{,}000"},
      {"44\\text{万}", "440000"},
      {"2\\text{ hours and }10\\text{ minutes}", "2 \\text{ hours } 10 \\text{ minutes}",
       "2 \\text{ h } 10\\text{ min}"},
      {"2\\text{ hours}", "2"},
      {"2\\text{ hours and }15\\text{ minutes}"},
      {"3\\text{ tall, }5\\text{ low}", "3 \\text{ tall, } 5 \\text{ low}"},
      {"3\\text{ low, }5\\text{ tall}"},
      {"6:20\\text{ p.m.}", "\\text{6:20 p.m.}", "6{:}20\\text{ PM}"},
      {"6:20\\text{ a.m.}"},
      {"5:3", "5 : 3", "5\\text{ to }3"},
      {"3:5"},
      {"6 \\pmod{11}", "6\\pmod {11}", "6\\text{ (mod }11)", "x \\equiv 6 \\pmod{11}"},
      {"6 \\pmod{7}"},
      {"314_6", "314_{6}", "(314)_6", "314_{\\text{six}}"},
      {"314_7"},
      {"19\\text{ R }3", "19 \\text{ remainder } 3"},
      {"19\\text{ R }4"},
      {"p \\text{ is prime}"},
      {"p \\text{ is not prime}"},
      {"p"},
  });
}

// What is not understood is compared as it is written.
TEST(AnswerValuesTest, OtherTexts) {
  ExpectApart({
      {"\\int\\frac{1}{23}dx", "\\int \\frac{1}{23} dx"},
      {"\\int\\frac{12}{3}dx"},
      {"\\sum_{k=1}^{10}2", "\\sum_{k=1}^{10} 2"},
      {"\\sum_{k=1}^{102}"},
      {"13k^2m+8km+2k", "2k + 8mk + 13mk^2"},
      {"13k^2m+8k+2k"},
  });
}

TEST(AnswerValuesTest, AReplyMayNameWhatTheGoldAnswerStates) {
  EXPECT_TRUE(AnswerMatches("y = 3x+2", "3x+2"));
  EXPECT_FALSE(AnswerMatches("3x+2", "y = 3x+2"));
  EXPECT_TRUE(AnswerMatches("4x = 6", "x = \\frac{3}{2}"));
  EXPECT_FALSE(AnswerMatches("4x = 6", "6"));
  EXPECT_TRUE(AnswerMatches("x = \\frac{\\pi}{3}+2k\\pi, k \\in \\mathbb{Z}",
                            "2\\pi k+\\frac{\\pi}{3},\\ k\\in\\mathbb Z"));
  EXPECT_FALSE(AnswerMatches("\\frac{\\pi}{3}+k\\pi, k \\in \\mathbb{Z}",
                             "\\frac{\\pi}{3}+2k\\pi, k\\in\\mathbb{Z}"));
  EXPECT_TRUE(AnswerMatches("b_n = 3n+4", "b_{n}=4+3n"));
  EXPECT_TRUE(AnswerMatches("3n+4", "b_{n}=4+3n"));
  EXPECT_TRUE(AnswerMatches("52 m", "52"));
  EXPECT_TRUE(AnswerMatches("52 m/s", "52"));
  EXPECT_FALSE(AnswerMatches("52m", "52"));
  EXPECT_TRUE(AnswerMatches("\\sin\\theta = \\frac{3}{5}", "\\frac{3}{5}"));
}

TEST(AnswerValuesTest, OneNumberIsKnownAsSuch) {
  EXPECT_EQ(CanonicalNumber("x = 12\\text{ cm}"), "12");
  EXPECT_EQ(CanonicalNumber("2\\sqrt{3}"), CanonicalNumber("\\sqrt{12}"));
  for (const char* text : {"3x", "1, 2", "(1,2)", "x > 2", "twelve", "5:3", "2 \\pmod 3", ""}) {
    EXPECT_EQ(CanonicalNumber(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace cohort

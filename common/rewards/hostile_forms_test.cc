// Answers whose value would be costly to work out, kind by kind: no verifier that compares values
// takes 50 ms over one, whatever form the gold answer has, nor much memory.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/rewards/answer.h"
#include "common/rewards/hostile_answers.h"
#include "common/rewards/verifier.h"

namespace cohort {
namespace {

using Texts = std::vector<std::string>;

// `outer` put around itself `depth` times: its `@` is what it is put around.
std::string Nested(const std::string& outer, int depth, std::string inner) {
  for (int i = 0; i < depth; ++i) inner = absl::StrReplaceAll(outer, {{"@", inner}});
  return inner;
}

Texts Powers() {
  return {"9^{9^{9^{9^{9}}}}",
          "2^{10^{9}}",
          "10^{10^{100}}",
          "1.5^{99999999999999999999}",
          "(2/3)^{-999999999}",
          "2^{2^{2^{2^{2^{2}}}}}",
          "(1+10^{300})^{300}",
          "7^{1/999999937}",
          "1000003^{4095/4096}",
          "2^{4096}\\cdot 3^{4096}\\cdot 5^{4096}\\cdot 7^{4096}",
          "e^{10^{12}}+\\pi^{10^{12}}",
          "x^{10^{12}}",
          "(x^{999999})^{999999}",
          "x^{y^{z^{w^{v}}}}",
          "1e999999999",
          "1e-999999999",
          "9.99 \\times 10^{99999999999999999999}",
          "1.0E+2147483648",
          Nested("(@)^2", 40, "3"),
          Nested("(@)^2", 40, "x+1"),
          Nested("(@+1)^2", 12, "x"),
          Nested("2^{@}", 300, "1"),
          "10^{4000}" + Repeat("+10^{4000}", 15'000)};
}

Texts Polynomials() {
  return {"(x+1)^{1000000000}",
          "(x+1)^{300}",
          "(a+b+c+d+e+f+g+h)^{64}",
          "(a+b+c+d)^{12}(p+q+r+s)^{12}",
          "(x+y)^{150}(x-y)^{150}",
          "(1+x+x^2+x^3+x^4)^{60}(1-x)^{60}",
          "(x^{99}+1)(x^{98}+1)(x^{97}+1)(x^{96}+1)(x^{95}+1)(x^{94}+1)(x^{93}+1)(x^{92}+1)",
          "(1+a)(1+b)(1+c)(1+d)(1+e)(1+f)(1+g)(1+h)(1+j)(1+k)(1+l)(1+m)(1+n)(1+o)(1+p)(1+q)",
          Numbered("(x+#)", 300),
          Numbered("(x_{#}+1)", 200),
          Numbered("(1+a_{#})", 15) + Numbered("(1+b_{#})", 15),
          Numbered("x^{#}+", 400) + "1",
          Numbered("a_{#}b_{#}+", 150) + "1",
          Nested("(@)(@)", 9, "x+y"),
          Nested("(@+y)(@-y)", 8, "x"),
          "(" + Numbered("x^{#}y+", 120) + "1)(" + Numbered("z^{#}w+", 120) + "1)",
          "(123456789123456789x+987654321987654321y)^{200}",
          "(x+10^{2000})^{100}"};
}

Texts Quotients() {
  return {
      "\\frac{x^{300}-1}{x^{299}-1}",
      "\\frac{(x+y)^{60}-1}{(x-y)^{60}-1}",
      "\\frac{(a+b+c)^{12}+1}{(a-b+c)^{12}+1}",
      "\\frac{(x+y+z)^{10}(x-y-z)^{10}}{(x+y+z)^{10}(x+y-z)^{10}}",
      "\\frac{(a+b)^5(c+d)^5(p+q)^5+1}{(a+b)^4(c+d)^4(p+q)^4+1}",
      "\\frac{x^{97}y^{89}-1}{x^{83}y^{79}-1}",
      "\\frac{1}{a-b}+\\frac{1}{b-c}+\\frac{1}{c-d}+\\frac{1}{d-f}+\\frac{1}{f-g}+\\frac{1}{g-h}",
      Numbered("\\frac{1}{x+#}+", 60) + "1",
      Numbered("\\frac{1}{a_{#}}+", 14) + "1",
      Numbered("\\frac{x}{y+#z}+", 40) + "1",
      Nested("\\frac{1}{1+@}", 300, "x"),
      Nested("\\frac{@}{@+1}", 9, "x"),
      Nested("\\frac{1}{@+y}", 60, "x"),
      Nested("1/(@)", 500, "3"),
      Numbered("1/#", 900),
      Repeat("\\frac{1}{999999937}+\\frac{1}{999999929}+", 30'000) + "1",
      Numbered("\\frac{1}{10#7}+", 400) + "1"};
}

Texts Roots() {
  Texts texts = {
      "\\sqrt[99999]{2}",
      "\\sqrt[64]{2}+\\sqrt[63]{3}+\\sqrt[61]{5}+\\sqrt[59]{7}",
      "\\frac{1}{\\sqrt[64]{2}+\\sqrt[63]{3}}",
      "\\frac{1}{\\sqrt[3]{2}+\\sqrt[3]{3}+\\sqrt[3]{5}+\\sqrt[3]{7}}",
      "\\frac{1}{1+\\sqrt2+\\sqrt3+\\sqrt5+\\sqrt7+\\sqrt{11}+\\sqrt{13}+\\sqrt{17}}",
      "(\\sqrt2+\\sqrt3+\\sqrt5+\\sqrt7+\\sqrt{11}+\\sqrt{13})^{200}",
      "(\\sqrt[64]{2}+\\sqrt[27]{3}+\\sqrt[25]{5})^{60}",
      "\\sqrt{18446744073709551557}",
      "\\sqrt{4611685283988009527}+\\sqrt{4611685975477714963}",
      "\\sqrt{" + std::string(600, '7') + "}",
      "\\sqrt[3]{" + std::string(1800, '9') + "}",
      "\\sqrt{10^{2000}+1}",
      "\\sqrt{(1+x)^{15}(1+y)^{15}+1}(1+z)^{15}(1+w)^{15}"
      "\\sqrt{(1+x)^{15}(1+y)^{15}+1}(1+u)^{15}(1+v)^{15}",
      "(\\sqrt{(1+x)^{12}(1+y)^{12}+1}+(1+z)^{15})^{12}",
      "(\\sqrt{1+x}+\\sqrt{1+y}+\\sqrt{1+z}+\\sqrt{1+w})^{40}",
      "\\frac{1}{\\sqrt{1+x}+\\sqrt{1+y}+\\sqrt{1+z}+\\sqrt{1+w}+\\sqrt{1+v}}",
      "\\sqrt{\\sqrt{2}+\\sqrt{3}}\\cdot\\sqrt{\\sqrt{5}+\\sqrt{7}}+\\sqrt{\\sqrt{11}+\\sqrt{13}}",
      Nested("\\sqrt{1+@}", 300, "2"),
      Nested("\\sqrt{1+@}", 14, "x"),
      Nested("(\\sqrt{1+@})^{3}", 12, "x"),
      Nested("\\sqrt[5]{1+@}", 14, "2"),
      Nested("\\sqrt{@+\\sqrt{@}}", 8, "2"),
      Nested("\\frac{1}{1+\\sqrt{@}}", 12, "2"),
      "((1+i)^{64}+1)^{64}",
      "\\frac{1}{i+\\sqrt2+\\sqrt[3]{3}+\\sqrt[5]{5}}",
      "(\\sqrt2+i\\sqrt3)^{400}"};
  texts.push_back(Numbered("\\sqrt{10#7}+", 300) + "1");
  texts.push_back(Numbered("\\sqrt{#000003}", 200));
  texts.push_back(Numbered("\\sqrt[#]{2}+", 60) + "1");
  texts.push_back(Repeat("(\\sqrt2+\\sqrt3)", 12'000));
  return texts;
}

Texts Functions() {
  return {"1000000000!",
          "99999!",
          "((9!)!)!",
          "\\binom{1000000000}{500000000}",
          "\\binom{10^{18}}{5}",
          "\\binom{9999}{4999}",
          "{999999999999 \\choose 3}",
          "\\binom{-5}{3}",
          Repeat("3!", 10'000),
          std::string(3000, '(') + "5" + Repeat(")!", 6000),
          Numbered("\\binom{100#}{50#}+", 200) + "1",
          Numbered("20#!+", 100) + "1",
          "\\lfloor 10^{2000}\\pi \\rfloor",
          "\\lfloor (1+\\sqrt2)^{1000} \\rfloor",
          "\\lceil e^{e^{e^{e}}} \\rceil",
          Nested("\\lfloor @ \\rfloor", 500, "7.5"),
          Nested("|@-1|", 500, "x"),
          Nested("|1-@|", 200, "\\sqrt2"),
          "\\log_{2}(3^{10^9})",
          "\\log_{10^{4000}}(10^{4000}+1)",
          "\\ln(" + std::string(2000, '9') + ")",
          "\\log(4611685283988009527)+\\log(4611685975477714963)+\\log(4611686014132420609)",
          Nested("\\ln(@+1)", 300, "2"),
          Nested("\\sin(@)", 300, "x"),
          Nested("\\cos(@+x)", 100, "x"),
          "\\cos(\\frac{\\pi}{999999937})",
          "\\sin(10^{300}\\pi)",
          "\\tan(\\pi/97)+\\tan(\\pi/89)+\\tan(\\pi/83)",
          Numbered("\\sin(#x)+", 200) + "1",
          Numbered("\\cos(\\pi/#1)", 100),
          "\\gcd(10^{2000},10^{2000}-1)",
          "\\max(" + Numbered("#,", 600) + "1)",
          "\\sum_{n=1}^{1000000000} n^2",
          "\\prod_{k=1}^{10^9} k",
          "\\int_0^1 x^{10^9} dx",
          "\\lim_{n\\to\\infty}(1+1/n)^n"};
}

Texts Lists() {
  return {Repeat("1,", 20'000) + "1",
          Numbered("#,", 3000) + "1",
          Numbered("#;", 20'000) + "1",
          Numbered("\\sqrt{#}, ", 400) + "1",
          Numbered("x_{#}=#, ", 400) + "y=1",
          Numbered("x = # \\text{ or } ", 400) + "x=1",
          Numbered("# \\text{ and } ", 600) + "1",
          Numbered("(#,#),", 600) + "(1,2)",
          Numbered("\\{#,\\{#\\}\\},", 300) + "1",
          "1" + Repeat("\\pm1", 4'000),
          "1" + Repeat("\\pm\\sqrt2", 8'000),
          "\\pm1" + Repeat(",\\pm1", 8'000),
          "(\\pm1" + Repeat(",\\pm1", 200) + ")",
          Nested("\\sqrt{1\\pm @}", 14, "2"),
          Nested("(@,@)", 10, "1"),
          Nested("\\{@,1\\}", 400, "2"),
          Nested("[@]", 900, "2"),
          Numbered("#=", 900) + "1",
          Repeat("1+1=", 8'000) + "2",
          Repeat("(1+\\sqrt2)^9=", 8'000) + "2",
          Numbered("x^{#}=", 300) + "2",
          Repeat("2:", 8'000) + "1",
          Numbered("# \\text{ to } ", 500) + "1",
          Repeat("12:", 8'000) + "30\\text{ p.m.}",
          Repeat("\\text{or}", 60'000)};
}

Texts Sets() {
  return {Numbered("(#,#.5)\\cup", 400) + "(1,2)",
          Numbered("[#,10#]\\cup", 400) + "(1,2)",
          Repeat("(0,1)\\cap", 8'000) + "(0,1)",
          Numbered("x<# \\text{ or } ", 400) + "x>1",
          Numbered("x>=# \\text{ and } ", 400) + "x>1",
          Numbered("#<", 900) + "x",
          Numbered("#x+y<=", 200) + "1",
          "(\\sqrt{10^{300}+1},\\sqrt{10^{300}+2})",
          "(\\frac{1}{\\sqrt2+\\sqrt3+\\sqrt5+\\sqrt7+\\sqrt{11}},10^{4000})",
          "x^{300}+y^{300}<(x+y)^{300}",
          "\\mathbb{R}\\setminus\\{" + Numbered("#,", 400) + "1\\}",
          Repeat("\\mathbb{R}\\setminus", 20'000) + "\\{1\\}",
          Nested("(@\\cup(1,2))", 400, "(3,4)"),
          "\\{x : " + Numbered("x\\ne #, ", 300) + "x>1\\}",
          Repeat("\\emptyset\\cup", 20'000) + "(1,2)"};
}

Texts Equations() {
  return {"(x+y)^{120}=(x-y)^{120}",
          "(a+b+c+d+f)^{20}=1",
          "\\frac{1}{(x+y)^{30}}=\\frac{1}{(x-y)^{30}}",
          Numbered("x_{#}+", 300) + "1=0",
          Numbered("#x+#y=#,", 200) + "x=1",
          "f(x)=(x+1)^{100000}",
          "f(x)=" + Nested("\\frac{1}{1+@}", 60, "x"),
          "y=" + Nested("\\sqrt{1+@}", 14, "x"),
          Repeat("x=", 20'000) + "1",
          "(x-1)^{200}(y-1)^{200}=0",
          "10^{4000}x+10^{4000}y=10^{4000}"};
}

Texts Matrices() {
  const auto matrix = [](const std::string& body) {
    return absl::StrCat("\\begin{pmatrix}", body, "\\end{pmatrix}");
  };
  return {matrix(Repeat("1&", 20'000) + "1"),
          matrix(Repeat("1\\\\", 20'000) + "1"),
          matrix(Repeat(Repeat("1&", 60) + "1\\\\", 20'000)),
          matrix(Numbered("\\sqrt{#}&", 300) + "1"),
          matrix(Numbered("(x+#)^{20}&", 100) + "1"),
          "10^{4000}" + matrix(Numbered("10^{4000}+#\\\\", 200) + "1"),
          "\\frac{1}{\\sqrt2+\\sqrt3+\\sqrt5}" + matrix(Numbered("\\sqrt{#}\\\\", 200) + "1"),
          Repeat("2", 3'000) + matrix("1\\\\2"),
          Nested("\\begin{pmatrix}@&1\\end{pmatrix}", 200, "1"),
          Repeat("\\begin{pmatrix}1\\end{pmatrix}", 60'000),
          "\\langle " + Numbered("#,", 600) + "1\\rangle",
          "\\left(\\begin{array}{" + std::string(50'000, 'c') + "}1&2\\end{array}\\right)"};
}

Texts Numerals() {
  const std::string digits(kHostileBytes / 2, '7');
  return {"0.\\overline{" + digits + "}",
          "0." + digits + "\\overline{3}",
          "0.\\overline{" + std::string(2000, '3') + "1}",
          digits + "/" + digits,
          "1" + Repeat("{,}000", kHostileBytes / 2),
          "1" + Repeat("\\,000", kHostileBytes / 2),
          "1" + Repeat("~000", kHostileBytes / 2),
          digits + "_{7}",
          std::string(3000, '1') + "_2",
          Repeat("１", kHostileBytes / 2),
          Repeat("½", kHostileBytes / 2),
          Repeat("√", kHostileBytes / 2) + "2",
          Repeat("−", kHostileBytes / 2) + "2",
          digits + "\\pmod{" + digits + "}",
          "\\frac{" + digits + "}{" + digits + "}",
          "7\\frac{" + std::string(2000, '7') + "}{" + std::string(1999, '3') + "}",
          digits + "%",
          "\\$" + digits,
          digits + "\\text{ million}",
          "7" + Repeat("\\text{ million}", 20'000),
          digits + " cm"};
}

Texts Words() {
  return {"\\text{" + Repeat("apple ", kHostileBytes / 2) + "}",
          Repeat("\\text{a}", kHostileBytes / 2),
          Repeat("5\\text{ red, }", 60'000),
          Repeat("3 hours 20 minutes ", 60'000),
          Repeat("\\mathbf{", 9'000) + "5" + std::string(1125, '}'),
          Nested("\\textbf{@}", 900, "5"),
          Nested("\\boxed{@}", 900, "5"),
          Nested("\\left(@\\right)", 900, "5"),
          Nested("{@}", 1900, "5"),
          Repeat("\\bigl", kHostileBytes / 2) + "(5)",
          Repeat("\\,", kHostileBytes / 2) + "5",
          Repeat("5\\\\", kHostileBytes / 2),
          Repeat("**", kHostileBytes / 2) + "5",
          Repeat("\\text{not }", 60'000) + "5",
          Repeat("\\hspace{", 60'000),
          Repeat("\\operatorname{", 60'000),
          Repeat("\\begin{array}", 60'000),
          Repeat("\\end{array}", 60'000),
          Repeat("\\color{red}", 60'000) + "5",
          Repeat("和", kHostileBytes / 2),
          Repeat("（", kHostileBytes / 2),
          Repeat("kg m/s ", 60'000),
          "5" + Repeat(" kg", 60'000),
          "5" + Repeat("^\\circ", 60'000),
          "5 m" + Repeat("^2", 60'000)};
}

struct Kind {
  const char* name;
  Texts texts;
};

std::vector<Kind> Kinds() {
  return {{"powers", Powers()},       {"polynomials", Polynomials()},
          {"quotients", Quotients()}, {"roots", Roots()},
          {"functions", Functions()}, {"lists", Lists()},
          {"sets", Sets()},           {"equations", Equations()},
          {"matrices", Matrices()},   {"numerals", Numerals()},
          {"words", Words()}};
}

// Gold answers of every form: what an answer is compared with decides how it is read.
constexpr const char* kGolds[] = {"7",
                                  "\\frac{3}{7}",
                                  "1+\\sqrt[3]{5}",
                                  "2x^2+3y-1",
                                  "\\frac{x+1}{x-2}",
                                  "2x+3y=7",
                                  "f(x)=x^2+1",
                                  "x=1, y=2",
                                  "1\\pm\\sqrt2",
                                  "1, 2 \\text{ and } 3",
                                  "(1,2],[3,4)",
                                  "(-\\infty,1)\\cup(2,\\infty)",
                                  "x<3",
                                  "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}",
                                  "3:2",
                                  "4 \\pmod 7",
                                  "2 hours and 5 minutes",
                                  "12_5",
                                  "\\text{Tuesday}"};

std::shared_ptr<const RewardPrompt> PromptOf(const std::string& gold) {
  nlohmann::json columns;
  columns["answer"] = gold;
  columns["numbers"] = {3, 4, 5};
  columns["choices"] = {"3", "4", gold};
  return *MakeRewardPrompt(columns.dump(), "", 1);
}

std::string Start(const std::string& text) { return text.substr(0, 60); }

TEST(HostileFormsTest, NoValueTakesLongToCompare) {
  const auto verifier = *MakeVerifier("rule_math", {});
  for (const Kind& kind : Kinds()) {
    for (const std::string& text : kind.texts) {
      RewardInput input;
      input.completion = absl::StrCat("\\boxed{", text, "}");
      for (const char* gold : kGolds) {
        input.prompt = PromptOf(gold);
        Outcome outcome = Outcome::kUnscorable;
        ExpectQuick(absl::StrCat(kind.name, " for ", gold, ": ", Start(text)),
                    [&] { outcome = verifier->Verify(input).outcome; });
        EXPECT_NE(outcome, Outcome::kUnscorable) << gold << ": " << Start(text);
      }
    }
  }
}

TEST(HostileFormsTest, NoOtherVerifierTakesLong) {
  const std::pair<const char*, const char*> places[] = {
      {"rule_gsm8k", "#### "},         {"rule_dapo", "Answer: "},  {"rule_number", "\\boxed{"},
      {"rule_last_integer", "It is "}, {"rule_units", "\\boxed{"}, {"rule_choice", "\\boxed{"},
      {"rule_countdown", ""},          {"rule_sorting", ""},       {"rule_regex", "\\boxed{"}};
  for (const auto& [name, before] : places) {
    const auto verifier = *MakeVerifier(name, {});
    for (const Kind& kind : Kinds()) {
      for (const std::string& text : kind.texts) {
        RewardInput input;
        input.prompt = PromptOf("7");
        input.completion = absl::StrCat(before, text, before[0] == '\\' ? "}" : "");
        ExpectQuick(absl::StrCat(name, ", ", kind.name, ": ", Start(text)),
                    [&] { verifier->Verify(input); });
      }
    }
  }
}

// Majority votes and clusters read answers without a gold answer, and compare them with each other.
TEST(HostileFormsTest, NoVoteTakesLongAndEveryAnswerEqualsItself) {
  for (const Kind& kind : Kinds()) {
    for (const std::string& text : kind.texts) {
      std::string canonical;
      ExpectQuick(absl::StrCat("vote, ", kind.name, ": ", Start(text)),
                  [&] { canonical = CanonicalAnswer(text); });
      EXPECT_EQ(CanonicalAnswer(text), canonical) << Start(text);
      bool equal = false;
      ExpectQuick(
          absl::StrCat("itself, ", kind.name, ": ", Start(text)),
          [&] { equal = AnswersEqual(text, text); }, 2 * kHostileLimit);
      EXPECT_TRUE(equal) << kind.name << ": " << Start(text);
    }
  }
  EXPECT_LT(PeakMiB(), 1024) << "MiB of memory";
}

}  // namespace
}  // namespace cohort

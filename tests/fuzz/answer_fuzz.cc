#include "tests/fuzz/answer_fuzz.h"

#include <array>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/log.h"
#include "common/rewards/answer.h"
#include "common/rewards/verifier.h"

namespace cohort {
namespace {

constexpr size_t kMaxBytes = 6000;  // of a described answer: doubling would grow without end

// What a byte means: a leaf, arithmetic, what is built around formulas, a copy.
constexpr uint8_t kFirstArithmetic = 96;
constexpr uint8_t kFirstStructure = 220;
constexpr uint8_t kFirstCopy = 244;

constexpr std::array<const char*, 32> kLeaves = {"1",
                                                 "2",
                                                 "3",
                                                 "7",
                                                 "10",
                                                 "0.5",
                                                 "12345",
                                                 "99",
                                                 "x",
                                                 "y",
                                                 "n",
                                                 "a_1",
                                                 "\\pi",
                                                 "\\theta",
                                                 "i",
                                                 "e",
                                                 "\\infty",
                                                 "\\sqrt2",
                                                 "-4",
                                                 "1{,}000",
                                                 "50\\%",
                                                 "2^{10}",
                                                 "\\text{ cm}",
                                                 "\\text{ and }",
                                                 "\\text{ or }",
                                                 "0.\\overline{3}",
                                                 "m",
                                                 "\\alpha",
                                                 "½",
                                                 "３",
                                                 "1e9",
                                                 "\\$5"};

// `@` is the formula on top of the stack, `#` the one below it.
constexpr std::array<const char*, 20> kArithmetic = {
    "#+@",          "#-@",           "(#)(@)",    "#\\cdot @", "(#)(@)",
    "\\frac{#}{@}", "\\frac{#}{@}",  "(#)/(@)",   "(#)^{@}",   "(@)^{2}",
    "(@)^{3}",      "(@)^{12}",      "\\sqrt{@}", "\\sqrt{@}", "\\sqrt[3]{@}",
    "|@|",          "\\binom{#}{@}", "\\sin(@)",  "\\ln(@)",   "-@"};
constexpr std::array<const char*, 26> kStructure = {"#@",
                                                    "(@)!",
                                                    "\\sqrt[#]{@}",
                                                    "\\log_{#}{@}",
                                                    "\\lfloor @\\rfloor",
                                                    "#=@",
                                                    "#<@",
                                                    "#\\le @",
                                                    "#\\ne @",
                                                    "#,@",
                                                    "(#,@)",
                                                    "[#,@)",
                                                    "\\{#,@\\}",
                                                    "#\\cup @",
                                                    "#\\pm @",
                                                    "#:@",
                                                    "#\\pmod{@}",
                                                    "x \\in @",
                                                    "f(x)=@",
                                                    "\\begin{pmatrix}#\\\\@\\end{pmatrix}",
                                                    "\\begin{pmatrix}#&@\\end{pmatrix}",
                                                    "\\text{@}",
                                                    "\\mathbf{@}",
                                                    "#_{@}",
                                                    "\\left(@\\right)",
                                                    "#/@"};

constexpr const char* kGolds[] = {"7",
                                  "\\frac{3}{7}",
                                  "1+\\sqrt[3]{5}",
                                  "2x^2+3y",
                                  "2x+3y=7",
                                  "f(x)=x^2+1",
                                  "x=1, y=2",
                                  "1\\pm\\sqrt2",
                                  "1, 2 \\text{ and } 3",
                                  "(1,2]",
                                  "(-\\infty,1)\\cup(2,\\infty)",
                                  "x<3",
                                  "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}",
                                  "3:2",
                                  "4 \\pmod 7",
                                  "2 hours and 5 minutes",
                                  "12_5",
                                  "\\text{Tuesday}",
                                  "5 cm",
                                  "B"};

const std::vector<std::shared_ptr<const RewardPrompt>>& Prompts() {
  static const auto* const kPrompts = [] {
    auto* prompts = new std::vector<std::shared_ptr<const RewardPrompt>>();
    for (const char* gold : kGolds) {
      nlohmann::json columns = {{"answer", gold}, {"numbers", {3, 8}}, {"choices", {"7", gold}}};
      prompts->push_back(*MakeRewardPrompt(columns.dump(), "", 1));
    }
    return prompts;
  }();
  return *kPrompts;
}

const std::vector<std::unique_ptr<Verifier>>& Verifiers() {
  static const auto* const kVerifiers = [] {
    auto* verifiers = new std::vector<std::unique_ptr<Verifier>>();
    for (const char* name : {"rule_math", "rule_gsm8k", "rule_dapo", "rule_number", "rule_units",
                             "rule_last_integer", "rule_choice", "rule_countdown"}) {
      verifiers->push_back(*MakeVerifier(name, {}));
    }
    return verifiers;
  }();
  return *kVerifiers;
}

void CheckLaws(const std::string& a, const std::string& b) {
  const std::string left = CanonicalAnswer(a);
  const std::string right = CanonicalAnswer(b);
  COHORT_CHECK(CanonicalAnswer(a) == left);
  COHORT_CHECK(AnswersEqual(a, a) && AnswersEqual(b, b));
  COHORT_CHECK(AnswersEqual(a, b) == AnswersEqual(b, a));
  COHORT_CHECK(AnswersEqual(a, b) == (left == right));
  if (left == right) COHORT_CHECK(AnswerMatches(a, b) && AnswerMatches(b, a));
}

void CheckForms(const std::string& answer) {
  RewardInput input;
  for (const auto& prompt : Prompts()) {
    input.prompt = prompt;
    for (const auto& verifier : Verifiers()) {
      for (const char* before : {"\\boxed{", "#### ", "Answer: "}) {
        input.completion = absl::StrCat(before, answer, before[0] == '\\' ? "}" : "");
        verifier->Verify(input);
      }
    }
  }
}

}  // namespace

std::string DescribedAnswer(const uint8_t* data, size_t size) {
  std::vector<std::string> stack = {"2", "x"};
  for (size_t i = 0; i < size; ++i) {
    if (data[i] < kFirstArithmetic) {
      stack.emplace_back(kLeaves[data[i] % kLeaves.size()]);
      continue;
    }
    const std::string top = stack.back();
    if (data[i] >= kFirstCopy) {  // the same formula again: what grows fastest
      stack.push_back(top);
      continue;
    }
    const std::string operation = data[i] < kFirstStructure
                                      ? kArithmetic[data[i] % kArithmetic.size()]
                                      : kStructure[data[i] % kStructure.size()];
    const bool binary = operation.find('#') != std::string::npos;
    if (binary && stack.size() < 2) continue;
    stack.pop_back();
    const std::string below = binary ? stack.back() : "";
    if (binary) stack.pop_back();
    std::string made = absl::StrReplaceAll(operation, {{"@", top}, {"#", below}});
    stack.push_back(made.size() > kMaxBytes ? top : std::move(made));
  }
  return stack.back();
}

int FuzzAnswerPair(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const size_t zero = text.find('\0');
  CheckLaws(text.substr(0, zero), zero == std::string::npos ? text : text.substr(zero + 1));
  return 0;
}

int FuzzAnswerForms(const uint8_t* data, size_t size) {
  CheckForms(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}

int FuzzFormula(const uint8_t* data, size_t size) {
  const std::string answer = DescribedAnswer(data, size);
  CheckLaws(answer, DescribedAnswer(data, size / 2));
  CheckLaws(answer, absl::StrCat("\\displaystyle ", answer));
  return 0;
}

}  // namespace cohort

#include "common/rewards/verifier.h"

#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/text/json.h"

namespace cohort {
namespace {

using nlohmann::json;
using testing::HasSubstr;

RewardInput Input(const std::string& completion, const json& columns, GroupId group = 1,
                  int32_t row = 0) {
  RewardInput input;
  input.prompt = *MakeRewardPrompt(columns.dump(), "", group);
  input.completion = completion;
  input.row = row;
  return input;
}

Outcome Judge(const std::string& name, const std::string& completion, const json& columns,
              const VerifierOptions& options = {}) {
  return (*MakeVerifier(name, options))->Verify(Input(completion, columns)).outcome;
}

const Outcome kCorrect = Outcome::kCorrect;
const Outcome kWrong = Outcome::kWrong;
const Outcome kUnparsable = Outcome::kUnparsable;
const Outcome kUnscorable = Outcome::kUnscorable;

TEST(VerifierTest, LastIntegerDecidesTheAdditionTasks) {
  EXPECT_EQ(Judge("rule_last_integer", "3 + 4 = 7.", {{"answer", "7"}}), kCorrect);
  EXPECT_EQ(Judge("rule_last_integer", "07", {{"answer", 7}}), kCorrect);
  EXPECT_EQ(Judge("rule_last_integer", "7 and 8", {{"answer", "7"}}), kWrong);
  EXPECT_EQ(Judge("rule_last_integer", "seven", {{"answer", "7"}}), kUnparsable);
  EXPECT_EQ(Judge("rule_last_integer", "7", {{"answer", "x"}}), kUnscorable);
  EXPECT_EQ(Judge("rule_last_integer", "7", json::object()), kUnscorable);
  EXPECT_EQ(Judge("rule_last_integer", std::string(1'000'000, '9'), {{"answer", "7"}}), kWrong);
}

TEST(VerifierTest, Gsm8kComparesNumbersUnlessCompatible) {
  const json gold = {{"answer", "42"}};
  VerifierOptions compat;
  compat.compat_string = true;
  EXPECT_EQ(Judge("rule_gsm8k", "so\n#### 42", gold), kCorrect);
  for (const char* text : {"#### 42.", "#### 42.0"}) {
    EXPECT_EQ(Judge("rule_gsm8k", text, gold), kCorrect) << text;
    EXPECT_EQ(Judge("rule_gsm8k", text, gold, compat), kWrong) << text;
  }
  const std::string early = "#### 42" + std::string(300, ' ');
  EXPECT_EQ(Judge("rule_gsm8k", early, gold), kCorrect);
  EXPECT_EQ(Judge("rule_gsm8k", early, gold, compat), kUnparsable);
  EXPECT_EQ(Judge("rule_gsm8k", "#### 1,000", {{"answer", "steps #### 1,000"}}), kCorrect);
  EXPECT_EQ(Judge("rule_gsm8k", "The answer is 42", gold), kUnparsable);
}

TEST(VerifierTest, MathComparesTheLastBoxByValue) {
  EXPECT_EQ(Judge("rule_math", "\\boxed{0.5}", {{"answer", "\\frac12"}}), kCorrect);
  EXPECT_EQ(Judge("rule_math", "\\boxed{27}", {{"answer", 27.0}}), kCorrect);
  EXPECT_EQ(Judge("rule_math", "\\boxed{1} \\boxed{2}", {{"answer", "1"}}), kWrong);
  EXPECT_EQ(Judge("rule_math", "1", {{"answer", "1"}}), kUnparsable);
  EXPECT_EQ(Judge("rule_math", "\\boxed{ }", {{"answer", ""}}), kUnscorable);
  EXPECT_EQ(Judge("rule_math", "\\boxed{7}", {{"answer", "thus \\boxed{7}"}}), kCorrect);
  EXPECT_EQ(Judge("rule_math", "\\boxed{b}", {{"answer", {"a", "b"}}}), kCorrect);
  VerifierOptions compat;
  compat.compat_string = true;
  EXPECT_EQ(Judge("rule_math", "\\boxed{3/6}", {{"answer", "1/2"}}, compat), kWrong);
  VerifierOptions thinking;
  thinking.after_thinking = true;
  EXPECT_EQ(Judge("rule_math", "\\boxed{1}</think> so 1", {{"answer", "1"}}, thinking),
            kUnparsable);
}

// Worked solutions of a problem set as responses, against the gold answers that belong to them.
int RightSolutions(const std::string& path, const std::string& content) {
  int rows = 0;
  for (const absl::string_view line : absl::StrSplit(content, '\n', absl::SkipEmpty())) {
    const auto row = ParseJson(line, path);
    if (!row.ok()) continue;
    const std::string solution = (*row)["solution"].get<std::string>();
    const Outcome outcome = Judge("rule_math", solution, {{"answer", (*row)["answer"]}});
    EXPECT_EQ(outcome, kCorrect) << (*row)["answer"] << " in "
                                 << solution.substr(solution.size() / 2);
    rows += outcome == kCorrect ? 1 : 0;
  }
  return rows;
}

std::string ProblemSet(const std::string& name) {
  const char* root = std::getenv("COHORT_SOURCE_DIR");
  return std::string(root == nullptr ? "." : root) + "/../shared/data/" + name + "/test.jsonl";
}

TEST(VerifierTest, Math500SolutionsAreRight) {
  const std::string path = ProblemSet("math500");
  const auto content = ReadFile(path);
  if (absl::IsNotFound(content.status())) GTEST_SKIP() << "no problem set at " << path;
  EXPECT_EQ(RightSolutions(path, *content), 500);
}

TEST(VerifierTest, Aime24SolutionsAreRight) {
  const std::string path = ProblemSet("aime24");
  const auto content = ReadFile(path);
  if (absl::IsNotFound(content.status())) GTEST_SKIP() << "no problem set at " << path;
  EXPECT_EQ(RightSolutions(path, *content), 30);
}

// The gold answers as the sets have them can be answered under every verifier that fits them.
TEST(VerifierTest, PublishedGoldFormsAreAnswered) {
  for (const auto& [gold, number] : {std::pair{"033", "33"}, {"27.0", "27"}, {"1,200", "1200"}}) {
    const json columns = {{"answer", gold}};
    const std::string text = number;
    EXPECT_EQ(Judge("rule_math", "\\boxed{" + text + "}", columns), kCorrect) << gold;
    EXPECT_EQ(Judge("rule_gsm8k", "#### " + text, columns), kCorrect) << gold;
    EXPECT_EQ(Judge("rule_dapo", "Answer: " + text, columns), kCorrect) << gold;
    EXPECT_EQ(Judge("rule_number", "It is " + text + ".", columns), kCorrect) << gold;
    EXPECT_EQ(Judge("rule_last_integer", "It is " + text + ".", columns), kCorrect) << gold;
    EXPECT_EQ(Judge("rule_units", "It is\n" + text, columns), kCorrect) << gold;
  }
}

TEST(VerifierTest, ThinkingThatIsNotEndedHasNoReply) {
  VerifierOptions options;
  options.after_thinking = true;
  const json columns = {{"answer", "12"}, {"numbers", {12}}, {"choices", {"12", "13"}}};
  const std::string text = "<think>12\n#### 12\nAnswer: 12\n\\boxed{12}";
  for (const std::string& name : VerifierNames()) {
    if (!absl::StartsWith(name, "rule_")) continue;
    EXPECT_EQ(Judge(name, text, columns, options), kUnparsable) << name;
    EXPECT_NE(Judge(name, text, {{"answer", ""}}, options), kUnparsable) << name;
  }
  options.pattern = ".*";
  EXPECT_EQ(Judge("rule_regex", text, columns, options), kUnparsable);
}

TEST(VerifierTest, TheLastMatchOfAPatternCounts) {
  VerifierOptions options;
  options.pattern = "result: (-?\\d+)";
  const std::string text = "result: 17\nWait.\nresult: 19";
  EXPECT_EQ(Judge("rule_regex", text, {{"answer", "19"}}, options), kCorrect);
  EXPECT_EQ(Judge("rule_regex", text, {{"answer", "17"}}, options), kWrong);
  std::string many;
  for (int i = 0; i < 20000; ++i) many += "result: 1 ";
  EXPECT_EQ(Judge("rule_regex", many + "result: 2", {{"answer", "2"}}, options), kCorrect);
}

TEST(VerifierTest, AGoldIntegerIsAnIndexAndTextIsNot) {
  const json choices = {"4", "2", "9", "6"};
  EXPECT_EQ(Judge("rule_choice", "The answer is C.", {{"answer", 2}, {"choices", choices}}),
            kCorrect);
  EXPECT_EQ(Judge("rule_choice", "The answer is B.", {{"answer", 2}, {"choices", choices}}),
            kWrong);
  EXPECT_EQ(Judge("rule_choice", "The answer is B.", {{"answer", "2"}, {"choices", choices}}),
            kCorrect);
  const json labelled = {{"text", {"Oslo", "Riga"}}, {"label", {"1", "2"}}};
  EXPECT_EQ(Judge("rule_choice", "It is\nRiga", {{"answer", "2"}, {"choices", labelled}}),
            kCorrect);
  EXPECT_EQ(Judge("rule_choice", "It is\nOslo", {{"answer", "2"}, {"choices", labelled}}), kWrong);
}

TEST(VerifierTest, DapoScoresPlusAndMinusOne) {
  const auto verifier = *MakeVerifier("rule_dapo", {});
  const auto value = [&](const std::string& text) {
    return verifier->Verify(Input(text, {{"answer", "34"}})).value;
  };
  EXPECT_EQ(value("Answer: $34$"), 1);
  EXPECT_EQ(value("Answer: x = 34 dollars"), 1);
  EXPECT_EQ(value("Answer: 35"), -1);
  EXPECT_EQ(value("so \\boxed{34}"), 1);
  EXPECT_EQ(value("\\boxed{34}" + std::string(100, ' ')), -1);
  EXPECT_EQ(value("34"), -1);
}

TEST(VerifierTest, CountdownNeedsEveryNumberOnce) {
  const json columns = {{"answer", "24"}, {"numbers", {3, 8, 2, 2}}};
  EXPECT_EQ(Judge("rule_countdown", "3 * 8 * 2 / 2", columns), kCorrect);
  EXPECT_EQ(Judge("rule_countdown", "Let me see.\n(3*8)*(2/2) = 24", columns), kCorrect);
  EXPECT_EQ(Judge("rule_countdown", "<answer>3*8+2-2</answer> done", columns), kCorrect);
  EXPECT_EQ(Judge("rule_countdown", "3 * 8", columns), kWrong);
  EXPECT_EQ(Judge("rule_countdown", "3 * 8 * 2 * 2", columns), kWrong);
  EXPECT_EQ(Judge("rule_countdown", "24", columns), kWrong);
  EXPECT_EQ(Judge("rule_countdown", "three times eight", columns), kUnparsable);
  EXPECT_EQ(Judge("rule_countdown", "3*8/(2-2)", columns), kUnparsable);
  EXPECT_EQ(Judge("rule_countdown", "24", {{"answer", "24"}}), kUnscorable);
}

TEST(VerifierTest, SortingNeedsTheNumbersInOrder) {
  const json gold = {{"answer", "3 7 7 9"}};
  EXPECT_EQ(Judge("rule_sorting", "Sorted:\n3, 7, 7, 9", gold), kCorrect);
  EXPECT_EQ(Judge("rule_sorting", "3 7 9", gold), kWrong);
  EXPECT_EQ(Judge("rule_sorting", "9 7 7 3", gold), kWrong);
  EXPECT_EQ(Judge("rule_sorting", "none", gold), kUnparsable);
}

TEST(EdgeCaseUnparsableGold, IsUnscorableUnderEveryRule) {
  EXPECT_EQ(Judge("rule_last_integer", "7", {{"answer", "seven"}}), kUnscorable);
  EXPECT_EQ(Judge("rule_math", "\\boxed{7}", {{"answer", ""}}), kUnscorable);
  EXPECT_EQ(Judge("rule_gsm8k", "#### 7", {{"answer", ""}}), kUnscorable);
  EXPECT_EQ(Judge("rule_countdown", "24", {{"answer", "24"}}), kUnscorable);
}

TEST(EdgeCaseUnparsableAnswer, IsScorableUnderEveryRule) {
  EXPECT_EQ(Judge("rule_last_integer", "seven", {{"answer", "7"}}), kUnparsable);
  EXPECT_EQ(Judge("rule_math", "seven", {{"answer", "7"}}), kUnparsable);
  EXPECT_EQ(Judge("rule_gsm8k", "seven", {{"answer", "#### 7"}}), kUnparsable);
}

TEST(VerifierTest, NumbersAreComparedByValue) {
  EXPECT_EQ(Judge("rule_number", "That makes 0.75 in all.", {{"answer", "3/4"}}), kCorrect);
  EXPECT_EQ(Judge("rule_number", "\\boxed{\\frac{3}{4}}", {{"answer", 0.75}}), kCorrect);
  EXPECT_EQ(Judge("rule_number", "Answer: 75%", {{"answer", "0.75"}}), kCorrect);
  EXPECT_EQ(Judge("rule_number", "Answer: it is 1,234", {{"answer", "1234"}}), kCorrect);
  EXPECT_EQ(Judge("rule_number", "x = 2\\sqrt{3}", {{"answer", "\\sqrt{12}"}}), kCorrect);
  EXPECT_EQ(Judge("rule_number", "0.333", {{"answer", "1/3"}}), kWrong);
  EXPECT_EQ(Judge("rule_number", "many", {{"answer", "1/3"}}), kUnparsable);
  EXPECT_EQ(Judge("rule_number", "3", {{"answer", "many"}}), kUnscorable);
}

TEST(VerifierTest, UnitsAreConverted) {
  EXPECT_EQ(Judge("rule_units", "\\boxed{1.5\\text{ km}}", {{"answer", "1500 m"}}), kCorrect);
  EXPECT_EQ(Judge("rule_units", "Answer: 1500", {{"answer", "1500 m"}}), kCorrect);
  EXPECT_EQ(Judge("rule_units", "\\boxed{1500\\text{ cm}}", {{"answer", "1500 m"}}), kWrong);
  EXPECT_EQ(Judge("rule_units", "\\boxed{far}", {{"answer", "1500 m"}}), kUnparsable);
  EXPECT_EQ(Judge("rule_units", "5", {{"answer", "far"}}), kUnscorable);
}

TEST(VerifierTest, ChoicesAreLettersOrTheirTexts) {
  const json columns = {{"answer", 1}, {"choices", {"London", "Paris", "Rome"}}};
  EXPECT_EQ(Judge("rule_choice", "The answer is (B).", columns), kCorrect);
  EXPECT_EQ(Judge("rule_choice", "\\boxed{paris}", columns), kCorrect);
  EXPECT_EQ(Judge("rule_choice", "Answer: A", columns), kWrong);
  EXPECT_EQ(Judge("rule_choice", "Answer: F", columns), kUnparsable);
  EXPECT_EQ(Judge("rule_choice", "b", {{"answer", "(B)"}}), kCorrect);
  EXPECT_EQ(Judge("rule_choice", "b", {{"answer", "both"}}), kUnscorable);
}

TEST(VerifierTest, ExactTextIsComparedByteForByte) {
  EXPECT_EQ(Judge("rule_exact", " Paris \n", {{"answer", "Paris"}}), kCorrect);
  EXPECT_EQ(Judge("rule_exact", "I think\nParis", {{"answer", "Paris"}}), kCorrect);
  EXPECT_EQ(Judge("rule_exact", "two\nlines", {{"answer", "two\nlines"}}), kCorrect);
  EXPECT_EQ(Judge("rule_exact", "paris", {{"answer", "Paris"}}), kWrong);
  EXPECT_EQ(Judge("rule_exact", " \n", {{"answer", "Paris"}}), kUnparsable);
  EXPECT_EQ(Judge("rule_exact", "x", {{"answer", " "}}), kUnscorable);
}

TEST(VerifierTest, RegularExpressionsFindExtractOrAreTheAnswer) {
  VerifierOptions find;
  find.pattern = "(?i:proof) complete";
  EXPECT_EQ(Judge("rule_regex", "Proof complete.", json::object(), find), kCorrect);
  EXPECT_EQ(Judge("rule_regex", "Proof", json::object(), find), kWrong);
  VerifierOptions extract;
  extract.pattern = "result: (\\S+)";
  EXPECT_EQ(Judge("rule_regex", "result: 0.5", {{"answer", "1/2"}}, extract), kCorrect);
  EXPECT_EQ(Judge("rule_regex", "result: 0.6", {{"answer", "1/2"}}, extract), kWrong);
  EXPECT_EQ(Judge("rule_regex", "none", {{"answer", "1/2"}}, extract), kUnparsable);
  EXPECT_EQ(Judge("rule_regex", "none", json::object(), extract), kUnscorable);
  EXPECT_EQ(Judge("rule_regex", "Answer: 2024-05-01", {{"answer", "\\d{4}-\\d\\d-\\d\\d"}}),
            kCorrect);
  EXPECT_EQ(Judge("rule_regex", "Answer: soon", {{"answer", "\\d+"}}), kWrong);
  EXPECT_EQ(Judge("rule_regex", "x", {{"answer", "(["}}), kUnscorable);
  VerifierOptions bad;
  bad.pattern = "([";
  EXPECT_FALSE(MakeVerifier("rule_regex", bad).ok());
}

TEST(VerifierTest, SpuriousRewardsIgnoreTheAnswer) {
  EXPECT_EQ((*MakeVerifier("format_boxed", {}))->Verify(Input("\\boxed{9}", json::object())).value,
            1);
  VerifierOptions options;
  options.text = "```python";
  EXPECT_EQ(
      (*MakeVerifier("contains", options))->Verify(Input("a ```python b", json::object())).value,
      1);
  EXPECT_EQ((*MakeVerifier("contains", options))->Verify(Input("a", json::object())).value, 0);
}

TEST(VerifierTest, RandomRewardsAreTheSameWheneverTheyAreAsked) {
  VerifierOptions options;
  options.run_seed = 3;
  options.probability = 0.25;
  const auto verifier = *MakeVerifier("random", options);
  double sum = 0;
  for (GroupId group = 1; group <= 500; ++group) {
    for (int32_t row = 0; row < 8; ++row) {
      const double value = verifier->Verify(Input("a", json::object(), group, row)).value;
      EXPECT_EQ(value, verifier->Verify(Input("b", json::object(), group, row)).value);
      sum += value;
    }
  }
  EXPECT_NEAR(sum / 4000, 0.25, 0.03);
}

TEST(VerifierTest, TheScaleOfTheRunReplacesTheVerifiersOwn) {
  VerifierOptions options;
  options.scale = RewardScale{1, -0.5, -1};
  const auto verifier = *MakeVerifier("rule_math", options);
  EXPECT_EQ(verifier->Verify(Input("\\boxed{2}", {{"answer", "1"}})).value, -0.5);
  EXPECT_EQ(verifier->Verify(Input("2", {{"answer", "1"}})).value, -1);
}

TEST(VerifierTest, BadOptionsAreErrors) {
  EXPECT_THAT(MakeVerifier("rule_maths", {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("unknown reward \"rule_maths\": this build has rule_math, ")));
  EXPECT_FALSE(MakeVerifier("contains", {}).ok());
  VerifierOptions options;
  options.probability = 2;
  EXPECT_FALSE(MakeVerifier("random", options).ok());
  EXPECT_FALSE(MakeRewardPrompt("[1]", "", 1).ok());
  EXPECT_FALSE(MakeRewardPrompt("{", "", 1).ok());
}

}  // namespace
}  // namespace cohort

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "common/base/status_matchers.h"
#include "services/cli/score_lines.h"

namespace cohort {
namespace {

using testing::AllOf;
using testing::HasSubstr;

CodeOptions Python() {
  CodeOptions code;
  code.interpreter = {"/usr/bin/python3", "-I"};
  return code;
}

absl::StatusOr<std::vector<ScoreResult>> Score(const std::string& verifier,
                                               const std::string& lines) {
  std::istringstream in(lines);
  LineJudge judge(Python());
  std::vector<ScoreResult> results;
  const absl::Status status = ForEachJsonLine("x.jsonl", in, [&](const ScoreLine& line) {
    const auto result = judge.Judge(verifier, line);
    if (result.ok()) results.push_back(*result);
    if (result.ok()) results.back().spent = absl::ZeroDuration();
    return result.status();
  });
  if (!status.ok()) return status;
  return results;
}

TEST(ScoreTest, LinesGetVerdictsWithTheirReasons) {
  COHORT_ASSERT_OK_AND_ASSIGN(
      const auto results,
      Score("rule_math", R"({"completion": "\\boxed{0.5}", "answer": "1/2"})"
                         "\n\n"
                         R"({"completion": "\\boxed{3}", "answer": "4", "id": 7})"
                         "\n"
                         R"({"completion": "4", "answer": "4"})"
                         "\n"
                         R"({"completion": "\\boxed{4}", "answer": null})"
                         "\n"));
  ASSERT_EQ(results.size(), 4u);
  EXPECT_EQ(ScoreResultJson(results[0]),
            R"({"verdict":"correct","reward":1.0,"reply":"0.5","components":{"rule_math":1.0},)"
            R"("reason":"","microseconds":0.0})");
  EXPECT_EQ(ScoreResultJson(results[1]),
            R"({"verdict":"wrong","reward":0.0,"reply":"3","components":{"rule_math":0.0},)"
            R"("reason":"expected 4, found 3","microseconds":0.0})");
  EXPECT_EQ(ScoreResultJson(results[2]),
            R"({"verdict":"unparsable","reward":0.0,"reply":null,"components":{"rule_math":0.0},)"
            R"("reason":"the completion holds no answer of this form","microseconds":0.0})");
  EXPECT_EQ(ScoreResultJson(results[3]),
            R"({"verdict":"unscorable","reward":0.0,"reply":"4","components":{"rule_math":0.0},)"
            R"("reason":"the prompt has no gold answer","microseconds":0.0})");
}

TEST(ScoreTest, NumbersKeepTheTextOfTheLine) {
  for (const char* line :
       {R"({"completion": "\\boxed{91827364554637281900122}", "answer": 91827364554637281900122})",
        R"({"completion": "\\boxed{0.00003}", "answer": 0.00003})"}) {
    COHORT_ASSERT_OK_AND_ASSIGN(const auto results, Score("rule_math", line));
    EXPECT_EQ(VerdictName(results[0].outcome), std::string("correct")) << line;
  }
  COHORT_ASSERT_OK_AND_ASSIGN(
      const auto results,
      Score(
          "rule_math",
          R"({"completion": "\\boxed{9.1827364554637282e22}", "answer": 91827364554637281900122})"));
  EXPECT_EQ(VerdictName(results[0].outcome), std::string("wrong"));
}

TEST(ScoreTest, OptionsChooseTheVerifiersOwn) {
  COHORT_ASSERT_OK_AND_ASSIGN(
      const auto results,
      Score("rule_regex",
            R"x({"completion": "so N=4", "answer": "4", "options": {"pattern": "N=(\\d)"}})x"
            "\n"
            R"x({"completion": "so N=4", "answer": "4", "options": {"pattern": "M=(\\d)"}})x"));
  EXPECT_EQ(VerdictName(results[0].outcome), std::string("correct"));
  EXPECT_EQ(VerdictName(results[1].outcome), std::string("unparsable"));
}

TEST(ScoreTest, MistakesNameTheirLine) {
  const auto error = [](const std::string& lines) {
    return std::string(Score("rule_math", lines).status().message());
  };
  const std::string good = R"({"completion": "x", "answer": "1"})";
  EXPECT_THAT(error(good + "\n{"), HasSubstr("x.jsonl line 2: not valid JSON"));
  EXPECT_THAT(error(good + "\n\n[1]"), HasSubstr("x.jsonl line 3: expected a JSON object"));
  EXPECT_THAT(error(R"({"answer": 1})"), HasSubstr("line 1: expected a text `completion`"));
  EXPECT_THAT(error(R"({"completion": "x", "options": {"patern": "x"}})"),
              AllOf(HasSubstr("line 1: options: expected after_thinking"), HasSubstr("patern")));
  EXPECT_THAT(Score("rule_maths", good).status().message(),
              HasSubstr("x.jsonl line 1: unknown reward \"rule_maths\": this build has"));
}

TEST(ScoreCasesTest, PrintsWhatIsJudgedOtherwise) {
  std::istringstream in(
      R"({"id": "a", "verifier": "rule_math", "answer": "1", "completion": "\\boxed{1}", "expected": "correct"})"
      "\n"
      R"({"id": "b", "verifier": "rule_math", "answer": "1", "completion": "1", "expected": "wrong", "or": "unparsable"})"
      "\n"
      R"({"id": "c", "verifier": "rule_choice", "answer": "B", "columns": {"choices": ["x", "y"]}, "completion": "\\boxed{y}", "expected": "wrong", "why": "So it is."})"
      "\n"
      R"({"id": "d", "verifier": "code_tests", "completion": "x", "expected": "wrong"})");
  CodeOptions none;
  none.interpreter = {"/no/such/interpreter"};
  std::ostringstream out;
  COHORT_ASSERT_OK_AND_ASSIGN(const CaseCounts counts, RunScoreCases("c.jsonl", in, none, out));
  EXPECT_EQ(counts.passed, 2);
  EXPECT_EQ(counts.failed, 1);
  EXPECT_EQ(counts.skipped, 1);
  EXPECT_EQ(out.str(), "c: got correct, expected wrong: So it is.\n");
}

TEST(ScoreCasesTest, ACaseSaysWhatIsExpected) {
  std::istringstream in(
      R"({"id": "a", "verifier": "rule_math", "completion": "1", "expected": "right"})");
  std::ostringstream out;
  EXPECT_THAT(RunScoreCases("c.jsonl", in, Python(), out).status().message(),
              HasSubstr("c.jsonl line 1: expected a verdict (correct, unparsable, unscorable, "
                        "wrong), found \"right\""));
}

TEST(ScoreCasesTest, SharedCasesAreJudgedAsTheySay) {
  const char* root = std::getenv("COHORT_SOURCE_DIR");
  const std::string path =
      absl::StrCat(root == nullptr ? "." : root, "/../shared/cases/rewards.jsonl");
  std::ifstream in(path);
  if (!in) GTEST_SKIP() << "no reward cases at " << path;
  std::ostringstream out;
  COHORT_ASSERT_OK_AND_ASSIGN(const CaseCounts counts, RunScoreCases(path, in, Python(), out));
  EXPECT_EQ(counts.failed, 0) << out.str();
  EXPECT_GT(counts.passed, 0);
}

}  // namespace
}  // namespace cohort

#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "services/cli/commands.h"
#include "services/cli/eval_results.h"

namespace cohort {
namespace {

using nlohmann::json;
using testing::HasSubstr;

ProblemResult Problem(uint64_t index, const std::string& gold,
                      const std::vector<std::string>& answers) {
  ProblemResult problem;
  problem.index = index;
  problem.prompt = absl::StrCat("question ", index);
  problem.answer = gold;
  for (const std::string& answer : answers) {
    SampleResult sample;
    sample.judged = true;
    sample.correct = answer == gold;
    sample.answer = answer;
    problem.samples.push_back(sample);
  }
  return problem;
}

class LabelTest : public testing::Test {
 protected:
  LabelTest() {
    EvalResults results;
    results.header = {{"kind", "eval"}};
    results.problems[0] = Problem(0, "1", {"1", "2", "1", "3", "3"});
    results.problems[1] = Problem(1, "5", {"5", "6", "6", ""});
    results.problems[2] = Problem(2, "7", {"", ""});
    EXPECT_TRUE(WriteEvalResults(Path("eval.jsonl"), results).ok());
  }

  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }

  int Label(bool only_wrong = false, const std::string& data = "", bool right = false) {
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const int exit = RunLabel({Path("eval.jsonl"), data, Path("out.jsonl"), only_wrong, right});
    testing::internal::GetCapturedStdout();
    error_ = testing::internal::GetCapturedStderr();
    return exit;
  }

  std::vector<json> Lines() const {
    std::vector<json> lines;
    const std::string text = *ReadFile(Path("out.jsonl"));
    for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
      lines.push_back(json::parse(std::string(line)));
    }
    return lines;
  }

  TemporaryFolder folder_;
  std::string error_;
};

TEST_F(LabelTest, WritesTheMajorityAndTheMostFrequentWrongAnswer) {
  ASSERT_EQ(Label(), 0) << error_;
  const std::vector<json> lines = Lines();
  ASSERT_EQ(lines.size(), 2u);  // the third problem has no vote
  EXPECT_EQ(lines[0]["prompt"], "question 0");
  EXPECT_EQ(lines[0]["answer"], "1");
  EXPECT_EQ(lines[0]["majority_answer"], "1");  // a tie goes to the first seen
  EXPECT_EQ(lines[0]["majority_ratio"], 0.4);
  EXPECT_EQ(lines[0]["incorrect_answer"], "3");
  EXPECT_EQ(lines[1]["majority_answer"], "6");
}

TEST_F(LabelTest, KeepsTheProblemsWhoseMajorityIsWrongWhenAsked) {
  ASSERT_EQ(Label(true), 0) << error_;
  const std::vector<json> lines = Lines();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0]["prompt"], "question 1");
  EXPECT_EQ(lines[0]["incorrect_answer"], "6");
}

TEST_F(LabelTest, AddsTheColumnsToTheFileThatWasEvaluated) {
  std::ofstream(Path("data.jsonl")) << "{\"problem\": \"a\", \"answer\": \"1\", \"level\": 3}\n\n"
                                    << "{\"problem\": \"b\", \"answer\": \"5\"}\n";
  ASSERT_EQ(Label(false, Path("data.jsonl")), 0) << error_;
  const std::vector<json> lines = Lines();
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0]["level"], 3);
  EXPECT_EQ(lines[1]["problem"], "b");
  EXPECT_EQ(lines[1]["majority_answer"], "6");
}

TEST_F(LabelTest, WritesTheRightResponsesForSupervisedTraining) {
  EvalResults results;
  results.header = {{"kind", "eval"}};
  results.problems[0] = Problem(0, "1", {"1", "2", "1"});
  for (SampleResult& sample : results.problems[0].samples) {
    sample.text = "it is " + sample.answer;
    sample.ids = {7};
  }
  results.problems[1] = Problem(1, "5", {"6", "5"});
  results.problems[1].right_text = "five";  // of a sample beyond those that are kept
  results.problems[2] = Problem(2, "7", {"8"});
  results.problems[2].samples[0].text = "eight";
  results.problems[2].samples[0].ids = {8};
  ASSERT_TRUE(WriteEvalResults(Path("eval.jsonl"), results).ok());
  ASSERT_EQ(Label(false, "", true), 0) << error_;
  const std::vector<json> lines = Lines();
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0]["response"], "it is 1");
  EXPECT_EQ(lines[0]["answer"], "1");
  EXPECT_EQ(lines[2]["prompt"], "question 1");
  EXPECT_EQ(lines[2]["response"], "five");
}

TEST_F(LabelTest, WithoutAKeptRightResponseItSaysSo) {
  EXPECT_EQ(Label(false, "", true), 1);
  EXPECT_THAT(error_, HasSubstr("--keep"));
}

TEST_F(LabelTest, SaysWhatDoesNotFit) {
  std::ofstream(Path("data.jsonl")) << "{\"problem\": \"a\", \"answer\": \"1\"}\n";
  EXPECT_EQ(Label(false, Path("data.jsonl")), 1);
  EXPECT_THAT(error_, HasSubstr("problem 1 of"));
  EXPECT_THAT(error_, HasSubstr("give the file that was evaluated"));
}

}  // namespace
}  // namespace cohort

#include "services/cli/eval_results.h"

#include <cmath>
#include <fstream>

#include "common/base/file.h"
#include "common/base/status_matchers.h"

namespace cohort {
namespace {

using testing::HasSubstr;

SampleResult Sample(const std::string& answer, bool correct, bool judged = true) {
  SampleResult sample;
  sample.tokens = 5;
  sample.judged = judged;
  sample.correct = correct;
  sample.unscorable = !judged;
  sample.answer = answer;
  sample.entropy = 0.5;
  sample.logprob = -2;
  return sample;
}

ProblemResult Problem(uint64_t index, std::vector<SampleResult> samples) {
  ProblemResult problem;
  problem.index = index;
  problem.prompt = "1+1 \"quoted\"\nline";
  problem.answer = "2";
  problem.prompt_ids = {1, 2, 3};
  problem.samples = std::move(samples);
  problem.entropy_histogram.assign(kEntropyBins, 0);
  return problem;
}

EvalResults TwoProblems() {
  EvalResults results;
  results.header = {{"kind", "eval"}, {"samples", 4}, {"seed", 1}};
  results.problems[0] =
      Problem(0, {Sample("2", true), Sample("3", false), Sample("2", true), Sample("", false)});
  results.problems[7] =
      Problem(7, {Sample("3", false), Sample("3", false), Sample("2", true), Sample("3", false)});
  results.problems[0].samples[0].text = "says 2";
  results.problems[0].samples[0].ids = {4, 5};
  return results;
}

class EvalResultsTest : public testing::Test {
 protected:
  TemporaryFolder folder_;
  std::string path_ = folder_.path() + "/eval.jsonl";
};

TEST_F(EvalResultsTest, AreReadAsTheyWereWritten) {
  EvalResults written = TwoProblems();
  written.problems[7].samples[1] = Sample("", false, false);
  written.problems[0].top_entropy = 0.75;
  COHORT_ASSERT_OK(WriteEvalResults(path_, written));
  COHORT_ASSERT_OK_AND_ASSIGN(const EvalResults read, ReadEvalResults(path_));
  EXPECT_EQ(read.header, written.header);
  ASSERT_EQ(read.problems.size(), 2u);
  for (const auto& [index, problem] : written.problems) {
    EXPECT_EQ(ProblemLine(read.problems.at(index)), ProblemLine(problem));
  }
  EXPECT_EQ(read.problems.at(7).Count().samples, 3);
  EXPECT_EQ(read.problems.at(0).samples[0].text, "says 2");
}

TEST_F(EvalResultsTest, AHalfLineOfAKilledWriterIsLeftOut) {
  COHORT_ASSERT_OK(WriteEvalResults(path_, TwoProblems()));
  std::ofstream(path_, std::ios::app) << R"({"index":9,"prom)";
  COHORT_ASSERT_OK_AND_ASSIGN(const EvalResults read, ReadEvalResults(path_));
  EXPECT_EQ(read.problems.size(), 2u);
}

TEST_F(EvalResultsTest, ADamagedLineAndAnotherFileAreNamed) {
  std::ofstream(path_) << "{\"kind\":\"eval\"}\n{\"index\":\"x\"}\n";
  EXPECT_THAT(std::string(ReadEvalResults(path_).status().message()), HasSubstr("line 2"));
  std::ofstream(path_) << "{\"index\":1,\"correct\":[]}\n";
  EXPECT_THAT(ReadEvalResults(path_).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no header")));
}

TEST_F(EvalResultsTest, AnotherEvaluationIsNotContinued) {
  const nlohmann::json now = {{"samples", 4}, {"seed", 2}};
  EXPECT_THAT(CheckSameEvaluation("f", TwoProblems().header, now),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("seed was 1 and is 2")));
  COHORT_EXPECT_OK(CheckSameEvaluation("f", TwoProblems().header, TwoProblems().header));
}

TEST_F(EvalResultsTest, CurvesAreMeansOverProblems) {
  const EvalResults results = TwoProblems();
  COHORT_ASSERT_OK_AND_ASSIGN(const auto pass, PassCurve(results, {1, 2, 4}, 0));
  EXPECT_NEAR(pass[0].value.mean, (0.5 + 0.25) / 2, 1e-12);
  // 1 - C(2,2)/C(4,2) and 1 - C(3,2)/C(4,2).
  EXPECT_NEAR(pass[1].value.mean, (5.0 / 6 + 3.0 / 6) / 2, 1e-12);
  EXPECT_EQ(pass[2].value.mean, 1);
  COHORT_ASSERT_OK_AND_ASSIGN(const auto average, AverageCurve(results, {1, 4}, 0));
  EXPECT_NEAR(average[0].value.mean, 0.5, 1e-12) << "the first sample of each";
  EXPECT_NEAR(average[1].value.mean, (0.5 + 0.25) / 2, 1e-12);
  COHORT_ASSERT_OK_AND_ASSIGN(const auto majority, MajorityCurve(results, {1, 4}, 0));
  EXPECT_NEAR(majority[0].value.mean, (0.5 + 0.25) / 2, 1e-12);
  EXPECT_NEAR(majority[1].value.mean, 0.5, 1e-12) << "2 wins the first, 3 the second";
}

TEST_F(EvalResultsTest, ATieOfAllVotesGoesToTheAnswerThatCameFirst) {
  EvalResults results = TwoProblems();
  results.problems[0] = Problem(0, {Sample("2", true), Sample("3", false)});
  results.problems[7] = Problem(7, {Sample("3", false), Sample("2", true), Sample("3", false)});
  COHORT_ASSERT_OK_AND_ASSIGN(const auto majority, MajorityCurve(results, {2, 3}, 0));
  // Two of {3, 2, 3}: a third of the pairs is {3, 3}, the others are ties that go either way.
  EXPECT_NEAR(majority[0].value.mean, (1 + 1.0 / 3) / 2, 1e-12);
  EXPECT_EQ(majority[1].value.mean, 0);
}

TEST_F(EvalResultsTest, LengthsAreMeansOfTheRightTheWrongAndTheTruncated) {
  EvalResults results = TwoProblems();
  results.problems[0].samples[0].tokens = 8;
  results.problems[7].samples[2].tokens = 2;
  results.problems[7].samples[3].tokens = 9;
  results.problems[7].samples[3].truncated = true;
  results.problems[7].top_entropy = 0.75;
  const nlohmann::json means = SampleMeans(results);
  EXPECT_EQ(means["mean_right_response_tokens"], 5) << "8, 5 and 2";
  EXPECT_NEAR(means["mean_wrong_response_tokens"], 29.0 / 5, 1e-12);
  EXPECT_EQ(means["mean_truncated_response_tokens"], 9);
  EXPECT_NEAR(means["mean_group_std"], (0.5 + std::sqrt(3.0) / 4) / 2, 1e-12);
  EXPECT_EQ(means["mean_top_entropy"], 0.75) << "of the problems that have it";
  EXPECT_TRUE(SampleMeans({})["mean_wrong_response_tokens"].is_null());
}

TEST_F(EvalResultsTest, WhatAnEarlierVersionDidNotKnowItDidNotDo) {
  nlohmann::json now = TwoProblems().header;
  now["em_inf"] = nullptr;
  COHORT_EXPECT_OK(CheckSameEvaluation("f", TwoProblems().header, now));
  now["em_inf"] = {{"steps", 5}};
  EXPECT_THAT(CheckSameEvaluation("f", TwoProblems().header, now),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("em_inf was absent")));
}

TEST_F(EvalResultsTest, KAboveTheSamplesIsRefusedAndUnjudgedSamplesAreNotPadded) {
  EvalResults results = TwoProblems();
  EXPECT_THAT(PassCurve(results, {8}, 0).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no problem has 8")));
  results.problems[7].samples[0] = Sample("", false, false);
  COHORT_ASSERT_OK_AND_ASSIGN(const auto pass, PassCurve(results, {3, 4}, 0));
  EXPECT_EQ(pass[0].problems, 2);
  EXPECT_EQ(pass[1].problems, 1) << "the other problem has three judged samples";
}

TEST(VotingAnswerTest, IsWhatTheVerifierLooksAt) {
  EXPECT_EQ(VotingAnswer("rule_last_integer", "1+2=3;13"), VotingAnswer("rule_last_integer", "13"));
  EXPECT_EQ(VotingAnswer("rule_math", "\\boxed{0.5}"), VotingAnswer("rule_math", "\\boxed{1/2}"));
  EXPECT_EQ(VotingAnswer("rule_math", "no box"), "");
  EXPECT_EQ(VotingAnswer("rule_sorting", "first\n1 2 3\n"), "1 2 3");
}

}  // namespace
}  // namespace cohort

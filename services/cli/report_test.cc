#include <cmath>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "services/cli/report_data.h"
#include "services/cli/report_page.h"

namespace cohort {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class ReportTest : public testing::Test {
 protected:
  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }

  // An evaluation of 40 problems with four samples; `right(problem, sample)`.
  template <typename Right>
  EvalResults Eval(const Right& right, const std::string& source = "task") const {
    EvalResults results;
    results.header = {{"kind", "eval"}, {"source", source},      {"split", "heldout"},
                      {"samples", 4},   {"reward", "rule_math"}, {"temperature", 1.0}};
    for (uint64_t p = 0; p < 40; ++p) {
      ProblemResult& problem = results.problems[p];
      problem.index = p;
      problem.prompt = absl::StrCat("<b>", p, "</b> & more");
      problem.answer = std::string("1");
      problem.entropy_histogram.assign(kEntropyBins, 1);
      for (int s = 0; s < 4; ++s) {
        SampleResult sample;
        sample.judged = true;
        sample.correct = right(p, s);
        sample.tokens = 3;
        sample.logprob = -0.3;
        sample.answer = absl::StrCat(sample.correct ? 1 : 2);
        sample.text = std::string("<script>alert(1)</script>");
        sample.ids = {1, 2};
        problem.samples.push_back(sample);
      }
    }
    return results;
  }

  // The base is right once in four on every problem but the last; training makes it sure of half
  // of the problems and of the last one, and forgets the others.
  std::vector<ReportRun> TwoModels() {
    EXPECT_TRUE(WriteEvalResults(Path("base.jsonl"),
                                 Eval([](uint64_t p, int s) { return p < 39 && s == 0; }))
                    .ok());
    EXPECT_TRUE(MakeFolders(Path("rl")).ok());
    EXPECT_TRUE(WriteEvalResults(Path("rl/eval.jsonl"),
                                 Eval([](uint64_t p, int) { return p < 19 || p == 39; }))
                    .ok());
    std::ofstream(Path("rl/config.yaml")) << "run: {spurious: true}\nmodel: {path: m}\n";
    std::ofstream metrics(Path("rl/metrics.jsonl"));
    for (int step = 1; step <= 1000; ++step) {
      metrics << "{\"step\":" << step << ",\"reward/mean\":" << step / 1000.0
              << ",\"frac_reward_zero_std\":0.25,\"kl_ref\":null}\n";
    }
    metrics.close();
    auto runs = LoadReportRuns({"base=" + Path("base.jsonl"), "rl=" + Path("rl")});
    EXPECT_THAT(runs, IsOk());
    return *std::move(runs);
  }

  TemporaryFolder folder_;
};

TEST_F(ReportTest, ComparesModelsOnTheSameProblems) {
  const std::vector<ReportRun> runs = TwoModels();
  COHORT_ASSERT_OK_AND_ASSIGN(const json numbers, ReportNumbers(runs, 0, 1));
  const json& curves = numbers["pass_at_k"]["curves"];
  EXPECT_NEAR(curves[0]["points"][0]["mean"].get<double>(), 39.0 / 160, 1e-12);
  EXPECT_NEAR(curves[0]["points"][2]["mean"].get<double>(), 39.0 / 40, 1e-12);
  EXPECT_NEAR(curves[1]["points"][0]["mean"].get<double>(), 0.5, 1e-12);
  EXPECT_LT(curves[0]["points"][0]["low"], curves[0]["points"][0]["high"]);
  const double crossing = numbers["crossings"][0]["k"];
  EXPECT_GT(crossing, 2);
  EXPECT_LT(crossing, 4);
  const json& test = numbers["paired"][0]["mcnemar"];
  EXPECT_EQ(test["both"], 19);
  EXPECT_EQ(test["only_a"], 20);
  EXPECT_EQ(test["only_b"], 1);
  EXPECT_NEAR(test["p"].get<double>(), 2 * 22 / std::exp2(21), 1e-12);
  const json& solved = numbers["paired"][0]["solved"];
  EXPECT_EQ(solved["both"], 19);
  EXPECT_EQ(solved["only_a"], 20);
  EXPECT_EQ(solved["only_b"], 1);
  EXPECT_EQ(solved["neither"], 0);
  EXPECT_EQ(solved["problems_b"][0]["index"], 39);
  EXPECT_EQ(numbers["only_solved"][0]["count"], 20);
  ASSERT_EQ(numbers["only_solved"][1]["count"], 1);
  EXPECT_EQ(numbers["only_solved"][1]["problems"][0]["index"], 39);
  EXPECT_TRUE(numbers["runs"][1]["spurious"]);
}

TEST_F(ReportTest, ThinsLongTrainingCurves) {
  const json curves = TrainingCurves(TwoModels());
  ASSERT_EQ(curves.size(), 1u);
  const json& series = curves[0]["series"];
  EXPECT_LE(series["reward"].size(), 400u);
  EXPECT_NEAR(series["mixed_groups"][0][1].get<double>(), 0.75, 1e-12);
  EXPECT_FALSE(series.contains("kl_reference"));
}

TEST_F(ReportTest, SupervisedAndPolicyLossesAreNotDrawnTogether) {
  std::vector<ReportRun> runs(2);
  runs[0].metrics.push_back(json::parse(R"({"step":1,"loss":3,"sft/examples":8})"));
  runs[1].metrics.push_back(json::parse(R"({"step":1,"loss":0.1})"));
  const json curves = TrainingCurves(runs);
  EXPECT_TRUE(curves[0]["series"].contains("sft_loss"));
  EXPECT_FALSE(curves[0]["series"].contains("loss"));
  EXPECT_TRUE(curves[1]["series"].contains("loss"));
}

TEST_F(ReportTest, ThePageStandsAloneAndShowsWhatAModelSaidAsText) {
  const std::vector<ReportRun> runs = TwoModels();
  COHORT_ASSERT_OK_AND_ASSIGN(const json numbers, ReportNumbers(runs, 0, 1));
  const std::string page = ReportPage(numbers);
  EXPECT_THAT(page, AllOf(Not(HasSubstr("<script")), Not(HasSubstr("http")), Not(HasSubstr("src=")),
                          Not(HasSubstr("url("))));
  EXPECT_THAT(page, AllOf(HasSubstr("<html lang=\"en\">"), HasSubstr("role=\"img\""),
                          HasSubstr("spurious reward"), HasSubstr("cross at k"),
                          HasSubstr("&lt;b&gt;39&lt;/b&gt; &amp; more"),
                          HasSubstr("prefers-color-scheme:dark")));
}

TEST_F(ReportTest, EvaluationsOfDifferentProblemsAreRefused) {
  std::vector<ReportRun> runs = TwoModels();
  runs[1].eval = Eval([](uint64_t, int) { return true; }, "other");
  EXPECT_THAT(ReportNumbers(runs, 0, 1).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("source is \"task\"")));
  runs[1].eval = Eval([](uint64_t, int) { return true; });
  runs[1].eval->problems[5].prompt = std::string("another");
  EXPECT_THAT(ReportNumbers(runs, 0, 1).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("problem 5 is not the same")));
}

TEST_F(ReportTest, ARunWithoutAnEvaluationShowsItsTraining) {
  std::vector<ReportRun> runs = TwoModels();
  runs.erase(runs.begin());
  runs[0].eval.reset();
  COHORT_ASSERT_OK_AND_ASSIGN(const json numbers, ReportNumbers(runs, 0, 1));
  EXPECT_THAT(ReportPage(numbers), AllOf(HasSubstr("Reward"), Not(HasSubstr("pass@k, avg"))));
}

TEST_F(ReportTest, ArgumentsThatNameNothingAreNamed) {
  EXPECT_THAT(LoadReportRuns({"nameless"}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("NAME=PATH")));
  EXPECT_THAT(std::string(LoadReportRuns({"a=" + Path("absent.jsonl")}).status().message()),
              HasSubstr("absent.jsonl"));
}

}  // namespace
}  // namespace cohort

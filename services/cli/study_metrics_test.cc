#include "services/cli/study_metrics.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_matchers.h"

namespace cohort {
namespace {

using nlohmann::json;
using testing::DoubleNear;
using testing::HasSubstr;

// Two problems of four samples: three and one of them right.
EvalResults Results() {
  const std::string right(1, '7'), wrong(1, '8');
  EvalResults results;
  results.header = {{"reward", "rule_last_integer"}};
  for (uint64_t i = 0; i < 2; ++i) {
    ProblemResult& problem = results.problems[i];
    problem.index = i;
    problem.answer = right;
    for (int j = 0; j < 4; ++j) {
      SampleResult sample;
      sample.tokens = j == 3 ? 10 : 2;
      sample.truncated = j == 3;
      sample.judged = true;
      sample.correct = i == 0 ? j < 3 : j < 1;
      sample.answer = sample.correct ? right : wrong;
      sample.entropy = j == 3 ? 1.0 : 0.25;
      problem.samples.push_back(sample);
    }
  }
  return results;
}

double Eval(const std::string& key, const EvalResults& results = Results()) {
  const auto value = EvalNumber(results, *ParseStudyMetric(absl::StrCat("eval:main:", key)));
  EXPECT_THAT(value, IsOk()) << key;
  return value.value_or(-1);
}

double Train(const std::vector<json>& lines, const std::string& part) {
  const auto value = TrainNumber(lines, *ParseStudyMetric(absl::StrCat("train:x:", part)));
  EXPECT_THAT(value, IsOk()) << part;
  return value.value_or(-1);
}

TEST(StudyMetricsTest, AnEvaluationsNumbers) {
  EXPECT_THAT(Eval("pass@1"), DoubleNear(0.5, 1e-12));
  EXPECT_THAT(Eval("pass@2"), DoubleNear((1.0 + 0.5) / 2, 1e-12));
  EXPECT_THAT(Eval("pass@4"), DoubleNear(1, 1e-12));
  EXPECT_THAT(Eval("avg@4"), DoubleNear(0.5, 1e-12));
  EXPECT_THAT(Eval("maj@4"), DoubleNear(0.5, 1e-12));
  EXPECT_THAT(Eval("length"), DoubleNear(4, 1e-12));
  EXPECT_THAT(Eval("truncated"), DoubleNear(0.25, 1e-12));
  EXPECT_THAT(Eval("entropy"), DoubleNear((6 * 0.25 + 10) / 16, 1e-12));
  EXPECT_THAT(Eval("tokens_per_correct"), DoubleNear(32.0 / 4, 1e-12));
}

TEST(StudyMetricsTest, WhereNothingIsRightThereAreNoTokensPerRightAnswer) {
  EvalResults results = Results();
  for (auto& [index, problem] : results.problems) {
    for (SampleResult& sample : problem.samples) sample.correct = false;
  }
  EXPECT_EQ(Eval("pass@1", results), 0);
  EXPECT_THAT(EvalNumber(results, *ParseStudyMetric("eval:main:tokens_per_correct")),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("no response was right")));
}

TEST(StudyMetricsTest, ATrainingsNumbersAreThoseOfTheLinesThatHaveThem) {
  std::vector<json> lines = {{{"step", 0}}};
  for (int i = 1; i <= 20; ++i) lines.push_back({{"step", i}, {"x", i}});
  lines.push_back({{"step", 21}, {"x", nullptr}});
  EXPECT_EQ(Train(lines, "first"), 1.5);
  EXPECT_EQ(Train(lines, "last"), 19.5);
  EXPECT_EQ(Train(lines, "mean"), 10.5);
  EXPECT_EQ(Train(lines, "max"), 20);
  EXPECT_EQ(Train(lines, "min"), 1);
  EXPECT_THAT(Train(lines, "std"), DoubleNear(5.7662812973, 1e-9));
  EXPECT_EQ(Train({{{"x", 4}}}, "last"), 4);
  EXPECT_THAT(TrainNumber({{{"y", 4}}}, *ParseStudyMetric("train:x:last")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("holds x")));
}

TEST(StudyMetricsTest, LogitsAreReadFromAReport) {
  const json report = {
      {"logits", {{{"raw", {{"skew", 0.5}}}, {"normalised", {{"skew", 9}}}, {"margin", 3}}}}};
  EXPECT_EQ(LogitsNumber(report, *ParseStudyMetric("logits:main:skew")).value_or(-1), 0.5);
  EXPECT_EQ(LogitsNumber(report, *ParseStudyMetric("logits:main:margin")).value_or(-1), 3);
  EXPECT_THAT(LogitsNumber(report, *ParseStudyMetric("logits:main:kurtosis")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/logits/0/raw/kurtosis")));
  EXPECT_THAT(LogitsNumber({{"logits", nullptr}}, *ParseStudyMetric("logits:main:margin")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no number")));
  EXPECT_THAT(ParseStudyMetric("logits:main:colour"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("top_probability")));
}

}  // namespace
}  // namespace cohort

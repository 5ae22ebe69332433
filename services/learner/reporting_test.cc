// What a step leaves in metrics.jsonl and in the log.
#include "services/learner/reporting.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"

namespace cohort {
namespace {

class RunReporterTest : public testing::Test {
 protected:
  void SetUp() override {
    v1::RunConfig config;
    config.mutable_log()->set_tensorboard(false);
    COHORT_ASSERT_OK_AND_ASSIGN(reporter_, RunReporter::Open(config, folder_.path(), nullptr, -1));
  }

  // The line that metrics.jsonl gains.
  nlohmann::json Step(int64_t step, const StepReport& report) {
    const DispatchBatch batch;
    StepLine line;
    line.step = step;
    line.report = &report;
    line.batch = &batch;
    reporter_->Step(line);
    const std::string text = ReadFile(folder_.path() + "/metrics.jsonl").value_or("");
    const std::vector<std::string> lines = absl::StrSplit(text, '\n', absl::SkipEmpty());
    return lines.empty() ? nlohmann::json() : nlohmann::json::parse(lines.back());
  }

  TemporaryFolder folder_;
  std::unique_ptr<RunReporter> reporter_;
};

TEST_F(RunReporterTest, WritesHowResponsesKeptToTheLengthsThatWereAskedFor) {
  StepReport report;
  const nlohmann::json none = Step(1, report);
  EXPECT_FALSE(none.contains("length_request/correlation"));
  EXPECT_FALSE(none.contains("length_request/relative_error"));
  report.length_request = {0.5, 0.25};
  const nlohmann::json both = Step(2, report);
  EXPECT_EQ(both["length_request/correlation"], 0.5);
  EXPECT_EQ(both["length_request/relative_error"], 0.25);
  report.length_request->correlation = std::numeric_limits<double>::quiet_NaN();
  const nlohmann::json one_length = Step(3, report);
  EXPECT_FALSE(one_length.contains("length_request/correlation"));
  EXPECT_EQ(one_length["length_request/relative_error"], 0.25);
}

TEST_F(RunReporterTest, CountsStepsThatWereTooSmallToWhitenAndWarnsOfTheFirst) {
  StepReport report;
  EXPECT_EQ(Step(1, report)["advantage/whitening_skipped"], 0);
  report.whitening_skipped = true;
  testing::internal::CaptureStderr();
  EXPECT_EQ(Step(2, report)["advantage/whitening_skipped"], 1);
  EXPECT_EQ(Step(3, report)["advantage/whitening_skipped"], 1);
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, testing::HasSubstr("step 2: algorithm.adv.scale token_whiten"));
  EXPECT_THAT(log, testing::Not(testing::HasSubstr("step 3")));
}

}  // namespace
}  // namespace cohort

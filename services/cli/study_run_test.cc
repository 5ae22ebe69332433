// Whole studies with a shell script in the place of every program.
#include "services/cli/study_run.h"

#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "absl/strings/str_split.h"
#include "services/cli/study_testing.h"

namespace cohort {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class StudyRunTest : public testing::Test {
 protected:
  void SetUp() override {
    options_.out = folder_.path() + "/out";
    options_.cohort = options_.make_tiny_model = WriteFakeProgram(folder_.path());
    options_.progress = &progress_;
    Set("CALLS", folder_.path() + "/calls");
    Set("BREAK", "");
    Set("HANG", "");
  }
  static void Set(const char* name, const std::string& value) {
    ASSERT_EQ(setenv(name, value.c_str(), 1), 0);
  }

  StudyOutcome Run(const NamedStudy& study = SmallStudy()) {
    absl::StatusOr<StudyOutcome> outcome = RunStudy(study, options_);
    EXPECT_THAT(outcome, IsOk());
    return outcome.ok() ? *std::move(outcome) : StudyOutcome();
  }

  // The commands since the last call.
  std::vector<std::string> Calls() {
    const std::string path = folder_.path() + "/calls";
    const std::string text = ReadFile(path).value_or("");
    std::filesystem::remove(path);
    return absl::StrSplit(text, '\n', absl::SkipEmpty());
  }

  TemporaryFolder folder_;
  StudyRunOptions options_;
  std::ostringstream progress_;
};

TEST_F(StudyRunTest, EveryJobRunsOnceAndClaimsAreJudged) {
  const StudyOutcome outcome = Run();
  EXPECT_THAT(outcome.failed, IsEmpty());
  EXPECT_THAT(Calls(), SizeIs(16));
  const ClaimResult* claim = outcome.Claim("training helps");
  ASSERT_NE(claim, nullptr);
  EXPECT_THAT(claim->values, ElementsAre(std::pair(1, 0.5), std::pair(2, 0.5)));
  EXPECT_EQ(claim->verdict, Verdict::kHolds);
  EXPECT_EQ(outcome.Claim("it learns")->mean, 0.75);
  EXPECT_EQ(outcome.Claim("it is sure")->mean, 0.75);
  const std::string report = ReadFile(options_.out + "/small/report.md").value_or("");
  EXPECT_THAT(report, HasSubstr("**holds**"));
  EXPECT_THAT(report, HasSubstr("everybody"));
  EXPECT_THAT(ReadFile(options_.out + "/small/report.html").value_or(""), HasSubstr("<svg"));
}

TEST_F(StudyRunTest, WhatIsThereIsNotMadeAgain) {
  Run();
  Calls();
  EXPECT_EQ(Run().Claim("training helps")->verdict, Verdict::kHolds);
  EXPECT_THAT(Calls(), IsEmpty());
  std::filesystem::remove(options_.out + "/small/seed-2/grpo/eval-main.json");
  Run();
  EXPECT_THAT(Calls(), ElementsAre(HasSubstr("eval --model"), HasSubstr("report --run")));
}

TEST_F(StudyRunTest, AChangedArmIsTrainedAgainAndSoIsWhatComesOfIt) {
  Run();
  Calls();
  NamedStudy study = SmallStudy();
  study.study.mutable_arms(1)->add_set("optimizer.lr=1e-4");
  Run(study);
  EXPECT_THAT(Calls(), SizeIs(10)) << "two trainings, two evaluations and a report of each seed";
}

TEST_F(StudyRunTest, AFailureEndsOnlyWhatNeedsIt) {
  Set("BREAK", "seed-1/grpo/run");
  const StudyOutcome outcome = Run();
  EXPECT_THAT(outcome.failed,
              ElementsAre(AllOf(HasSubstr("seed 1 grpo: ended with exit code 3"),
                                HasSubstr("broken on purpose")),
                          "seed 1 grpo main: not made, it needs seed 1 grpo",
                          "seed 1 more: not made, it needs seed 1 grpo",
                          "seed 1 more main: not made, it needs seed 1 more",
                          "seed 1 grpo main logits: not made, it needs seed 1 grpo main"));
  const ClaimResult* claim = outcome.Claim("training helps");
  EXPECT_THAT(claim->values, ElementsAre(std::pair(2, 0.5)));
  EXPECT_THAT(claim->missing, ElementsAre(HasSubstr("seed 1: grpo eval:main:pass@1: ")));
  Calls();
  Set("BREAK", "");
  EXPECT_THAT(Run().failed, IsEmpty());
  EXPECT_THAT(Calls(), SizeIs(5)) << "only what failed is tried again";
}

TEST_F(StudyRunTest, ASignalStopsItAndTheSameCallContinues) {
  Set("HANG", "seed-1/grpo/run");
  const StudyOutcome outcome = Run();
  EXPECT_TRUE(outcome.stopped);
  EXPECT_EQ(outcome.signal, SIGTERM);
  Calls();
  EXPECT_THAT(Run().failed, IsEmpty());
  EXPECT_THAT(Calls(), Contains(AllOf(HasSubstr("seed-1/grpo/run"), HasSubstr("--resume"))));
}

TEST_F(StudyRunTest, AMissingProgramIsAnError) {
  options_.cohort = folder_.path() + "/nothing";
  EXPECT_THAT(RunStudy(SmallStudy(), options_),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nothing")));
}

}  // namespace
}  // namespace cohort

// Whole studies with a shell script in the place of every program.
#include "services/cli/study_run.h"

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/str_split.h"
#include "services/cli/study_testing.h"

namespace cohort {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
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

  std::string Report(const std::string& name) const {
    return ReadFile(absl::StrCat(options_.out, "/small/", name)).value_or("");
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
  EXPECT_THAT(Calls(), SizeIs(18));
  const ClaimResult* claim = outcome.Claim("training helps");
  ASSERT_NE(claim, nullptr);
  EXPECT_THAT(claim->values, ElementsAre(std::pair(1, 0.5), std::pair(2, 0.5)));
  EXPECT_EQ(claim->verdict, Verdict::kHolds);
  EXPECT_EQ(outcome.Claim("it learns")->mean, 0.75);
  EXPECT_EQ(outcome.Claim("it is sure")->mean, 0.75);
  EXPECT_THAT(Report("report.md"), AllOf(HasSubstr("**holds**"), HasSubstr("everybody"),
                                         HasSubstr("- Base m1 (recipes/sft/arithmetic.yaml)")));
  EXPECT_THAT(Report("report.html"), HasSubstr("<svg"));
}

TEST_F(StudyRunTest, TheReportSaysWhereCurvesCrossAndWhatOnlyOneArmSolves) {
  Run();
  EXPECT_THAT(Report("report.md"),
              AllOf(HasSubstr("[seed 1](seed-1/compare-main.html)"),
                    HasSubstr("| base, grpo | 2.5, 2.5 | 1, 1 | 7+5 (seeds 1, 2) | 0, 0 | - |"),
                    HasSubstr("| base | 1, 1 | 7+5 (seeds 1, 2) |")));
  EXPECT_THAT(Report("report.md"), Not(HasSubstr("grpo, more")))
      << "arms are compared with their base";
  EXPECT_THAT(Report("report.html"),
              AllOf(HasSubstr("<a href=\"seed-1/compare-main.html\">"), HasSubstr("7+5")));
  const json numbers = json::parse(Report("report.json"));
  EXPECT_EQ(numbers["comparisons"][0]["pairs"][0]["crossing"]["2"], 2.5);
}

TEST_F(StudyRunTest, TheReportSaysInPlainWordsWhatDidNotReproduce) {
  Run();
  EXPECT_THAT(Report("report.md"), HasSubstr("3 holds. What did not reproduce: nothing."));
  NamedStudy study = SmallStudy();
  study.study.mutable_claims(0)->set_above(0.75);
  study.study.mutable_claims(2)->set_name("it learns/without");
  study.study.mutable_claims(2)->set_above(2);
  Run(study);
  EXPECT_THAT(Report("report.md"),
              HasSubstr("1 holds, 1 fails; of 1 controls, which are to fail, 1 do. What did not "
                        "reproduce: training helps (found 0.5, "
                        "[0.5, 0.5]; expected: grpo is above its base)."))
      << "a control is to fail";
}

TEST_F(StudyRunTest, TheReportShowsTheSpreadOverSeedsAndThePeakOfTraining) {
  Run();
  EXPECT_THAT(Report("report.md"), AllOf(HasSubstr("| base | 25.0 % | 0.0 |"),
                                         HasSubstr("held-out accuracy at its peak"),
                                         HasSubstr("| 87.5 % | 37.5 % | 0.0 |")));
}

TEST_F(StudyRunTest, ReportsOfStudiesBecomeOnePage) {
  const char* source = std::getenv("COHORT_SOURCE_DIR");
  if (source == nullptr) GTEST_SKIP() << "needs COHORT_SOURCE_DIR";
  NamedStudy study = SmallStudy();
  study.study.mutable_claims(0)->set_above(0.75);
  Run(study);
  const std::string page = folder_.path() + "/claims.md";
  const std::string command =
      absl::StrCat("python3 ", source, "/tools/collect_claims --commit abc --cpu 'A processor' ",
                   "--cores 2 --out ", page, " ", options_.out, "/small > ", page, ".log 2>&1");
  ASSERT_EQ(std::system(command.c_str()), 0) << ReadFile(page + ".log").value_or("");
  const std::string text = ReadFile(page).value_or("");
  EXPECT_THAT(text, HasSubstr("Collected at commit abc. A processor, 2 cores. 2 seeds. "));
  EXPECT_THAT(text, HasSubstr("- small: *training helps*. Expected: grpo is above its base (above "
                              "0.75). Found: 0.5 [0.5, 0.5]."));
  EXPECT_THAT(text, HasSubstr("| [small](#small-does-it-help) | 2 | 2 | 0 | 1 | 0 | "));
  EXPECT_THAT(text, HasSubstr("\n## small: Does it help?\n"));
  EXPECT_THAT(text, HasSubstr("\n### Verdicts\n"));
  EXPECT_THAT(text, Not(HasSubstr("seed-1/"))) << "links must work from docs/";
}

TEST_F(StudyRunTest, TokensAreDrawnAgainstAccuracyWhereAClaimCountsThem) {
  constexpr char kTitle[] = "Tokens per right answer against pass@1, main";
  Run();
  EXPECT_THAT(Report("report.html"), Not(HasSubstr(kTitle)));
  NamedStudy study = SmallStudy();
  v1::StudyClaim* claim = study.study.add_claims();
  claim->set_name("it is short");
  claim->set_below(100);
  v1::StudyTerm* term = claim->add_terms();
  term->set_arm("base");
  term->set_metric("eval:main:tokens_per_correct");
  Run(study);
  EXPECT_THAT(Report("report.html"), AllOf(HasSubstr(kTitle), HasSubstr("base (20.0; 25.0 %)")));
}

TEST_F(StudyRunTest, WhatIsThereIsNotMadeAgain) {
  Run();
  Calls();
  EXPECT_EQ(Run().Claim("training helps")->verdict, Verdict::kHolds);
  EXPECT_THAT(Calls(), IsEmpty());
  std::filesystem::remove(options_.out + "/small/seed-2/grpo/eval-main.json");
  Run();
  EXPECT_THAT(Calls(), ElementsAre(HasSubstr("eval --model"), HasSubstr("report --"),
                                   HasSubstr("report --")));
}

TEST_F(StudyRunTest, AChangedArmIsTrainedAgainAndSoIsWhatComesOfIt) {
  Run();
  Calls();
  NamedStudy study = SmallStudy();
  study.study.mutable_arms(1)->add_set("optimizer.lr=1e-4");
  Run(study);
  EXPECT_THAT(Calls(), SizeIs(12)) << "two trainings, evaluations and reports of each seed";
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
                          "seed 1 grpo main logits: not made, it needs seed 1 grpo main",
                          "seed 1 main compared: not made, it needs seed 1 grpo main"));
  const ClaimResult* claim = outcome.Claim("training helps");
  EXPECT_THAT(claim->values, ElementsAre(std::pair(2, 0.5)));
  EXPECT_THAT(claim->missing, ElementsAre(HasSubstr("seed 1: grpo eval:main:pass@1: ")));
  Calls();
  Set("BREAK", "");
  EXPECT_THAT(Run().failed, IsEmpty());
  EXPECT_THAT(Calls(), SizeIs(6)) << "only what failed is tried again";
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

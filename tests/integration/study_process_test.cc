// `cohort study` as a real process: two arms of two steps on a tiny model, one claim, a report; and
// what it does when it is called again.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"

namespace cohort {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr char kStudy[] = R"(
title: Two steps
seeds: 1
set: [model.dtype=fp32, model.device=cpu, learner.threads=1, eval.samples=0]
bases:
  - {name: tiny, tiny_model: [--hidden, "32", --layers, "2", --seed, "3"]}
evals:
  - {name: main, task: addition-1, prompts: 3, samples: 2, max_new_tokens: 6, compare: true}
arms:
  - {name: base}
  - name: random
    recipe: spurious_random
    set: [run.steps=50, run.sampled_tokens=200, "data.sources=[{task: addition-1}]",
          rollout.workers=1, rollout.max_new_tokens=8, learner.prompts_per_step=8]
claims:
  - name: rewards are a coin's
    literature: the text of the recipe
    expected: its mean lies in (0, 1)
    terms: [{arm: random, metric: "train:reward/mean:mean"}]
    above: 0
  - name: both speak
    terms: [{arm: random, metric: "eval:main:length"}, {arm: base, metric: "eval:main:length"}]
    above: 1
)";

class StudyProcess : public testing::Test {
 protected:
  void SetUp() override {
    const char* bin = std::getenv("COHORT_BIN_DIR");
    cohort_ = absl::StrCat(bin == nullptr ? "" : bin, "/cohort");
    if (access(cohort_.c_str(), X_OK) != 0) GTEST_SKIP() << "needs cohort in COHORT_BIN_DIR";
    COHORT_ASSERT_OK(WriteFileAtomic(Path("two_steps.yaml"), kStudy));
  }
  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }
  std::string Read(const std::string& name) const { return ReadFile(Path(name)).value_or(""); }

  int Study(const std::string& arguments) {
    const std::string command =
        absl::StrCat("timeout 120 ", cohort_, " study ", Path("two_steps.yaml"), " --out ",
                     Path("out"), " ", arguments, " > ", Path("log"), " 2>&1");
    const int status = std::system(command.c_str());
    log_ = Read("log");
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  TemporaryFolder folder_;
  std::string cohort_, log_;
};

TEST_F(StudyProcess, TrainsEvaluatesAndJudges) {
  ASSERT_EQ(Study(""), 0) << log_;
  EXPECT_THAT(log_, HasSubstr("budget: 1 seeds, 1 trainings, 2 evaluations"));
  EXPECT_THAT(log_, HasSubstr("holds: both speak"));
  const json report = json::parse(Read("out/two_steps/report.json"), nullptr, false);
  ASSERT_TRUE(report.is_object());
  ASSERT_EQ(report["claims"].size(), 2U);
  EXPECT_EQ(report["claims"][0]["verdict"], "holds");
  ASSERT_EQ(report["arms"].size(), 2U);
  const json& arm = report["arms"][1];
  EXPECT_GE(arm["sampled_tokens"]["mean"], 200);
  EXPECT_LT(arm["steps"]["mean"], 50) << "run.sampled_tokens ends it";
  EXPECT_TRUE(arm["evals"][0]["pass_1"]["mean"].is_number());
  EXPECT_THAT(Read("out/two_steps/report.html"), HasSubstr("rewards are a coin"));
  ASSERT_EQ(report["comparisons"].size(), 1U);
  const json& comparison = report["comparisons"][0];
  EXPECT_EQ(comparison["pairs"][0]["a"], "base");
  EXPECT_EQ(comparison["pairs"][0]["b"], "random");
  EXPECT_TRUE(comparison["pairs"][0]["crossing"].contains("1"));
  ASSERT_EQ(comparison["pages"]["1"], "seed-1/compare-main.html");
  EXPECT_THAT(Read("out/two_steps/seed-1/compare-main.html"), HasSubstr("<svg"));

  ASSERT_EQ(Study(""), 0) << log_;
  EXPECT_THAT(log_, HasSubstr("5 of 5 jobs are there already"));
}

}  // namespace
}  // namespace cohort

#include "services/cli/study_plan.h"

#include "absl/strings/str_join.h"
#include "services/cli/study_testing.h"

namespace cohort {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

StudyRunOptions Options() {
  StudyRunOptions options;
  options.out = "out";
  options.cohort = "bin/cohort";
  options.make_tiny_model = "tools/make_tiny_model";
  return options;
}

StudyPlan Planned(const StudyRunOptions& options = Options()) {
  absl::StatusOr<StudyPlan> plan = PlanStudy(SmallStudy(), options);
  EXPECT_THAT(plan, IsOk());
  return plan.ok() ? *std::move(plan) : StudyPlan();
}

std::vector<std::string> Names(const StudyPlan& plan) {
  std::vector<std::string> names;
  for (const StudyJob& job : plan.jobs) names.push_back(job.name);
  return names;
}

const StudyJob& Job(const StudyPlan& plan, const std::string& name) {
  for (const StudyJob& job : plan.jobs) {
    if (job.name == name) return job;
  }
  static const StudyJob none;
  ADD_FAILURE() << "no job " << name;
  return none;
}

std::string Command(const StudyPlan& plan, const std::string& name) {
  return absl::StrJoin(Job(plan, name).argv, " ");
}

TEST(StudyPlanTest, BasesAreMadeOnceAndEverythingElseForEverySeed) {
  EXPECT_THAT(Names(Planned()),
              ElementsAre("base m1 weights", "base m1", "seed 1 base main", "seed 1 file labels",
                          "seed 1 grpo", "seed 1 grpo main", "seed 1 more", "seed 1 more main",
                          "seed 1 grpo main logits", "seed 1 main compared", "seed 2 base main",
                          "seed 2 file labels", "seed 2 grpo", "seed 2 grpo main", "seed 2 more",
                          "seed 2 more main", "seed 2 grpo main logits", "seed 2 main compared"));
}

TEST(StudyPlanTest, CommandsNameWhatWasMadeBefore) {
  const StudyPlan plan = Planned();
  EXPECT_EQ(Command(plan, "base m1 weights"),
            "tools/make_tiny_model --hidden 32 --out out/bases/m1/tiny");
  EXPECT_THAT(Command(plan, "base m1"),
              AllOf(HasSubstr("bin/cohort sft -c sft/arithmetic --out out/bases/m1/run"),
                    testing::Not(HasSubstr("--set run.steps")),  // the study's are its arms'
                    HasSubstr("--set model.path=out/bases/m1/tiny")));
  EXPECT_THAT(Command(plan, "seed 2 base main"),
              AllOf(HasSubstr("eval --model out/bases/m1/model "), HasSubstr("--seed 2"),
                    HasSubstr("--task column-addition-3"), HasSubstr("--keep 2"),
                    HasSubstr("--out out/small/seed-2/base/eval-main.json")));
  EXPECT_EQ(Command(plan, "seed 1 file labels"),
            "bin/cohort label --eval out/small/seed-1/base/eval-main.jsonl --out "
            "out/small/seed-1/files/labels");
  EXPECT_THAT(Command(plan, "seed 2 grpo"),
              AllOf(HasSubstr("train -c grpo --out out/small/seed-2/grpo/run"),
                    HasSubstr("--set data.path=out/small/seed-2/files/labels"),
                    HasSubstr("--set run.seed=2 --set model.path=out/bases/m1/model")));
  EXPECT_EQ(Command(plan, "seed 2 grpo main logits"),
            "bin/cohort report --run grpo=out/small/seed-2/grpo/eval-main.jsonl --threads 1 --out "
            "out/small/seed-2/grpo/report-main.html --json out/small/seed-2/grpo/report-main.json");
  EXPECT_EQ(Command(plan, "seed 2 main compared"),
            "bin/cohort report --no-models --run base=out/small/seed-2/base/eval-main.jsonl --run "
            "grpo=out/small/seed-2/grpo/eval-main.jsonl --run "
            "more=out/small/seed-2/more/eval-main.jsonl --out out/small/seed-2/compare-main.html "
            "--json out/small/seed-2/compare-main.json");
  EXPECT_THAT(Command(plan, "seed 1 more"),
              AllOf(HasSubstr("sft -c sft/arithmetic"),
                    HasSubstr("--set model.path=out/small/seed-1/grpo/model")));
}

TEST(StudyPlanTest, AJobNeedsWhatItsCommandNames) {
  const StudyPlan plan = Planned();
  const auto needs = [&](const std::string& name) {
    std::vector<std::string> names;
    for (size_t index : Job(plan, name).needs) names.push_back(plan.jobs[index].name);
    return names;
  };
  EXPECT_THAT(needs("base m1 weights"), IsEmpty());
  EXPECT_THAT(needs("base m1"), ElementsAre("base m1 weights"));
  EXPECT_THAT(needs("seed 1 base main"), ElementsAre("base m1"));
  EXPECT_THAT(needs("seed 2 grpo"), ElementsAre("base m1", "seed 2 file labels"));
  EXPECT_THAT(needs("seed 2 more main"), ElementsAre("seed 2 more"));
  EXPECT_THAT(needs("seed 1 grpo main logits"), ElementsAre("seed 1 grpo main"));
  EXPECT_THAT(needs("seed 2 main compared"),
              ElementsAre("seed 2 base main", "seed 2 grpo main", "seed 2 more main"));
}

TEST(StudyPlanTest, AClaimAloneNeedsLess) {
  StudyRunOptions options = Options();
  options.claims = {"training helps"};
  options.seeds = {3};
  EXPECT_THAT(Names(Planned(options)),
              ElementsAre("base m1 weights", "base m1", "seed 3 base main", "seed 3 file labels",
                          "seed 3 grpo", "seed 3 grpo main"));
  options.claims = {"it is sure"};
  EXPECT_THAT(Names(Planned(options)), testing::Contains("seed 3 grpo main logits"));
  options.claims = {"it is cheap"};
  EXPECT_THAT(PlanStudy(SmallStudy(), options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("it is cheap")));
}

TEST(StudyPlanTest, AFingerprintChangesWithWhatAJobIsMadeOf) {
  const StudyPlan before = Planned();
  StudyRunOptions options = Options();
  options.cohort = "elsewhere/cohort";
  EXPECT_EQ(Job(Planned(options), "seed 1 grpo").fingerprint,
            Job(before, "seed 1 grpo").fingerprint);
  NamedStudy study = SmallStudy();
  study.study.mutable_bases(0)->add_set("optimizer.lr=3e-4");
  const StudyPlan after = *PlanStudy(study, Options());
  EXPECT_EQ(Job(after, "base m1 weights").fingerprint, Job(before, "base m1 weights").fingerprint);
  for (const char* name : {"base m1", "seed 1 base main", "seed 2 more main"}) {
    EXPECT_NE(Job(after, name).fingerprint, Job(before, name).fingerprint) << name;
  }
}

TEST(StudyPlanTest, TheBudgetSaysWhatItWillCost) {
  EXPECT_THAT(BudgetText(SmallStudy(), Planned()),
              AllOf(HasSubstr("Does it help?"), HasSubstr("2 seeds, 4 trainings, 6 evaluations"),
                    HasSubstr("about 3 minutes per seed on two cores, 6 in all")));
  StudyRunOptions options = Options();
  options.claims = {"training helps"};
  EXPECT_THAT(BudgetText(SmallStudy(), Planned(options)), Not(HasSubstr("minutes")));
}

}  // namespace
}  // namespace cohort

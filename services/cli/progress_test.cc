#include "services/cli/progress.h"

#include <fstream>
#include <sstream>

#include "common/base/file.h"
#include "common/base/status_matchers.h"

namespace cohort {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr char kStepJson[] =
    R"({"step":12,"time/step":5,"loss":0.1,"reward/mean":0.40625,"frac_reward_zero_std":0.25,)"
    R"("entropy":0.834,"kl_ref":null,"mismatch_kl":0.0012,"response_length/mean":6.12,)"
    R"("throughput/rollout_tokens_per_second":112.4,"off_policy_level/mean":0,)"
    R"("wait/learner":1.24,"wait/rollout":0.4})";

TEST(StepLineTest, ShowsWhatTheStepHas) {
  EXPECT_EQ(StepLine(nlohmann::json::parse(kStepJson), 40, "2:20"),
            "step 12/40  reward 0.406  mixed 75%  entropy 0.834  kl 0.0012  length 6.1  112 tok/s"
            "  staleness 0  wait learner 1.2s rollout 0.4s  left 2:20");
  EXPECT_EQ(StepLine(nlohmann::json::parse(R"({"step":1,"mismatch_kl":-1e-9})"), 2, ""),
            "step 1/2  kl 0.0000");
}

TEST(EvalLineTest, NamesEverySource) {
  EXPECT_EQ(EvalLine(nlohmann::json::parse(
                R"({"step":0,"eval/addition-1/accuracy":0.2131,"eval/b/accuracy":1,"eval/c":2})")),
            "evaluation: addition-1 21.3%, b 100.0%");
  EXPECT_THAT(EvalLine(nlohmann::json::parse(kStepJson)), IsEmpty());
}

TEST(ProgressBarTest, FitsTheTerminal) {
  EXPECT_EQ(ProgressBar(10, 40, absl::Seconds(70), "2:20", 80),
            "[##########..............................] 10/40  elapsed 1:10  left 2:20");
  for (int width : {0, 1, 10, 30, 200}) {
    EXPECT_LE(ProgressBar(10, 40, absl::Seconds(70), "2:20", width).size(),
              static_cast<size_t>(width));
  }
  EXPECT_THAT(ProgressBar(50, 40, absl::ZeroDuration(), "", 80), HasSubstr("####] 50/40"));
}

TEST(ProgressViewTest, PlainLinesWithoutATerminal) {
  std::ostringstream out;
  ProgressView view(&out, 40, 0);
  view.OnMetrics(R"({"step":0,"eval/a/accuracy":0.5})");
  view.OnMetrics(kStepJson);
  view.OnMetrics("{\"step\":13,\"lo");
  view.Tick();
  view.Done();
  EXPECT_THAT(out.str(), HasSubstr("evaluation: a 50.0%\nstep 12/40"));
  EXPECT_THAT(out.str(), HasSubstr("left 2:20\n"));
  EXPECT_THAT(out.str(), Not(HasSubstr("\x1b")));
}

TEST(ProgressViewTest, ABarBelowTheLinesOnATerminal) {
  std::ostringstream out;
  ProgressView view(&out, 40, 100);
  view.OnMetrics(kStepJson);
  EXPECT_THAT(out.str(), HasSubstr("left 2:20\n\r\x1b[2K[############"));
}

TEST(ProgressViewTest, ShowsAlertsAndThatTheRunIsPaused) {
  constexpr char kPaused[] =
      R"({"alert":"dynamic_sampling_exhausted","text":"8 prompts gave only 1","over":false})";
  constexpr char kGoesOn[] = R"({"alert":"dynamic_sampling_exhausted","text":"","over":true})";
  std::ostringstream lines;
  ProgressView plain(&lines, 40, 0);  // no terminal
  plain.OnAlert(kPaused);
  plain.OnAlert("no JSON");
  EXPECT_EQ(lines.str(), "ALERT dynamic_sampling_exhausted: 8 prompts gave only 1\n");
  std::ostringstream out;
  ProgressView view(&out, 40, 100);
  view.OnAlert(kPaused);
  EXPECT_THAT(out.str(), HasSubstr("gave only 1\n\r\x1b[2K["));
  EXPECT_THAT(out.str(), HasSubstr("  PAUSED, see the ALERT above"));
  out.str("");
  view.OnAlert(kGoesOn);
  EXPECT_THAT(out.str(), HasSubstr("over: dynamic_sampling_exhausted\n"));
  EXPECT_THAT(out.str().substr(out.str().find("over:")), testing::Not(HasSubstr("PAUSED")));
}

TEST(LineFollowerTest, GivesWholeLinesOnce) {
  TemporaryFolder folder;
  const std::string path = folder.path() + "/m";
  LineFollower follower(path, false);
  EXPECT_THAT(follower.Poll(), IsEmpty());
  std::ofstream(path) << "a\nb";
  EXPECT_THAT(follower.Poll(), ElementsAre("a"));
  std::ofstream(path, std::ios::app) << "c\nd\n";
  EXPECT_THAT(follower.Poll(), ElementsAre("bc", "d"));
  EXPECT_THAT(follower.Poll(), IsEmpty());
}

TEST(LineFollowerTest, SkipsWhatWasThereAndAFileThatWasReplaced) {
  TemporaryFolder folder;
  const std::string path = folder.path() + "/m";
  std::ofstream(path) << "old\n";
  LineFollower follower(path, true);
  COHORT_ASSERT_OK(WriteFileAtomic(path, "kept\n"));
  EXPECT_THAT(follower.Poll(), IsEmpty());
  std::ofstream(path, std::ios::app) << "new\n";
  EXPECT_THAT(follower.Poll(), ElementsAre("new"));
}

TEST(SummaryTextTest, ShowsBeforeAndAfter) {
  const std::string text = SummaryText(nlohmann::json::parse(
      R"({"steps":40,"train_seconds":201.4,"reward_first":0.2,"reward_last":0.95,)"
      R"("heldout_accuracy_before":0.21,"heldout_accuracy_after":0.93,"tokens_per_second":120})"));
  EXPECT_THAT(text, HasSubstr("held-out accuracy  21.0% -> 93.0%\n"));
  EXPECT_THAT(text, HasSubstr("training reward    0.200 -> 0.950\n"));
  EXPECT_THAT(text, HasSubstr("steps              40 in 3:21\n"));
  EXPECT_EQ(SummaryText(nlohmann::json::parse(
                R"({"alerts":[{"alert":"checkpoint_failed","count":2,"over":true}, 3]})")),
            "ALERT              checkpoint_failed, raised 2 times, over\n");
  EXPECT_THAT(SummaryText(nlohmann::json::parse(R"({"steps":1,"heldout_accuracy_before":null})")),
              IsEmpty());
}

}  // namespace
}  // namespace cohort

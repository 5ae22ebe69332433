// `cohort train` with shell scripts in the place of the learner and the workers.
#include "services/cli/train.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/exit_code.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"

namespace cohort {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

struct Outcome {
  int exit = -1;
  std::string out;
  std::string err;
};

class TrainTest : public testing::Test {
 protected:
  TrainTest() {
    Write("run.yaml",
          "model: {path: m}\ndata: {task: addition-1}\nrun: {steps: 2}\nrollout: {threads: 3}\n");
    Script("cohort-rollout", "exec sleep 600");
  }

  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(Path(name)) << text;
  }
  std::string Read(const std::string& name) const {
    const absl::StatusOr<std::string> text = ReadFile(Path(name));
    return text.ok() ? *text : "";
  }
  // A program whose commands see the test's folder as $D and the run's folder as $OUT.
  void Script(const std::string& name, const std::string& commands) {
    Write(name, absl::StrCat("#!/bin/sh\nD=", folder_.path(), "\nOUT=$D/run\n", commands, "\n"));
    chmod(Path(name).c_str(), 0755);
  }
  // What a learner does that gets as far as listening; with the address the workers may set off
  // what `traps` are for.
  void Learner(const std::string& commands, const std::string& traps = "") {
    Script("cohort-learner", absl::StrCat(traps, "\necho \"$@\" >> $D/learner.args\n",
                                          "echo 127.0.0.1:1 > $OUT/address\n", commands));
  }

  Outcome Train(std::vector<std::string> overrides = {}, bool resume = false) {
    TrainArgs args;
    args.config = Path("run.yaml");
    args.overrides = std::move(overrides);
    args.out = Path("run");
    if (resume) args.resume = "true";
    args.self = Path("cohort");
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    Outcome outcome;
    outcome.exit = RunTrain(args, restarts_);
    outcome.out = testing::internal::GetCapturedStdout();
    outcome.err = testing::internal::GetCapturedStderr();
    return outcome;
  }

  TemporaryFolder folder_;
  RestartPolicy::Options restarts_;
};

constexpr char kWaitForWorkers[] =
    "until [ $(cat $D/worker.pids 2>/dev/null | wc -l) -ge 2 ]; do sleep 0.02; done\n";
constexpr char kRecordWorker[] = "echo $$ >> $D/worker.pids\n";

TEST_F(TrainTest, ShowsTheStepsAndTheSummaryAndStopsTheWorkers) {
  Script("cohort-rollout", absl::StrCat(kRecordWorker,
                                        "echo \"$@\" $OMP_NUM_THREADS "
                                        "$OMP_WAIT_POLICY > $D/worker.args\n"
                                        "exec sleep 600"));
  Learner(absl::StrCat(kWaitForWorkers,
                       "echo '{\"step\":1,\"loss\":0,\"reward/mean\":0.25}' >> $OUT/metrics.jsonl\n"
                       "echo '{\"step\":2,\"loss\":0,\"reward/mean\":0.5}' >> $OUT/metrics.jsonl\n"
                       "echo '{\"heldout_accuracy_before\":0.2,\"heldout_accuracy_after\":0.9}' "
                       "> $OUT/summary.json"));
  const Outcome outcome = Train();
  EXPECT_EQ(outcome.exit, 0) << outcome.err;
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("step 1/2  reward 0.250"), HasSubstr("step 2/2  reward 0.500"),
                    HasSubstr("20.0% -> 90.0%"), Not(HasSubstr("\x1b"))));
  EXPECT_THAT(
      Read("learner.args"),
      AllOf(HasSubstr(absl::StrCat("--config ", Path("run/config.yaml"))),
            HasSubstr("--rank 0 --world 1 --store 127.0.0.1:"), Not(HasSubstr("--resume"))));
  EXPECT_THAT(Read("worker.args"),
              AllOf(HasSubstr("--learner 127.0.0.1:1"), HasSubstr("3 passive")));
  std::ifstream pids(Path("worker.pids"));
  for (int pid = 0; pids >> pid;) EXPECT_NE(kill(pid, 0), 0) << "worker " << pid << " is left";
}

TEST_F(TrainTest, ShowsTheLearnersAlertsAsTheyCome) {
  Learner(
      absl::StrCat("echo '{\"alert\":\"checkpoint_failed\",\"text\":\"step 1: disk full\"}' "
                   ">> $OUT/alerts.jsonl\n"));
  const Outcome outcome = Train();
  EXPECT_EQ(outcome.exit, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("\nALERT checkpoint_failed: step 1: disk full\n"));
}

TEST_F(TrainTest, ALearnerThatDiesEndsTheRunWithItsLastWords) {
  Learner("echo 'the reason' >&2\nexit 3");
  const Outcome outcome = Train();
  EXPECT_EQ(outcome.exit, 1);
  EXPECT_THAT(outcome.err,
              AllOf(HasSubstr("learner-0 ended with exit code 3"), HasSubstr("the reason")));
}

TEST_F(TrainTest, ALearnersOwnErrorIsTheOneLineThatIsShown) {
  Learner("echo 'many lines' >&2\necho 'cohort-learner: model.path: nothing there' >&2\nexit 1");
  const Outcome outcome = Train();
  EXPECT_EQ(outcome.exit, 1);
  EXPECT_EQ(outcome.err, absl::StrCat("cohort train: learner-0 ended with exit code 1: "
                                      "cohort-learner: model.path: nothing there (log: ",
                                      Path("run/logs/learner-0.log"), ")\n"));
}

// As on a full disk: nothing of the learner arrives in its log.
TEST_F(TrainTest, TheReasonOfALearnerIsShownAlsoWhereItsLogIsLost) {
  Learner(
      "echo 'cohort-learner: no space left on device' > $COHORT_TERMINATION_LOG\n"
      "rm $OUT/logs/learner-0.log\nexit 1");
  const Outcome outcome = Train();
  EXPECT_EQ(outcome.exit, 1);
  EXPECT_THAT(outcome.err,
              HasSubstr("exit code 1: cohort-learner: no space left on device (log: "));
}

TEST_F(TrainTest, ACrashedLearnersLogIsShownWhateverItsLastLine) {
  Learner("echo 'before it' >&2\necho 'cohort-learner: of an earlier start' >&2\nkill -9 $$");
  const Outcome outcome = Train();
  EXPECT_EQ(outcome.exit, 1);
  EXPECT_THAT(outcome.err,
              AllOf(HasSubstr("learner-0 was killed by signal 9"),
                    HasSubstr(Path("run/logs/learner-0.log")), HasSubstr("before it\n")));
}

TEST_F(TrainTest, AKilledWorkerIsStartedAgain) {
  Script("cohort-rollout", absl::StrCat(kRecordWorker,
                                        "[ $(wc -l < $D/worker.pids) -gt 2 ] || "
                                        "kill -9 $$\nexec sleep 600"));
  Learner("until [ $(cat $D/worker.pids 2>/dev/null | wc -l) -ge 4 ]; do sleep 0.02; done");
  const Outcome outcome = Train();
  EXPECT_EQ(outcome.exit, 0) << outcome.err;
  EXPECT_THAT(outcome.out,
              HasSubstr("was killed by signal 9 (Killed); starting it again in 500ms (restart 1)"));
}

TEST_F(TrainTest, AWorkerThatFailsAgainAndAgainIsLeftOutAndTheOtherGoesOn) {
  restarts_.first = absl::Milliseconds(10);
  restarts_.most_quick_failures = 2;
  Script("cohort-rollout",
         "mkdir $D/healthy 2>/dev/null && exec sleep 600\n"
         "echo 'cohort-rollout: no memory here' >&2\necho $$ >> $D/failed\nexit 1");
  // Until the third one was taken note of: its process is gone.
  Learner(
      "until [ $(cat $D/failed 2>/dev/null | wc -l) -ge 3 ] && "
      "! kill -0 $(tail -n 1 $D/failed) 2>/dev/null; do sleep 0.02; done");
  const Outcome outcome = Train();
  EXPECT_EQ(outcome.exit, 0) << outcome.err;
  EXPECT_THAT(outcome.out,
              ContainsRegex("worker-[01] ended with exit code 1 again and again, going on with 1 "
                            "of 2 workers: cohort-rollout: no memory here \\(log: "));
  const std::string failed = Read("failed");
  EXPECT_EQ(std::count(failed.begin(), failed.end(), '\n'), 3) << "it was started again";
}

TEST_F(TrainTest, ARunWithoutAWorkerThatWorksEndsWithTheReason) {
  restarts_.first = absl::Milliseconds(10);
  restarts_.most_quick_failures = 2;
  Script("cohort-rollout", "echo 'cohort-rollout: refused: temperature' >&2\nexit 1");
  Learner("while :; do sleep 0.02; done", "trap 'exit 0' TERM");
  const Outcome outcome = Train();
  EXPECT_EQ(outcome.exit, 1);
  EXPECT_THAT(outcome.out, HasSubstr("going on with 1 of 2 workers"));
  EXPECT_THAT(outcome.err,
              AllOf(HasSubstr(" ended with exit code 1 again and again, no worker is left: "
                              "cohort-rollout: refused: temperature (log: "),
                    HasSubstr(Path("run/logs/worker-"))));
}

TEST_F(TrainTest, EveryRankIsStartedAndTheDeathOfOneEndsTheRun) {
  Learner(
      "[ \"$6\" = 0 ] && exec sleep 600\n"
      "until grep -q 'rank 0' $D/learner.args; do sleep 0.02; done\nexit 7");
  const Outcome outcome = Train({"learner.ranks=2"});
  EXPECT_EQ(outcome.exit, 1);
  EXPECT_THAT(outcome.err, HasSubstr("learner-1 ended with exit code 7"));
  EXPECT_THAT(Read("learner.args"), HasSubstr("--rank 0 --world 2"));
}

TEST_F(TrainTest, CtrlCStopsTheLearnerFirstAndSaysHowToContinue) {
  Script("cohort-rollout", absl::StrCat("trap 'echo worker >> $D/order; exit 0' TERM\n",
                                        kRecordWorker, "while :; do sleep 0.02; done"));
  Learner(absl::StrCat("trap 'echo learner >> $D/order; exit 143' TERM\n", kWaitForWorkers,
                       "kill -INT $PPID\nwhile :; do sleep 0.02; done"));
  const Outcome outcome = Train();
  EXPECT_EQ(outcome.exit, 130);
  EXPECT_EQ(Read("order"), "learner\nworker\nworker\n");
  EXPECT_THAT(outcome.out, HasSubstr("--resume"));
}

// ---- the exit codes of the learner and the workers, and what the whole makes of them ----

TEST_F(TrainTest, AnErrorThatNoOtherTryMendsIsPassedOn) {
  Learner("echo 'cohort-learner: model.path: nothing there' >&2\nexit 42");
  EXPECT_EQ(Train().exit, kExitBadSetup);
}

TEST_F(TrainTest, OfSeveralRanksTheOneThatNamesABadSetupDecides) {
  Learner(
      "[ \"$6\" = 0 ] && trap 'exit 42' TERM && touch $D/armed && while :; do sleep 0.02; done\n"
      "until [ -e $D/armed ]; do sleep 0.02; done\nexit 1");
  EXPECT_EQ(Train({"learner.ranks=2"}).exit, kExitBadSetup);
}

TEST_F(TrainTest, ALearnerThatSomebodyElseStoppedIsNoSuccess) {
  Learner("echo 'cohort-learner: stopped by signal 15 at step 1 of 2' >&2\nexit 143");
  const Outcome outcome = Train();
  EXPECT_EQ(outcome.exit, ExitOfSignal(SIGTERM));
  EXPECT_THAT(outcome.err, HasSubstr("stopped by signal 15 at step 1 of 2"));
}

TEST_F(TrainTest, AStopWhoseCheckpointFailsIsAFailureWithTheReason) {
  Learner(
      "trap 'echo cohort-learner: step 1 of 2 is done but not saved: disk full >&2; exit 1' TERM\n"
      "kill -TERM $PPID\nwhile :; do sleep 0.02; done");
  const Outcome outcome = Train();
  EXPECT_EQ(outcome.exit, kExitFailed);
  EXPECT_THAT(outcome.err, HasSubstr("done but not saved: disk full"));
}

TEST_F(TrainTest, AStopThatFindsTheRunDoneIsASuccess) {
  Learner("trap 'exit 0' TERM\nkill -TERM $PPID\nwhile :; do sleep 0.02; done");
  EXPECT_EQ(Train().exit, kExitDone);
}

TEST_F(TrainTest, AWorkerOfAnotherModelIsNotTriedAgain) {
  Script("cohort-rollout",
         absl::StrCat(kRecordWorker, "echo 'cohort-rollout: refused' >&2\nexit 42"));
  Learner("while :; do sleep 0.02; done", "trap 'exit 143' TERM");
  const Outcome outcome = Train();
  EXPECT_EQ(outcome.exit, kExitBadSetup);
  EXPECT_THAT(outcome.err, HasSubstr("ended with exit code 42, no worker is left"));
  const std::string started = Read("worker.pids");
  EXPECT_EQ(std::count(started.begin(), started.end(), '\n'), 2) << "one of them was tried again";
}

TEST_F(TrainTest, TheReasonOfTheEndIsToldToKubernetes) {
  Write("termination-log", "");
  setenv("COHORT_TERMINATION_LOG", Path("termination-log").c_str(), 1);
  Learner("echo 'cohort-learner: model.path: nothing there' >&2\nexit 42");
  EXPECT_EQ(Train().exit, kExitBadSetup);
  unsetenv("COHORT_TERMINATION_LOG");
  EXPECT_THAT(Read("termination-log"),
              AllOf(HasSubstr("cohort train: learner-0 ended with exit code 42"),
                    HasSubstr("model.path: nothing there")));
}

TEST_F(TrainTest, AStopThatManySignalsTellIsOneStop) {
  // The terminal's Ctrl-C, and whoever forwards it.
  Learner(
      "trap 'sleep 0.3; echo saved >> $D/order; exit 143' TERM\n"
      "kill -INT $PPID\nkill -TERM $PPID\nkill -HUP $PPID\nwhile :; do sleep 0.02; done");
  const Outcome outcome = Train();
  EXPECT_GE(outcome.exit, 128);
  EXPECT_EQ(Read("order"), "saved\n");
  EXPECT_THAT(outcome.out, Not(HasSubstr("ended at once")));
}

TEST_F(TrainTest, ALearnerThatDoesNotStopIsEndedWhenTheGraceIsOver) {
  Learner("trap '' TERM\nkill -TERM $PPID\nwhile :; do sleep 0.02; done");
  const Outcome outcome = Train({"run.stop_grace_seconds=0.1"});
  EXPECT_EQ(outcome.exit, ExitOfSignal(SIGTERM));
  EXPECT_THAT(outcome.out, HasSubstr("the learner was ended at once"));
}

TEST_F(TrainTest, RankZeroIsStoppedFirst) {
  Learner(
      "[ \"$6\" = 0 ] || { trap 'echo other >> $D/order; exit 143' TERM; touch $D/armed; "
      "while :; do sleep 0.02; done; }\n"
      "trap 'echo zero >> $D/order; exit 143' TERM\n"
      "until [ -e $D/armed ]; do sleep 0.02; done\n"
      "kill -TERM $PPID\nwhile :; do sleep 0.02; done");
  EXPECT_EQ(Train({"learner.ranks=2"}).exit, ExitOfSignal(SIGTERM));
  EXPECT_EQ(Read("order"), "zero\nother\n");
}

TEST_F(TrainTest, AFinishedRunIsNotOverwrittenButResumed) {
  Learner("echo '{\"step\":1,\"loss\":0}' >> $OUT/metrics.jsonl");
  EXPECT_EQ(Train().exit, 0);
  const Outcome again = Train();
  EXPECT_EQ(again.exit, kExitBadSetup);
  EXPECT_THAT(again.err, HasSubstr("already holds a run; continue it with --resume"));
  EXPECT_EQ(Train({"run.steps=9"}, /*resume=*/true).exit, 0);
  EXPECT_THAT(Read("learner.args"), HasSubstr("--resume"));
}

TEST_F(TrainTest, AMissingProgramIsNamed) {
  const Outcome outcome = Train();
  EXPECT_EQ(outcome.exit, 1);
  EXPECT_THAT(outcome.err, HasSubstr("cannot start learner-0"));
}

TEST_F(TrainTest, AMistakeInTheConfigurationStartsNothing) {
  Learner("exit 0");
  const Outcome outcome = Train({"rollout.group_sise=4"});
  EXPECT_EQ(outcome.exit, kExitBadSetup);
  EXPECT_THAT(outcome.err, HasSubstr("did you mean 'rollout.group_size'?"));
  EXPECT_EQ(Read("learner.args"), "");
}

}  // namespace
}  // namespace cohort

// A worker's process beside its learner's: who it serves, and when it ends.
#include <csignal>

#include "absl/strings/match.h"
#include "tests/integration/learner_process.h"

namespace cohort {
namespace {

using testing::HasSubstr;

class WorkerProcess : public LearnerProcess {
 protected:
  // A learner that workers find again at the same address.
  std::unique_ptr<Process> LearnerAt(const std::string& address, const std::string& log,
                                     const std::vector<std::string>& extra = {}) {
    std::vector<std::string> argv = {bin_ + "/cohort-learner",
                                     "--config",
                                     Path("run.yaml"),
                                     "--listen",
                                     address,
                                     "--out",
                                     Path("out")};
    argv.insert(argv.end(), extra.begin(), extra.end());
    return std::make_unique<Process>(argv, Path(log));
  }
  static std::vector<pid_t> ChildrenOf(const Process& parent, const std::string& program) {
    const std::string tasks = absl::StrCat("/proc/", parent.pid(), "/task/", parent.pid());
    std::vector<pid_t> children;
    for (absl::string_view pid :
         absl::StrSplit(ReadFile(tasks + "/children").value_or(""), ' ', absl::SkipWhitespace())) {
      const std::string command = ReadFile(absl::StrCat("/proc/", pid, "/cmdline")).value_or("");
      if (!absl::StrContains(command, program)) continue;
      children.push_back(std::stoi(std::string(pid)));
    }
    return children;
  }
};

TEST_F(WorkerProcess, OutlivesALearnerThatIsStartedAgainAndEndsWithTheRun) {
  WriteConfig(100000);
  const std::string address = absl::StrCat("127.0.0.1:", FreePort());
  auto learner = LearnerAt(address, "first.log");
  const auto worker = Worker();
  ASSERT_TRUE(WaitFor([&] { return Trained(1); })) << learner->Log() << worker->Log();
  learner->Signal(SIGTERM);
  EXPECT_EQ(learner->Wait(absl::Seconds(30)), ExitOfSignal(SIGTERM)) << learner->Log();
  const std::string notice = absl::StrCat("waiting for learner at ", address);
  EXPECT_TRUE(WaitFor([&] { return absl::StrContains(worker->Log(), notice); })) << worker->Log();
  EXPECT_EQ(worker->Wait(absl::ZeroDuration()), -1) << worker->Log();

  WriteConfig(static_cast<int>(Metrics().back()["step"].get<int64_t>()) + 2);
  learner = LearnerAt(address, "second.log", {"--resume"});
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), 0) << learner->Log() << worker->Log();
  EXPECT_EQ(worker->Wait(absl::Seconds(20)), 0) << worker->Log();
  EXPECT_THAT(worker->Log(), HasSubstr("the run is complete"));
}

TEST_F(WorkerProcess, WaitsForALearnerThatIsGoneAsLongAsItIsToldTo) {
  WriteConfig(100000);
  const auto learner = Learner();
  const auto worker = Worker({"--set", "rollout.connect_seconds=3"});
  ASSERT_TRUE(WaitFor([&] { return Trained(1); })) << learner->Log() << worker->Log();
  learner->Signal(SIGTERM);
  EXPECT_EQ(learner->Wait(absl::Seconds(30)), ExitOfSignal(SIGTERM)) << learner->Log();
  EXPECT_EQ(worker->Wait(absl::Milliseconds(500)), -1) << worker->Log();
  EXPECT_EQ(worker->Wait(absl::Seconds(20)), kExitFailed) << worker->Log();
  EXPECT_THAT(worker->Log(), HasSubstr("cohort-rollout: no learner at " + Address()));
}

TEST_F(WorkerProcess, EndsAtOnceWhenItIsStoppedWhileItWaits) {
  WriteConfig(100000);
  const auto learner = Learner();
  const auto worker = Worker({"--set", "rollout.drain_seconds=60"});
  ASSERT_TRUE(WaitFor([&] { return Trained(1); })) << learner->Log() << worker->Log();
  learner->Signal(SIGTERM);
  EXPECT_EQ(learner->Wait(absl::Seconds(30)), ExitOfSignal(SIGTERM)) << learner->Log();
  worker->Signal(SIGTERM);
  EXPECT_EQ(worker->Wait(absl::Seconds(15)), 0) << worker->Log();
}

TEST_F(WorkerProcess, OfATrainingOnOneMachineEndsWhenItsLearnerIsGone) {
  WriteConfig(100000);
  Process train(
      {bin_ + "/cohort", "train", "-c", Path("run.yaml"), "--workers", "2", "--out", Path("out")},
      Path("train.log"));
  ASSERT_TRUE(WaitFor([&] { return Trained(1); })) << train.Log();
  const std::vector<pid_t> learner = ChildrenOf(train, "cohort-learner");
  const std::vector<pid_t> workers = ChildrenOf(train, "cohort-rollout");
  ASSERT_EQ(learner.size(), 1U);
  ASSERT_EQ(workers.size(), 2U);
  kill(learner[0], SIGKILL);
  EXPECT_EQ(train.Wait(absl::Seconds(20)), kExitFailed) << train.Log();
  for (const pid_t worker : workers) {
    EXPECT_TRUE(WaitFor([&] { return kill(worker, 0) != 0; }, absl::Seconds(5))) << worker;
  }
  for (const char* name : {"worker-0", "worker-1"}) {
    EXPECT_THAT(ReadFile(absl::StrCat(Path("out/logs/"), name, ".log")).value_or(""),
                HasSubstr(": signal 15"));
  }
}

TEST_F(WorkerProcess, AWorkerOfAnotherKindOfHostTakesTheLearnersDtype) {
  for (const std::string dtype : {"fp32", "bf16"}) {  // one of them is not this machine's auto
    WriteConfig(1);
    const std::string out = Path(absl::StrCat("out-", dtype));
    Process learner({bin_ + "/cohort-learner", "--config", Path("run.yaml"), "--listen",
                     "127.0.0.1:0", "--out", out, "--set", absl::StrCat("model.dtype=", dtype)},
                    Path("learner.log"));
    ASSERT_TRUE(WaitFor([&] { return ReadFile(out + "/address").ok(); })) << learner.Log();
    std::string address = ReadFile(out + "/address").value_or("");
    address = address.substr(0, address.find('\n'));
    Process worker({bin_ + "/cohort-rollout", "--config", out + "/config.yaml", "--set",
                    "model.dtype=auto", "--learner", address},
                   Path("worker.log"));
    EXPECT_EQ(learner.Wait(absl::Seconds(60)), 0) << learner.Log();
    EXPECT_EQ(worker.Wait(absl::Seconds(20)), 0) << worker.Log();
    EXPECT_THAT(worker.Log(), HasSubstr(absl::StrCat("in ", dtype)));
  }
}

TEST_F(WorkerProcess, AWorkerOfAnotherConfigurationOrModelIsRefusedWithTheFieldThatDiffers) {
  WriteConfig(2);
  const auto learner = Learner();
  const std::string refused = absl::StrCat("learner at ", Address(), " refused this worker: ");
  auto worker = Worker({"--set", "rollout.temperature=0.5"});
  EXPECT_EQ(worker->Wait(absl::Seconds(30)), kExitBadSetup) << worker->Log();
  EXPECT_THAT(ErrorLines(worker->Log()),
              OneErrorLine("cohort-rollout", refused,
                           "rollout.temperature: learner has 1, worker has 0.5"));

  const std::string make = MakeModelCommand("other", "--hidden 32 --layers 2 --seed 4");
  ASSERT_EQ(std::system(make.c_str()), 0) << make;
  worker = Worker({"--set", absl::StrCat("model.path=", Path("other"))});
  EXPECT_EQ(worker->Wait(absl::Seconds(30)), kExitBadSetup) << worker->Log();
  EXPECT_THAT(ErrorLines(worker->Log()),
              OneErrorLine("cohort-rollout", refused, "model.sha256: learner has "));

  worker = Worker();  // the run is none the worse for it
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), 0) << learner->Log();
  EXPECT_EQ(worker->Wait(absl::Seconds(20)), 0) << worker->Log();
}

TEST_F(WorkerProcess, AWorkerThatIsThereFirstSaysThatItWaitsAndThenTrainsWithTheLearner) {
  WriteConfig(2);
  const std::string address = absl::StrCat("127.0.0.1:", FreePort());
  Process worker({bin_ + "/cohort-rollout", "--config", Path("run.yaml"), "--learner", address,
                  "--secret-file", Path("out/secret")},
                 Path("worker.log"));
  const std::string notice = absl::StrCat("waiting for learner at ", address);
  ASSERT_TRUE(WaitFor([&] { return absl::StrContains(worker.Log(), notice); })) << worker.Log();
  Process learner({bin_ + "/cohort-learner", "--config", Path("run.yaml"), "--listen", address,
                   "--out", Path("out")},
                  Path("learner.log"));
  EXPECT_EQ(learner.Wait(absl::Seconds(60)), 0) << learner.Log();
  EXPECT_EQ(worker.Wait(absl::Seconds(20)), 0) << worker.Log();
  EXPECT_EQ(Metrics().size(), 3U);
}

}  // namespace
}  // namespace cohort

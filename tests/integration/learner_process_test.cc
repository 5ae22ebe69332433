// cohort-learner and cohort-rollout as real processes on a tiny model: whole runs, also of several
// ranks, paused and continued.
#include "tests/integration/learner_process.h"

#include <algorithm>
#include <csignal>

#include "absl/strings/match.h"

namespace cohort {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST_F(LearnerProcess, TwoRanksTrainAndEndTogether) {
  WriteConfig(3);
  const auto rank0 = Learner(0, 2), rank1 = Learner(1, 2);
  const auto worker = Worker();
  EXPECT_EQ(rank0->Wait(absl::Seconds(120)), 0) << rank0->Log();
  EXPECT_EQ(rank1->Wait(absl::Seconds(20)), 0) << rank1->Log();
  EXPECT_EQ(worker->Wait(absl::Seconds(20)), 0) << worker->Log();
  const std::vector<nlohmann::json> lines = Metrics();
  ASSERT_EQ(lines.size(), 4U);
  for (size_t step = 1; step < lines.size(); ++step) {
    EXPECT_EQ(lines[step]["step"], step);
    EXPECT_LT(lines[step]["sampling/logp_difference/max"].get<double>(), 1e-4);
    for (const char* key : {"time/allreduce", "loss", "kl_ref", "weights/hash", "wait/rollout"}) {
      EXPECT_TRUE(lines[step].contains(key)) << key;
    }
  }
}

TEST_F(LearnerProcess, OnlyRankZeroNeedsTheFolderOfARunThatIsContinued) {
  const auto other = [&](const std::vector<std::string>& extra) {
    std::vector<std::string> argv = {bin_ + "/cohort-learner",
                                     "--config",
                                     Path("run.yaml"),
                                     "--rank",
                                     "1",
                                     "--world",
                                     "2",
                                     "--store",
                                     absl::StrCat("127.0.0.1:", store_port_),
                                     "--out",
                                     "/proc/no/such/folder",
                                     "--secret-file",
                                     Path("out/secret")};
    argv.insert(argv.end(), extra.begin(), extra.end());
    return std::make_unique<Process>(argv, Path("other.log"));
  };
  for (const int steps : {2, 3}) {
    unlink(Path("out/address").c_str());
    WriteConfig(steps);
    const auto rank0 = Learner(0, 2, {"--resume=auto"});
    const auto rank1 = other({"--resume=auto"});
    const auto worker = Worker();
    EXPECT_EQ(rank0->Wait(absl::Seconds(120)), 0) << rank0->Log();
    EXPECT_EQ(rank1->Wait(absl::Seconds(20)), 0) << rank1->Log();
    EXPECT_EQ(Metrics().back()["step"], steps);
  }
}

// ---- several ranks by one program ----

TEST_F(LearnerProcess, OneProgramStartsAndWatchesTheRanksOfAPod) {
  WriteConfig(3);
  const std::string http = absl::StrCat("127.0.0.1:", FreePort());
  Process pod({bin_ + "/cohort-learner", "--config", Path("run.yaml"), "--listen", "127.0.0.1:0",
               "--http-listen", http, "--out", Path("out"), "--store",
               absl::StrCat("127.0.0.1:", store_port_), "--ranks-per-pod", "2"},
              Path("pod.log"));
  const auto worker = Worker();
  EXPECT_EQ(pod.Wait(absl::Seconds(120)), 0) << pod.Log();
  EXPECT_EQ(worker->Wait(absl::Seconds(20)), 0) << worker->Log();
  EXPECT_THAT(pod.Log(),
              AllOf(HasSubstr("learner-0 "), HasSubstr("learner-1 "), HasSubstr("http://" + http)));
  ASSERT_EQ(Metrics().size(), 4U);
  EXPECT_TRUE(Metrics().back().contains("time/allreduce"));
}

TEST_F(LearnerProcess, AKilledRankOfAPodEndsThePodAndSavesTheSteps) {
  WriteConfig(100000);
  Process pod({bin_ + "/cohort-learner", "--config", Path("run.yaml"), "--listen", "127.0.0.1:0",
               "--out", Path("out"), "--store", absl::StrCat("127.0.0.1:", store_port_),
               "--ranks-per-pod", "2", "--resume=auto"},
              Path("pod.log"));
  // Slow, so that the rank dies while its learner waits for groups: in the middle of an update
  // the weights are no step's, and nothing would be saved.
  const auto worker = Worker({"--pace", "200"});
  ASSERT_TRUE(WaitFor([&] { return Trained(1); })) << pod.Log();
  const std::string children =
      ReadFile(absl::StrCat("/proc/", pod.pid(), "/task/", pod.pid(), "/children")).value_or("");
  const std::vector<std::string> pids = absl::StrSplit(children, ' ', absl::SkipWhitespace());
  ASSERT_EQ(pids.size(), 2U) << children;
  kill(std::stoi(pids[1]), SIGKILL);
  EXPECT_EQ(pod.Wait(absl::Seconds(60)), kExitFailed) << pod.Log();
  EXPECT_THAT(pod.Log(), HasSubstr("cohort-learner: learner-1 was killed by signal 9"));
  EXPECT_FALSE(Checkpoints().empty()) << "the steps before the failed one are lost";
  for (const std::string& pid : pids) EXPECT_NE(kill(std::stoi(pid), 0), 0) << pid << " is left";
}

TEST_F(LearnerProcess, TwoPodsTrainAndAStopOfEitherStopsBoth) {
  WriteConfig(100000);
  const std::string store = absl::StrCat("127.0.0.1:", store_port_);
  const std::string http = absl::StrCat("127.0.0.1:", FreePort());
  const auto pod = [&](const std::string& index, const std::vector<std::string>& extra) {
    std::vector<std::string> argv = {bin_ + "/cohort-learner",
                                     "--config",
                                     Path("run.yaml"),
                                     "--store",
                                     store,
                                     "--pods",
                                     "2",
                                     "--pod-index",
                                     index};
    argv.insert(argv.end(), extra.begin(), extra.end());
    return std::make_unique<Process>(argv, Path("pod-" + index + ".log"));
  };
  const auto first = pod("0", {"--listen", "127.0.0.1:0", "--out", Path("out")});
  const auto second =
      pod("1", {"--http-listen", http, "--out", Path("none"), "--secret-file", Path("out/secret")});
  const auto worker = Worker();
  ASSERT_TRUE(WaitFor([&] { return Trained(1); })) << first->Log();
  EXPECT_EQ(std::system(absl::StrCat("curl -sf http://", http, "/readyz > /dev/null").c_str()), 0);
  second->Signal(SIGTERM);
  EXPECT_EQ(second->Wait(absl::Seconds(60)), ExitOfSignal(SIGTERM)) << second->Log();
  EXPECT_EQ(first->Wait(absl::Seconds(60)), ExitOfSignal(SIGTERM)) << first->Log();
  EXPECT_EQ(Checkpoints().size(), 1U);
  EXPECT_FALSE(std::filesystem::exists(Path("none")));
}

TEST_F(LearnerProcess, ARunEndsOnceItHasSampledItsTokensAlsoWhenResumed) {
  WriteConfig(1000);
  auto learner = Learner(0, 1, {"--set", "run.sampled_tokens=1"});
  auto worker = Worker();
  ASSERT_EQ(learner->Wait(absl::Seconds(60)), 0) << learner->Log();
  EXPECT_EQ(worker->Wait(absl::Seconds(20)), 0) << worker->Log();
  ASSERT_EQ(Metrics().back()["step"], 1);
  EXPECT_EQ(Checkpoints().size(), 1U);
  const double first = Metrics().back()["groups/sampled_tokens"];
  ASSERT_GT(first, 0);

  unlink(Path("out/address").c_str());
  const std::string more = absl::StrCat("run.sampled_tokens=", static_cast<int>(first * 2.5));
  learner = Learner(0, 1, {"--resume", "--set", more});
  worker = Worker();
  ASSERT_EQ(learner->Wait(absl::Seconds(60)), 0) << learner->Log();
  const std::vector<nlohmann::json> lines = Metrics();
  ASSERT_GE(lines.size(), 3U);
  EXPECT_GE(lines.back()["groups/sampled_tokens"], 2 * first);
  EXPECT_LT(lines[lines.size() - 2]["groups/sampled_tokens"].get<double>(), first * 2.5);
  EXPECT_TRUE(lines.back().contains("eval/addition-1/accuracy")) << "the last step is evaluated";
}

TEST_F(LearnerProcess, ACheckpointHasAllOfItsStep) {
  WriteConfig(2);
  const auto learner = Learner();
  const auto worker = Worker();
  ASSERT_EQ(learner->Wait(absl::Seconds(60)), 0) << learner->Log();
  const auto json = [](const std::string& path) {
    return nlohmann::json::parse(ReadFile(path).value_or(""), nullptr, false);
  };
  ASSERT_EQ(Checkpoints().size(), 1U);
  EXPECT_EQ(json(Checkpoints()[0] + "/state.json")["extra"]["train_seconds"],
            json(Path("out/summary.json"))["train_seconds"]);
}

TEST_F(LearnerProcess, ARunThatEndedBeforeItsFirstCheckpointIsContinuedFromItsStart) {
  WriteConfig(2);
  // Its first evaluation waits for a worker.
  auto learner = Learner();
  const std::string first = Address();
  learner->Signal(SIGTERM);
  EXPECT_EQ(learner->Wait(absl::Seconds(30)), ExitOfSignal(SIGTERM)) << learner->Log();
  EXPECT_THAT(ErrorLines(learner->Log()),
              OneErrorLine("cohort-learner", "stopped by signal 15 at step 0 of 2"));

  learner = Learner(0, 1, {"--resume"});
  ASSERT_TRUE(WaitFor([&] { return absl::StrContains(learner->Log(), "listening on "); }));
  learner->Signal(SIGKILL);  // as it waits for its first evaluation again
  EXPECT_EQ(learner->Wait(absl::Seconds(30)), ExitOfSignal(SIGKILL));

  unlink(Path("out/address").c_str());
  learner = Learner(0, 1, {"--resume"});
  const auto worker = Worker();
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), 0) << learner->Log();
  EXPECT_THAT(learner->Log(), HasSubstr("the run begins at step 0"));
  EXPECT_EQ(Metrics().size(), 3U);
  EXPECT_EQ(Metrics().back()["step"], 2);
}

TEST_F(LearnerProcess, ADamagedNewestCheckpointIsNamedAndTheOneBeforeContinued) {
  WriteConfig(3);
  auto learner = Learner(0, 1, {"--set", "checkpoint.every_steps=1"});
  auto worker = Worker();
  ASSERT_EQ(learner->Wait(absl::Seconds(60)), 0) << learner->Log();
  const std::string newest = Path("out/checkpoints/step-00000003");
  std::filesystem::resize_file(newest + "/optimizer.safetensors", 1000);
  unlink(Path("out/address").c_str());
  learner = Learner(0, 1, {"--resume", "--set", "checkpoint.every_steps=1"});
  worker = Worker();
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), 0) << learner->Log();
  EXPECT_THAT(learner->Log(), AllOf(HasSubstr("checkpoint " + newest + " is damaged"),
                                    HasSubstr("step-00000002, step 2")));
  EXPECT_EQ(Metrics().back()["step"], 3);
  EXPECT_GT(std::filesystem::file_size(newest + "/optimizer.safetensors"), 1000U);
}

TEST_F(LearnerProcess, AutoStartsThenContinuesThenSaysThatTheRunIsComplete) {
  WriteConfig(100000);
  auto learner = Learner(0, 1, {"--resume=auto"});
  auto worker = Worker();
  ASSERT_TRUE(WaitFor([&] { return Trained(1); })) << learner->Log();
  learner->Signal(SIGTERM);
  EXPECT_EQ(learner->Wait(absl::Seconds(30)), ExitOfSignal(SIGTERM)) << learner->Log();
  const auto done = Metrics().back()["step"].get<int64_t>();

  unlink(Path("out/address").c_str());
  WriteConfig(static_cast<int>(done) + 1);
  learner = Learner(0, 1, {"--resume=auto"});
  worker = Worker();
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), 0) << learner->Log();
  EXPECT_THAT(learner->Log(), HasSubstr(absl::StrCat("step ", done)));
  const std::string metrics = ReadFile(Path("out/metrics.jsonl")).value_or("");

  learner = Learner(0, 1, {"--resume=auto"});  // nobody serves it, and nobody needs to
  EXPECT_EQ(learner->Wait(absl::Seconds(30)), 0) << learner->Log();
  EXPECT_THAT(learner->Log(), HasSubstr("is complete already"));
  EXPECT_EQ(ReadFile(Path("out/metrics.jsonl")).value_or(""), metrics);
}

TEST_F(LearnerProcess, ARunWithoutPromptsLeftPausesUntilItIsStopped) {
  // A random model is never right: dynamic sampling finds nothing.
  const char kFilter[] = "algorithm.filter.prompts={dynamic: {max_rounds: 1}}";
  WriteConfig(2);
  const auto rank0 = Learner(0, 2, {"--set", kFilter}), rank1 = Learner(1, 2, {"--set", kFilter});
  const auto worker = Worker();
  ASSERT_TRUE(WaitFor([&] { return absl::StrContains(rank0->Log(), "The run is paused"); }))
      << rank0->Log();
  EXPECT_THAT(rank0->Log(), HasSubstr("ALERT dynamic_sampling_exhausted"));
  EXPECT_THAT(rank0->Log(), HasSubstr("algorithm.filter.prompts.dynamic.max_rounds"));
  EXPECT_THAT(rank0->Log(), HasSubstr("start it again"));
  EXPECT_EQ(rank0->Wait(absl::Milliseconds(500)), -1) << "it waits";
  rank0->Signal(SIGTERM);
  EXPECT_EQ(rank0->Wait(absl::Seconds(20)), ExitOfSignal(SIGTERM)) << rank0->Log();
  EXPECT_EQ(rank1->Wait(absl::Seconds(20)), ExitOfSignal(SIGTERM)) << rank1->Log();
}

TEST_F(LearnerProcess, APausedRunIsResumedWithAnotherLimit) {
  // Six of ten groups of such coins are mixed: three rounds do for a while, not for ever.
  std::vector<std::string> settings = {
      "--set", "run.spurious=true",
      "--set", "algorithm.reward.sources=[{name: random, p: 0.2}]",
      "--set", "algorithm.filter.prompts={dynamic: {max_rounds: 3}}"};
  WriteConfig(100000);
  auto learner = Learner(0, 1, settings);
  auto worker = Worker();
  ASSERT_TRUE(WaitFor([&] { return absl::StrContains(learner->Log(), "The run is paused"); }))
      << learner->Log();
  EXPECT_THAT(learner->Log(), HasSubstr("continue with --resume"));
  learner->Signal(SIGTERM);
  EXPECT_EQ(learner->Wait(absl::Seconds(20)), ExitOfSignal(SIGTERM)) << learner->Log();
  const auto done = Metrics().back()["step"].get<int64_t>();
  ASSERT_GT(done, 0);

  unlink(Path("out/address").c_str());
  WriteConfig(static_cast<int>(done) + 2);
  settings.back() = "algorithm.filter.prompts={dynamic: {max_rounds: 50}}";
  settings.push_back("--resume");
  learner = Learner(0, 1, settings);
  worker = Worker();
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), 0) << learner->Log();
  EXPECT_EQ(Metrics().back()["step"], done + 2);
}

TEST_F(LearnerProcess, ARunThatNobodyWatchesStopsInsteadOfPausing) {
  WriteConfig(2);
  const auto learner = Learner(0, 1,
                               {"--set", "algorithm.filter.prompts={dynamic: {max_rounds: 1}}",
                                "--set", "algorithm.filter.on_exhausted=stop"});
  const auto worker = Worker();
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), 1) << learner->Log();
  EXPECT_THAT(learner->Log(), HasSubstr("ALERT dynamic_sampling_exhausted"));
}

TEST_F(LearnerProcess, AVoteOfTheWorkersTrains) {
  WriteConfig(2);
  const auto learner = Learner(
      0, 1,
      {"--set", "run.spurious=true", "--set",
       "algorithm.reward.sources=[{name: majority_online, n_votes: 9}, {name: neg_entropy_mean}]"});
  const auto worker = Worker();
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), 0) << learner->Log();
  const std::vector<nlohmann::json> lines = Metrics();
  ASSERT_EQ(lines.size(), 3U);
  for (const char* key : {"signal/majority_ratio/mean", "signal/label_accuracy/mean",
                          "signal/reward_accuracy/mean", "reward/neg_entropy_mean/mean"}) {
    EXPECT_TRUE(lines[2].contains(key)) << key;
  }
  EXPECT_LT(lines[2]["reward/neg_entropy_mean/mean"].get<double>(), 0);
}

TEST_F(LearnerProcess, ARewardThatNeverHasAVerdictEndsTheRunAndSaysSo) {
  // The numbers that this verifier needs are not among the task's columns.
  WriteConfig(30, "");
  std::string config = ReadFile(Path("run.yaml")).value_or("");
  const std::string data = "data: {task: addition-1}";
  config.replace(config.find(data), data.size(),
                 "data: {sources: [{task: addition-1, reward: rule_countdown}]}");
  COHORT_ASSERT_OK(WriteFileAtomic(Path("run.yaml"), config));
  const auto learner = Learner();
  const auto worker = Worker();
  EXPECT_EQ(learner->Wait(absl::Seconds(90)), 1) << learner->Log();
  EXPECT_THAT(learner->Log(), HasSubstr("ALERT no_verdicts"));
  EXPECT_THAT(learner->Log(), HasSubstr("10 steps in a row"));
}

TEST_F(LearnerProcess, ACheckpointThatCannotBeWrittenStopsNoTraining) {
  WriteConfig(100000);
  // A file where the checkpoint's folder should be: every write of one fails.
  const auto learner = Learner(0, 1, {"--set", "checkpoint.every_steps=1"});
  ASSERT_TRUE(WaitFor([&] { return ReadFile(Path("out/address")).ok(); })) << learner->Log();
  std::filesystem::remove_all(Path("out/checkpoints"));
  COHORT_ASSERT_OK(WriteFileAtomic(Path("out/checkpoints"), "in the way"));
  const auto worker = Worker();
  EXPECT_TRUE(WaitFor([&] { return Trained(2); })) << learner->Log();
  EXPECT_THAT(learner->Log(), HasSubstr("ALERT checkpoint_failed: step 1"));
  std::filesystem::remove(Path("out/checkpoints"));
  EXPECT_TRUE(WaitFor([&] { return !Checkpoints().empty(); })) << "none after the obstacle is gone";
  learner->Signal(SIGTERM);
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), ExitOfSignal(SIGTERM)) << learner->Log();
}

TEST_F(LearnerProcess, ARunWhoseLastStepCannotBeSavedIsAFailureWithTheReason) {
  WriteConfig(3);
  COHORT_ASSERT_OK(WriteFileAtomic(Path("termination-log"), ""));
  setenv("COHORT_TERMINATION_LOG", Path("termination-log").c_str(), 1);
  const auto learner = Learner();
  ASSERT_TRUE(WaitFor([&] { return ReadFile(Path("out/address")).ok(); })) << learner->Log();
  std::filesystem::remove_all(Path("out/checkpoints"));
  COHORT_ASSERT_OK(WriteFileAtomic(Path("out/checkpoints"), "in the way"));
  const auto worker = Worker();
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), kExitFailed) << learner->Log();
  unsetenv("COHORT_TERMINATION_LOG");
  EXPECT_THAT(ErrorLines(learner->Log()),
              OneErrorLine("cohort-learner", "step 3 of 3 is done but not saved: "));
  EXPECT_THAT(ReadFile(Path("termination-log")).value_or(""),
              HasSubstr("cohort-learner: step 3 of 3 is done but not saved: "));
}

}  // namespace
}  // namespace cohort

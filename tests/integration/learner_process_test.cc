// cohort-learner and cohort-rollout as real processes on a tiny model: ranks, signals and what is
// reported when something is wrong.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"

namespace cohort {
namespace {

using testing::HasSubstr;

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

int FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  close(fd);
  return ntohs(address.sin_port);
}

// Ends with the test, whatever happens.
class Process {
 public:
  Process(const std::vector<std::string>& argv, const std::string& log) : log_(log) {
    pid_ = fork();
    if (pid_ != 0) return;
    const int fd = open(log.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0644);
    dup2(fd, 1);
    dup2(fd, 2);
    std::vector<char*> args;
    for (const std::string& arg : argv) args.push_back(const_cast<char*>(arg.c_str()));
    args.push_back(nullptr);
    execv(args[0], args.data());
    _exit(127);
  }
  ~Process() {
    if (!ended_) kill(pid_, SIGKILL), waitpid(pid_, nullptr, 0);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void Signal(int number) const { kill(pid_, number); }
  // The exit code; -1: still running after `limit`; 128 + n: ended by signal n.
  int Wait(absl::Duration limit) {
    const absl::Time deadline = absl::Now() + limit;
    int status = 0;
    while (waitpid(pid_, &status, WNOHANG) == 0) {
      if (absl::Now() > deadline) return -1;
      absl::SleepFor(absl::Milliseconds(20));  // another process, there is nothing else to wait on
    }
    ended_ = true;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }
  std::string Log() const { return ReadFile(log_).value_or(""); }

 private:
  const std::string log_;
  pid_t pid_ = 0;
  bool ended_ = false;
};

class LearnerProcess : public testing::Test {
 protected:
  void SetUp() override {
    const std::string source = Variable("COHORT_SOURCE_DIR");
    bin_ = Variable("COHORT_BIN_DIR");
    if (source.empty() || access((bin_ + "/cohort-learner").c_str(), X_OK) != 0) {
      GTEST_SKIP() << "needs COHORT_SOURCE_DIR and cohort-learner in COHORT_BIN_DIR";
    }
    const std::string make =
        absl::StrCat("python3 ", source, "/tools/make_tiny_model --out ", Path("model"),
                     " --hidden 32 --layers 2 --seed 3 > /dev/null");
    if (std::system(make.c_str()) != 0) GTEST_SKIP() << "cannot run: " << make;
  }

  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }

  void WriteConfig(int steps, const std::string& extra = "") {
    COHORT_ASSERT_OK(WriteFileAtomic(
        Path("run.yaml"),
        absl::StrCat("run: {seed: 7, steps: ", steps, ", name: test}\nmodel: {path: ",
                     Path("model"), ", dtype: fp32, device: cpu}\ndata: {task: addition-1}\n",
                     "rollout: {group_size: 4, max_new_tokens: 8, threads: 1}\n",
                     "learner: {prompts_per_step: 4, threads: 1, step_timeout_seconds: 60}\n",
                     "algorithm: {step_on_empty: true, kl: {loss: {coef: 0.1}}}\n",
                     "checkpoint: {every_steps: 0}\neval: {samples: 1}\n", extra)));
  }

  std::unique_ptr<Process> Learner(int rank = 0, int world = 1,
                                   const std::vector<std::string>& extra = {}) {
    std::vector<std::string> argv = {bin_ + "/cohort-learner",
                                     "--config",
                                     Path("run.yaml"),
                                     "--listen",
                                     "127.0.0.1:0",
                                     "--rank",
                                     absl::StrCat(rank),
                                     "--world",
                                     absl::StrCat(world),
                                     "--store",
                                     absl::StrCat("127.0.0.1:", store_port_),
                                     "--out",
                                     Path("out")};
    argv.insert(argv.end(), extra.begin(), extra.end());
    return std::make_unique<Process>(argv, Path(absl::StrCat("learner-", rank, ".log")));
  }

  std::unique_ptr<Process> Worker(const std::vector<std::string>& extra = {}) {
    EXPECT_TRUE(WaitFor([&] { return ReadFile(Path("out/address")).ok(); }));
    const std::string address = ReadFile(Path("out/address")).value_or("");
    std::vector<std::string> argv = {bin_ + "/cohort-rollout", "--config", Path("out/config.yaml"),
                                     "--learner", address.substr(0, address.find('\n'))};
    argv.insert(argv.end(), extra.begin(), extra.end());
    return std::make_unique<Process>(argv, Path("worker.log"));
  }

  template <typename Condition>
  bool WaitFor(const Condition& condition, absl::Duration limit = absl::Seconds(60)) {
    const absl::Time deadline = absl::Now() + limit;
    while (!condition()) {
      if (absl::Now() > deadline) return false;
      absl::SleepFor(absl::Milliseconds(20));
    }
    return true;
  }

  std::vector<nlohmann::json> Metrics() const {
    std::vector<nlohmann::json> lines;
    const std::string text = ReadFile(Path("out/metrics.jsonl")).value_or("");
    for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
      lines.push_back(nlohmann::json::parse(std::string(line), nullptr, false));
    }
    return lines;
  }
  std::vector<std::string> Checkpoints() const {
    std::vector<std::string> folders;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(Path("out/checkpoints"), error)) {
      if (std::filesystem::exists(entry.path() / "state.json")) folders.push_back(entry.path());
    }
    return folders;
  }
  bool Trained(size_t steps) const { return Metrics().size() > steps; }  // one line is step 0

  TemporaryFolder folder_;
  std::string bin_;
  const int store_port_ = FreePort();
};

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

TEST_F(LearnerProcess, AWorkerOfAnotherKindOfHostTakesTheLearnersDtype) {
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

TEST_F(LearnerProcess, AKilledRankEndsTheRunWithAnErrorNotAHang) {
  WriteConfig(100000);
  const auto rank0 = Learner(0, 2), rank1 = Learner(1, 2);
  const auto worker = Worker();
  ASSERT_TRUE(WaitFor([&] { return Trained(1); })) << rank0->Log();
  rank1->Signal(SIGKILL);
  EXPECT_EQ(rank1->Wait(absl::Seconds(5)), 128 + SIGKILL);
  EXPECT_EQ(rank0->Wait(absl::Seconds(60)), 1) << rank0->Log();
  EXPECT_THAT(rank0->Log(), HasSubstr("on rank 0"));
  EXPECT_FALSE(Checkpoints().empty()) << "the steps before the failed one are lost";
}

TEST_F(LearnerProcess, ASignalSavesAndResumingContinues) {
  WriteConfig(100000);
  auto learner = Learner();
  auto worker = Worker();
  ASSERT_TRUE(WaitFor([&] { return Trained(2); })) << learner->Log();
  const absl::Time start = absl::Now();
  learner->Signal(SIGTERM);
  EXPECT_EQ(learner->Wait(absl::Seconds(30)), 0) << learner->Log();
  EXPECT_LT(absl::Now() - start, absl::Seconds(15));
  EXPECT_EQ(worker->Wait(absl::Seconds(20)), 0) << worker->Log();
  const size_t lines = Metrics().size();
  const auto done = Metrics().back()["step"].get<int64_t>();

  unlink(Path("out/address").c_str());
  WriteConfig(static_cast<int>(done) + 2);
  learner = Learner(0, 1, {"--resume"});
  worker = Worker();
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), 0) << learner->Log();
  EXPECT_THAT(learner->Log(), HasSubstr(absl::StrCat("step ", done)));
  const std::vector<nlohmann::json> resumed = Metrics();
  ASSERT_EQ(resumed.size(), lines + 2);
  EXPECT_EQ(resumed.back()["step"], done + 2);
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

TEST_F(LearnerProcess, ResumingNothingIsRefusedInOneLine) {
  WriteConfig(2);
  const auto learner = Learner(0, 1, {"--resume"});
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), 1);
  EXPECT_THAT(learner->Log(), HasSubstr("--resume: "));
  EXPECT_THAT(learner->Log(), HasSubstr("leave out --resume to start from"));
}

TEST_F(LearnerProcess, NewTokensThatFillTheContextAreSaidInOneLine) {
  WriteConfig(2);
  const auto learner = Learner(0, 1, {"--set", "rollout.max_new_tokens=100000"});
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), 1);
  EXPECT_THAT(learner->Log(), HasSubstr("rollout.max_new_tokens: 100000 new tokens leave no room"));
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
  EXPECT_EQ(rank0->Wait(absl::Seconds(20)), 0) << rank0->Log();
  EXPECT_EQ(rank1->Wait(absl::Seconds(20)), 0) << rank1->Log();
  EXPECT_EQ(worker->Wait(absl::Seconds(20)), 0) << worker->Log();
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
  EXPECT_EQ(learner->Wait(absl::Seconds(20)), 0) << learner->Log();
  EXPECT_EQ(worker->Wait(absl::Seconds(20)), 0) << worker->Log();
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

TEST_F(LearnerProcess, WhatIsWrongIsSaidInOneLine) {
  WriteConfig(3, "nonsense: 1\n");
  auto learner = Learner();
  EXPECT_EQ(learner->Wait(absl::Seconds(20)), 1);
  EXPECT_THAT(learner->Log(), HasSubstr("nonsense"));

  WriteConfig(3);
  std::filesystem::resize_file(Path("model/model.safetensors"), 1000);
  learner = Learner();
  EXPECT_EQ(learner->Wait(absl::Seconds(20)), 1);
  EXPECT_THAT(learner->Log(), HasSubstr("model.safetensors"));
}

TEST_F(LearnerProcess, ATokenizerThatDoesNotFitTheModelIsSaidInOneLine) {
  WriteConfig(3);
  auto tokenizer = nlohmann::json::parse(ReadFile(Path("model/tokenizer.json")).value_or(""));
  tokenizer["model"]["vocab"]["beyond the model"] = 99999;
  COHORT_ASSERT_OK(WriteFileAtomic(Path("model/tokenizer.json"), tokenizer.dump()));
  const auto learner = Learner();
  EXPECT_EQ(learner->Wait(absl::Seconds(20)), 1);
  EXPECT_THAT(learner->Log(), HasSubstr("99999"));
  EXPECT_THAT(learner->Log(), HasSubstr(Path("model")));
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

TEST_F(LearnerProcess, APortInUseIsSaidInOneLine) {
  WriteConfig(3);
  const auto first = Learner();
  ASSERT_TRUE(WaitFor([&] { return ReadFile(Path("out/address")).ok(); })) << first->Log();
  std::string address = ReadFile(Path("out/address")).value_or("");
  address = address.substr(0, address.find('\n'));
  Process second({bin_ + "/cohort-learner", "--config", Path("run.yaml"), "--listen", address,
                  "--out", Path("other")},
                 Path("second.log"));
  EXPECT_EQ(second.Wait(absl::Seconds(30)), 1);
  EXPECT_THAT(second.Log(), HasSubstr(address));
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
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), 0) << learner->Log();
}

}  // namespace
}  // namespace cohort

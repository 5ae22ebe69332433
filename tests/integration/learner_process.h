// cohort-learner and cohort-rollout as real processes on a tiny model, for tests.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "common/base/exit_code.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"

namespace cohort {

inline std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

inline int FreePort() {
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

// What a program wrote beside its log lines ("2026-01-31T12:00:00.123Z I learner ..."): its errors,
// and whatever else came out of it. One that fails in order leaves one line.
inline std::vector<std::string> ErrorLines(const std::string& log) {
  static const std::regex kLogLine("\\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z [A-Z] .*");
  std::vector<std::string> lines;
  for (absl::string_view line : absl::StrSplit(log, '\n', absl::SkipEmpty())) {
    if (!std::regex_match(std::string(line), kLogLine)) lines.emplace_back(line);
  }
  return lines;
}

// All that a program says beside its log: one line with all of `parts`.
template <typename... Parts>
auto OneErrorLine(const std::string& program, const Parts&... parts) {
  return testing::ElementsAre(
      testing::AllOf(testing::StartsWith(program + ": "), testing::HasSubstr(parts)...));
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

  pid_t pid() const { return pid_; }
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
    source_ = Variable("COHORT_SOURCE_DIR");
    bin_ = Variable("COHORT_BIN_DIR");
    if (source_.empty() || access((bin_ + "/cohort-learner").c_str(), X_OK) != 0) {
      GTEST_SKIP() << "needs COHORT_SOURCE_DIR and cohort-learner in COHORT_BIN_DIR";
    }
    const std::string make = MakeModelCommand("model", "--hidden 32 --layers 2 --seed 3");
    if (std::system(make.c_str()) != 0) GTEST_SKIP() << "cannot run: " << make;
  }

  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }

  std::string MakeModelCommand(const std::string& name, const std::string& arguments) const {
    return absl::StrCat("python3 ", source_, "/tools/make_tiny_model --out ", Path(name), " ",
                        arguments, " > /dev/null");
  }

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

  // Where the learner of this run listens; waits until it does.
  std::string Address() {
    EXPECT_TRUE(WaitFor([&] { return ReadFile(Path("out/address")).ok(); }));
    const std::string address = ReadFile(Path("out/address")).value_or("");
    return address.substr(0, address.find('\n'));
  }

  std::unique_ptr<Process> Worker(const std::vector<std::string>& extra = {}) {
    std::vector<std::string> argv = {bin_ + "/cohort-rollout", "--config", Path("out/config.yaml"),
                                     "--learner", Address()};
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
  std::string source_, bin_;
  const int store_port_ = FreePort();
};

}  // namespace cohort

// Runs examples/reward_service.py as it stands and scores by it. Needs the interpreter that
// scripts/grpc-python makes; skipped with a word where there is none.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_matchers.h"
#include "common/reward_service/service_scorer.h"

namespace cohort {
namespace {

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string CacheFolder() {
  if (std::string cache = Environment("COHORT_CACHE"); !cache.empty()) return cache;
  const std::string xdg = Environment("XDG_CACHE_HOME");
  return absl::StrCat(xdg.empty() ? Environment("HOME") + "/.cache" : xdg, "/cohort");
}

// A child process whose first line of output is read.
class Child {
 public:
  Child(const std::string& program, const std::string& script) {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    output_ = ends[0];
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    std::string arguments[] = {program, script, "127.0.0.1:0"};
    char* const list[] = {arguments[0].data(), arguments[1].data(), arguments[2].data(), nullptr};
    EXPECT_EQ(posix_spawn(&pid_, program.c_str(), &actions, nullptr, list, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
  }
  ~Child() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close(output_);
  }
  std::string FirstLine(absl::Duration limit) const {
    const absl::Time deadline = absl::Now() + limit;
    std::string line;
    char byte = 0;
    while (absl::Now() < deadline) {
      pollfd file = {output_, POLLIN, 0};
      if (poll(&file, 1, 100) <= 0) continue;
      if (read(output_, &byte, 1) != 1 || byte == '\n') break;
      line += byte;
    }
    return line;
  }

 private:
  pid_t pid_ = -1;
  int output_ = -1;
};

TEST(PythonServiceTest, TheExampleScoresResponses) {
  const std::string python = CacheFolder() + "/grpc-venv/bin/python";
  if (access(python.c_str(), X_OK) != 0) {
    GTEST_SKIP() << "no Python with gRPC at " << python << ": run scripts/grpc-python";
  }
  const std::string root = Environment("COHORT_SOURCE_DIR");
  const Child service(python, (root.empty() ? "." : root) + "/examples/reward_service.py");
  const std::string line = service.FirstLine(absl::Seconds(60));
  const size_t space = line.rfind(' ');
  int port = 0;
  ASSERT_TRUE(space != std::string::npos && absl::SimpleAtoi(line.substr(space + 1), &port))
      << line;
  ServiceScorerOptions options;
  options.address = absl::StrCat("127.0.0.1:", port);
  options.parts = {"correct", "brevity"};
  ServiceScorer scorer(options);
  std::vector<RewardInput> inputs(3);
  inputs[0].prompt = inputs[1].prompt = *MakeRewardPrompt(R"({"answer": 7})", "", 1);
  inputs[2].prompt = *MakeRewardPrompt("{}", "", 2);
  inputs[0].completion = "That makes 7.";
  for (int i = 0; i < 40; ++i) inputs[1].completion += "word ";
  const auto verdicts = scorer.Score(inputs);
  EXPECT_EQ(verdicts[0].outcome, Outcome::kValue);
  EXPECT_EQ(verdicts[0].value, 1);
  EXPECT_NEAR(verdicts[1].value, -0.1, 1e-9);
  EXPECT_THAT(verdicts[1].parts, testing::ElementsAre(0, testing::DoubleNear(-0.1, 1e-9)));
  EXPECT_STREQ(verdicts[2].cause, cause::kDeclined);
}

}  // namespace
}  // namespace cohort

// Runs the services of examples/ as they stand and scores by them. Needs the interpreter that
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
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/reward_service/service_process.h"
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

// The number at the end of "listening on port N"; 0: there is none.
int PortOf(const Child& child) {
  const std::string line = child.FirstLine(absl::Seconds(60));
  int port = 0;
  const bool found = absl::SimpleAtoi(line.substr(line.rfind(' ') + 1), &port);
  EXPECT_TRUE(found) << line;
  return port;
}

class PythonServiceTest : public testing::Test {
 protected:
  void SetUp() override {
    python_ = CacheFolder() + "/grpc-venv/bin/python";
    if (access(python_.c_str(), X_OK) != 0) {
      GTEST_SKIP() << "no Python with gRPC at " << python_ << ": run scripts/grpc-python";
    }
    const std::string root = Environment("COHORT_SOURCE_DIR");
    root_ = root.empty() ? "." : root;
  }
  std::vector<RewardVerdict> ScoreBy(const std::vector<std::string>& command,
                                     const std::vector<std::string>& parts,
                                     const std::vector<RewardInput>& inputs) {
    auto process = ServiceProcess::Start("command", command, absl::Seconds(60));
    EXPECT_THAT(process, IsOk());
    if (!process.ok()) return {};
    ServiceScorerOptions options;
    options.process = *std::move(process);
    options.address = options.process->address();
    options.parts = parts;
    ServiceScorer scorer(options);
    return scorer.Score(inputs);
  }
  static RewardInput Input(const std::string& columns, const std::string& completion) {
    RewardInput input;
    input.prompt = *MakeRewardPrompt(columns, "", 1, "What is it?");
    input.completion = completion;
    return input;
  }

  std::string python_, root_;
};

TEST_F(PythonServiceTest, ARewardIsThreeLines) {
  const TemporaryFolder folder;
  const std::string file = folder.path() + "/reward.py";
  COHORT_ASSERT_OK(WriteFileAtomic(
      file,
      "from cohort_reward import serve\n"
      "def reward(prompt, response, columns): return float(columns['answer'] in response)\n"
      "serve(reward)\n"));
  setenv("PYTHONPATH", (root_ + "/examples").c_str(), 1);
  const auto verdicts = ScoreBy({python_, file}, {},
                                {Input(R"({"answer": "é7"})", "so é7"),
                                 Input(R"({"answer": "8"})", "so 7"), Input("{}", "so 7")});
  ASSERT_EQ(verdicts.size(), 3u);
  EXPECT_EQ(verdicts[0].value, 1);
  EXPECT_EQ(verdicts[1].value, 0);
  EXPECT_EQ(verdicts[1].outcome, Outcome::kValue);
  EXPECT_STREQ(verdicts[2].cause, cause::kDeclined);
  EXPECT_THAT(verdicts[2].note, testing::HasSubstr("KeyError"));
}

TEST_F(PythonServiceTest, AJudgeIsAskedUntilItAnswers) {
  const Child server(python_, root_ + "/common/reward_service/fake_openai.py");
  setenv("OPENAI_BASE_URL", absl::StrCat("http://127.0.0.1:", PortOf(server), "/v1").c_str(), 1);
  setenv("OPENAI_API_KEY", "the-key", 1);
  setenv("JUDGE_MODEL", "judge", 1);
  const auto verdicts =
      ScoreBy({python_, root_ + "/examples/judge.py"}, {"grade"},
              {Input(R"({"answer": 7})", "It is 7."), Input("{}", "mute"), Input("{}", "refuse")});
  ASSERT_EQ(verdicts.size(), 3u);
  EXPECT_NEAR(verdicts[0].value, 0.7, 1e-9);
  EXPECT_THAT(verdicts[0].parts, testing::ElementsAre(testing::DoubleNear(0.7, 1e-9)));
  EXPECT_STREQ(verdicts[1].cause, cause::kDeclined) << "a reply without a grade";
  EXPECT_STREQ(verdicts[2].cause, cause::kDeclined);
  EXPECT_THAT(verdicts[2].note, testing::HasSubstr("after 1 tries")) << "no use to try again";
}

TEST_F(PythonServiceTest, TheExampleScoresResponses) {
  const Child service(python_, root_ + "/examples/reward_service.py");
  const int port = PortOf(service);
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

// cohort-init as a process of its own over shell scripts.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/exit_code.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"

namespace cohort {
namespace {

class InitTest : public testing::Test {
 protected:
  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }

  // Starts cohort-init; standard error goes to the file `stderr`.
  void Start(std::vector<std::string> command) {
    command.insert(command.begin(), absl::StrCat(std::getenv("COHORT_BIN_DIR"), "/cohort-init"));
    init_ = fork();
    if (init_ != 0) return;
    prctl(PR_SET_CHILD_SUBREAPER, 1);  // orphans come to it as they come to process 1
    dup2(open(Path("stderr").c_str(), O_CREAT | O_WRONLY, 0644), STDERR_FILENO);
    std::vector<char*> argv;
    for (std::string& argument : command) argv.push_back(argument.data());
    argv.push_back(nullptr);
    execv(argv[0], argv.data());
    _exit(126);
  }
  void StartShell(const std::string& script) { Start({"/bin/sh", "-c", script}); }
  int ExitCode() const {
    int status = 0;
    EXPECT_EQ(waitpid(init_, &status, 0), init_);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  // The number in a file that another process writes; -1: it did not come.
  int Number(const std::string& name) const {
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    int number = -1;
    while (!absl::SimpleAtoi(ReadFile(Path(name)).value_or(""), &number)) {
      if (absl::Now() > deadline) return -1;
      absl::SleepFor(absl::Milliseconds(5));
    }
    return number;
  }

  TemporaryFolder folder_;
  pid_t init_ = 0;
};

TEST_F(InitTest, EndsAsItsProgramEnds) {
  StartShell("exit 42");
  EXPECT_EQ(ExitCode(), 42);
  StartShell("kill -KILL $$");
  EXPECT_EQ(ExitCode(), ExitOfSignal(SIGKILL));
  Start({"/no/such/program"});
  EXPECT_EQ(ExitCode(), 127);
  EXPECT_EQ(ReadFile(Path("stderr")).value_or(""),
            "cohort-init: cannot execute /no/such/program: No such file or directory\n");
}

TEST_F(InitTest, PassesSignalsOn) {
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) {
    const std::string ready = absl::StrCat("ready-", signal);
    StartShell(absl::StrCat("trap 'exit 7' ", signal, "; echo 1 > ", Path(ready),
                            "; while :; do sleep 0.01; done"));
    EXPECT_EQ(Number(ready), 1);
    kill(init_, signal);
    EXPECT_EQ(ExitCode(), 7) << signal;
  }
}

TEST_F(InitTest, AProgramThatListensToNothingYetIsStoppedAtOnce) {
  StartShell(absl::StrCat("echo $$ > ", Path("pid"), "; exec sleep 600"));
  EXPECT_GT(Number("pid"), 0);
  kill(init_, SIGTERM);
  EXPECT_EQ(ExitCode(), ExitOfSignal(SIGTERM));
}

TEST_F(InitTest, ReapsTheOrphansOfItsProgram) {
  // The orphan is gone, not even a zombie, while the program still runs.
  StartShell(absl::StrCat("(sleep 0.05 & echo $! > ", Path("orphan"), "); until [ -e ",
                          Path("seen"), " ]; do sleep 0.01; done; exit 5"));
  const int orphan = Number("orphan");
  ASSERT_GT(orphan, 0);
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  while (kill(orphan, 0) == 0 && absl::Now() < deadline) absl::SleepFor(absl::Milliseconds(5));
  EXPECT_NE(kill(orphan, 0), 0);
  COHORT_EXPECT_OK(WriteFileAtomic(Path("seen"), ""));
  EXPECT_EQ(ExitCode(), 5);
}

TEST_F(InitTest, ItsProgramDiesWithIt) {
  StartShell(absl::StrCat("echo $$ > ", Path("pid"), "; exec sleep 600"));
  const int program = Number("pid");
  ASSERT_GT(program, 0);
  kill(init_, SIGKILL);
  ASSERT_EQ(waitpid(init_, nullptr, 0), init_);
  const auto state = [&] {
    const std::string stat = ReadFile(absl::StrCat("/proc/", program, "/stat")).value_or("gone) Z");
    return stat[stat.rfind(')') + 2];
  };
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  while (state() != 'Z' && absl::Now() < deadline) absl::SleepFor(absl::Milliseconds(5));
  EXPECT_EQ(state(), 'Z');  // a zombie until somebody's init takes it
}

}  // namespace
}  // namespace cohort

#include "common/supervise/init.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "common/base/exit_code.h"
#include "common/base/status_matchers.h"

namespace cohort {
namespace {

// A process that acts as init over `program`. Its exit code, after `meanwhile` ran here.
template <typename Program, typename Meanwhile>
int UnderInit(const Program& program, const Meanwhile& meanwhile) {
  const pid_t init = fork();
  if (init == 0) {
    prctl(PR_SET_CHILD_SUBREAPER, 1);  // orphans come to it as they come to process 1
    if (const auto code = internal::ForkUnderInit()) _exit(*code);
    program();
    _exit(0);
  }
  meanwhile(init);
  int status = 0;
  EXPECT_EQ(waitpid(init, &status, 0), init);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(Init, OnlyProcessOneIsOne) { EXPECT_EQ(ActAsInit(), std::nullopt); }

TEST(Init, EndsAsItsProgramEnds) {
  const auto nothing = [](pid_t) {};
  EXPECT_EQ(UnderInit([] { _exit(42); }, nothing), 42);
  EXPECT_EQ(UnderInit([] { kill(getpid(), SIGKILL); }, nothing), ExitOfSignal(SIGKILL));
}

TEST(Init, ForwardsAStop) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const auto program = [&] {
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigprocmask(SIG_BLOCK, &stop, nullptr);
    if (write(ready[1], "x", 1) != 1) _exit(1);
    const timespec limit{20, 0};
    _exit(sigtimedwait(&stop, nullptr, &limit) == SIGTERM ? 7 : 2);
  };
  const auto stop = [&](pid_t init) {
    char byte = 0;
    EXPECT_EQ(read(ready[0], &byte, 1), 1);
    kill(init, SIGTERM);
  };
  EXPECT_EQ(UnderInit(program, stop), 7);
}

TEST(Init, ReapsTheOrphansOfItsProgram) {
  // The program's child leaves a child of its own behind, which ends; then nobody is its zombie.
  const auto program = [] {
    int orphan[2];
    if (pipe(orphan) != 0) _exit(1);
    if (fork() == 0) {
      if (const pid_t pid = fork(); pid > 0) _exit(write(orphan[1], &pid, sizeof(pid)) > 0 ? 0 : 1);
      _exit(0);
    }
    pid_t pid = 0;
    if (wait(nullptr) < 0 || read(orphan[0], &pid, sizeof(pid)) != sizeof(pid)) _exit(2);
    for (int look = 0; look < 2000; ++look) {
      if (kill(pid, 0) != 0) _exit(0);
      usleep(10000);
    }
    _exit(3);
  };
  EXPECT_EQ(UnderInit(program, [](pid_t) {}), 0);
}

}  // namespace
}  // namespace cohort

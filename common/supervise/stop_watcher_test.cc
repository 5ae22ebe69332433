#include "common/supervise/stop_watcher.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "absl/synchronization/notification.h"
#include "common/base/exit_code.h"
#include "common/base/status_matchers.h"

namespace cohort {
namespace {

// The exit code of `body` in a process of its own: a stop that is ended at once ends the process.
template <typename Body>
int ExitOf(const Body& body) {
  const pid_t child = fork();
  if (child == 0) {
    body();
    _exit(0);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(StopWatcher, TellsTheSignalOnceHoweverManyCome) {
  EXPECT_EQ(ExitOf([] {
              StopSignal signals;
              std::atomic<int> calls{0};
              absl::Notification told;
              StopWatcher watcher(&signals, [&](int signal) {
                ++calls;
                if (signal == SIGTERM) told.Notify();
              });
              kill(getpid(), SIGTERM);
              if (!told.WaitForNotificationWithTimeout(absl::Seconds(20))) _exit(1);
              kill(getpid(), SIGTERM);
              kill(getpid(), SIGINT);
              kill(getpid(), SIGHUP);
              // Three looks of the watcher.
              absl::Notification never;
              never.WaitForNotificationWithTimeout(absl::Milliseconds(350));
              _exit(calls == 1 && watcher.signal() == SIGTERM ? 0 : 2);
            }),
            0);
}

TEST(StopWatcher, ASecondStopEndsTheProcessWhateverTheFirstWaitsFor) {
  EXPECT_EQ(ExitOf([] {
              StopSignal signals;
              absl::Notification told, never;
              StopWatcher watcher(&signals, [&](int) {
                told.Notify();
                never.WaitForNotification();
              });
              kill(getpid(), SIGTERM);
              if (!told.WaitForNotificationWithTimeout(absl::Seconds(20))) _exit(1);
              never.WaitForNotificationWithTimeout(absl::Milliseconds(1100));
              kill(getpid(), SIGINT);
              never.WaitForNotificationWithTimeout(absl::Seconds(20));
              _exit(2);
            }),
            ExitOfSignal(SIGINT));
}

TEST(StopWatcher, TheGraceBoundsAStop) {
  EXPECT_EQ(ExitOf([] {
              StopSignal signals;
              absl::Notification never;
              StopWatcher watcher(&signals, [&](int) { never.WaitForNotification(); });
              watcher.SetGrace(absl::Milliseconds(50));
              kill(getpid(), SIGTERM);
              never.WaitForNotificationWithTimeout(absl::Seconds(20));
              _exit(2);
            }),
            ExitOfSignal(SIGTERM));
}

}  // namespace
}  // namespace cohort

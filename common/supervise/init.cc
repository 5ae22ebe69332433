#include "common/supervise/init.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "common/base/exit_code.h"
#include "common/base/log.h"
#include "common/base/process.h"

namespace cohort {
namespace {

// Everybody's children end here. The exit code of `program`, once it has ended.
std::optional<int> Reap(pid_t program) {
  std::optional<int> code;
  int status = 0;
  for (pid_t ended = waitpid(-1, &status, WNOHANG); ended > 0;
       ended = waitpid(-1, &status, WNOHANG)) {
    if (ended != program) continue;
    code = WIFSIGNALED(status) ? ExitOfSignal(WTERMSIG(status)) : WEXITSTATUS(status);
  }
  return code;
}

int Serve(pid_t program, const sigset_t& signals) {
  while (true) {
    const int signal = sigwaitinfo(&signals, nullptr);
    if (signal > 0 && signal != SIGCHLD) kill(program, signal);  // it counts stops itself
    if (const std::optional<int> code = Reap(program)) return *code;
  }
}

}  // namespace

std::optional<int> ActAsInit() { return getpid() == 1 ? internal::ForkUnderInit() : std::nullopt; }

namespace internal {

std::optional<int> ForkUnderInit() {
  sigset_t signals, before;
  sigemptyset(&signals);
  AddStopSignals(&signals);
  sigaddset(&signals, SIGCHLD);
  sigprocmask(SIG_BLOCK, &signals, &before);
  const pid_t program = fork();
  if (program > 0) return Serve(program, signals);
  sigprocmask(SIG_SETMASK, &before, nullptr);
  if (program == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
  } else {
    COHORT_LOG(WARNING) << "cannot fork, errno " << errno << ": running as process 1 itself";
  }
  return std::nullopt;
}

}  // namespace internal
}  // namespace cohort

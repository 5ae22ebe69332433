#include "common/supervise/init.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <initializer_list>

namespace cohort {
namespace {

constexpr int kCannotExecute = 127;

// All but those with which the kernel reports a fault of this process itself.
sigset_t SignalsToPassOn() {
  sigset_t signals;
  sigfillset(&signals);
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS}) {
    sigdelset(&signals, fault);
  }
  return signals;
}

// In the child: signals as this process found them, so that a stop ends it even before its main.
[[noreturn]] void Execute(char* const argv[], const sigset_t& signals) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  sigprocmask(SIG_SETMASK, &signals, nullptr);
  execv(argv[0], argv);
  std::fprintf(stderr, "cohort-init: cannot execute %s: %s\n", argv[0], std::strerror(errno));
  _exit(kCannotExecute);
}

// Everybody's children end here. True once `program` has ended, with its exit code.
bool Reap(pid_t program, int* code) {
  bool ended = false;
  int status = 0;
  for (pid_t pid = waitpid(-1, &status, WNOHANG); pid > 0; pid = waitpid(-1, &status, WNOHANG)) {
    if (pid != program) continue;
    ended = true;
    *code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }
  return ended;
}

}  // namespace

int RunUnderInit(char* const argv[]) {
  const sigset_t signals = SignalsToPassOn();
  sigset_t before;
  sigprocmask(SIG_BLOCK, &signals, &before);
  const pid_t program = fork();
  if (program == 0) Execute(argv, before);
  if (program < 0) {
    std::fprintf(stderr, "cohort-init: cannot fork: %s\n", std::strerror(errno));
    return kCannotExecute;
  }
  int code = 0;
  while (!Reap(program, &code)) {
    const int signal = sigwaitinfo(&signals, nullptr);
    if (signal > 0 && signal != SIGCHLD) kill(program, signal);  // it counts stops itself
  }
  return code;
}

}  // namespace cohort

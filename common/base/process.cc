#include "common/base/process.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "common/base/log.h"

namespace cohort {
namespace {

sigset_t StopSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

void EnsurePassiveOpenMp(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  setenv("OMP_WAIT_POLICY", "passive", 1);
  execv("/proc/self/exe", argv);
  // Spinning threads are slow, not wrong.
  COHORT_LOG(WARNING) << "cannot start again with OMP_WAIT_POLICY=passive, errno " << errno;
}

StopSignal::StopSignal() {
  const sigset_t set = StopSignals();
  COHORT_CHECK(pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0);
}

int StopSignal::Wait(absl::Duration limit) {
  const sigset_t set = StopSignals();
  const timespec time = absl::ToTimespec(limit);
  const int signal = sigtimedwait(&set, nullptr, &time);
  return signal > 0 ? signal : 0;
}

}  // namespace cohort

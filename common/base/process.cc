#include "common/base/process.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/log.h"

namespace cohort {
namespace {

constexpr std::chrono::seconds kOneStop{1};

sigset_t StopSignals() {
  sigset_t set;
  sigemptyset(&set);
  AddStopSignals(&set);
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

absl::Duration ProcessAge() {
  const absl::StatusOr<std::string> stat = ReadFile("/proc/self/stat");
  if (!stat.ok()) return absl::ZeroDuration();
  // Field 22 counts clock ticks from boot; the name, field 2, may hold anything but ends with the
  // last ')'.
  const std::vector<std::string> fields =
      absl::StrSplit(absl::string_view(*stat).substr(stat->rfind(')') + 1), ' ', absl::SkipEmpty());
  double ticks = 0;
  timespec now{};
  if (fields.size() < 20 || !absl::SimpleAtod(fields[19], &ticks) ||
      clock_gettime(CLOCK_BOOTTIME, &now) != 0) {
    return absl::ZeroDuration();
  }
  return absl::DurationFromTimespec(now) -
         absl::Seconds(ticks / static_cast<double>(sysconf(_SC_CLK_TCK)));
}

void AddStopSignals(sigset_t* set) {
  sigaddset(set, SIGTERM);
  sigaddset(set, SIGINT);
  struct sigaction hangup{};
  if (sigaction(SIGHUP, nullptr, &hangup) == 0 && hangup.sa_handler != SIG_IGN) {
    sigaddset(set, SIGHUP);
  }
}

void IgnoreBrokenPipes() { signal(SIGPIPE, SIG_IGN); }

bool StopCounter::Counts(Clock::time_point now) {
  if (last_ && now - *last_ <= kOneStop) return false;
  last_ = now;
  return true;
}

StopSignal::StopSignal() {
  IgnoreBrokenPipes();
  const sigset_t set = StopSignals();
  COHORT_CHECK(pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0);
}

int StopSignal::Wait(absl::Duration limit) {
  const sigset_t set = StopSignals();
  const timespec time = absl::ToTimespec(limit);
  const int signal = sigtimedwait(&set, nullptr, &time);
  return signal > 0 && counter_.Counts() ? signal : 0;
}

}  // namespace cohort

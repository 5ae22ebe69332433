#include "common/supervise/stop_watcher.h"

#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "common/base/exit_code.h"
#include "common/base/log.h"

namespace cohort {
namespace {

[[noreturn]] void EndAtOnce(int signal, absl::string_view why) {
  const std::string reason =
      absl::StrCat(why, ": ending at once; what came after the last checkpoint is lost");
  COHORT_LOG(WARNING) << reason;
  WriteTerminationReason(reason);
  _exit(ExitOfSignal(signal));
}

}  // namespace

StopWatcher::StopWatcher(StopSignal* signal, std::function<void(int)> on_stop)
    : signal_(signal), on_stop_(std::move(on_stop)), thread_([this] { Watch(); }) {}

StopWatcher::~StopWatcher() {
  done_ = true;
  thread_.join();
  if (stopper_.joinable()) stopper_.join();
}

void StopWatcher::SetGrace(absl::Duration grace) { grace_ms_ = absl::ToInt64Milliseconds(grace); }

void StopWatcher::Watch() {
  StopCounter::Clock::time_point since;
  while (!done_) {
    const int signal = signal_->Wait(absl::Milliseconds(100));
    const auto grace = std::chrono::milliseconds(grace_ms_.load());
    if (stopping() && grace.count() > 0 && StopCounter::Clock::now() - since >= grace) {
      EndAtOnce(signal_taken_, "run.stop_grace_seconds are over");
    }
    if (signal == 0) continue;
    if (stopping()) EndAtOnce(signal, absl::StrCat("a second stop, by signal ", signal));
    COHORT_LOG(INFO) << "signal " << signal << ": stopping (once more: at once)";
    since = StopCounter::Clock::now();
    signal_taken_ = signal;
    stopper_ = std::thread(on_stop_, signal);
  }
}

}  // namespace cohort

#include "services/learner/stop_watcher.h"

#include <unistd.h>

#include "common/base/log.h"

namespace cohort {

StopWatcher::StopWatcher(StopSignal* signal, std::function<void()> on_stop)
    : signal_(signal), on_stop_(std::move(on_stop)), thread_([this] { Watch(); }) {}

StopWatcher::~StopWatcher() {
  done_ = true;
  thread_.join();
  if (stopper_.joinable()) stopper_.join();
}

void StopWatcher::Watch() {
  while (!done_) {
    if (signal_->Wait(absl::Milliseconds(100)) == 0) continue;
    if (stopping_.exchange(true)) {
      COHORT_LOG(WARNING) << "second signal: ending at once";
      _exit(130);
    }
    COHORT_LOG(INFO) << "signal: stopping";
    stopper_ = std::thread(on_stop_);
  }
}

}  // namespace cohort

// Waits for SIGTERM or SIGINT beside the main loop.
#pragma once

#include <atomic>
#include <functional>
#include <thread>

#include "common/base/process.h"

namespace cohort {

class StopWatcher {
 public:
  // `on_stop` runs once, on a thread of its own, at the first signal; a second signal ends the
  // process at once, whatever `on_stop` waits for. `signal` outlives the watcher.
  StopWatcher(StopSignal* signal, std::function<void()> on_stop);
  ~StopWatcher();
  StopWatcher(const StopWatcher&) = delete;
  StopWatcher& operator=(const StopWatcher&) = delete;

  bool stopping() const { return stopping_.load(); }

 private:
  void Watch();

  StopSignal* const signal_;
  const std::function<void()> on_stop_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> done_{false};
  std::thread stopper_;  // of the watching thread until that has ended
  std::thread thread_;
};

}  // namespace cohort

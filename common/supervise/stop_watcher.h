// Waits for a stop beside the main loop, and bounds how long it may take.
#pragma once

#include <atomic>
#include <functional>
#include <thread>

#include "absl/time/time.h"
#include "common/base/process.h"

namespace cohort {

// Thread-safe.
class StopWatcher {
 public:
  // `on_stop` runs once, on a thread of its own, with the number of the first stop's signal. A
  // second stop ends the process at once with 128 + its signal, whatever `on_stop` waits for; so
  // does the end of the grace. `signal` outlives the watcher.
  StopWatcher(StopSignal* signal, std::function<void(int)> on_stop);
  ~StopWatcher();
  StopWatcher(const StopWatcher&) = delete;
  StopWatcher& operator=(const StopWatcher&) = delete;

  // How long a stop may take, counted from its signal (run.stop_grace_seconds); zero: as long as it
  // takes, as before the first call.
  void SetGrace(absl::Duration grace);

  bool stopping() const { return signal_taken_ != 0; }
  int signal() const { return signal_taken_; }  // the one that stops the process; 0: none yet

 private:
  void Watch();

  StopSignal* const signal_;
  const std::function<void(int)> on_stop_;
  std::atomic<int> signal_taken_{0};
  std::atomic<int64_t> grace_ms_{0};
  std::atomic<bool> done_{false};
  std::thread stopper_;  // of the watching thread until that has ended
  std::thread thread_;
};

}  // namespace cohort

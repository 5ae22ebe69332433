// Runs functions on a few threads and gives up on those that take too long. A thread that is stuck
// in one is left behind and replaced, so that the next function runs; it ends with its function.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/rewards/verifier.h"

namespace cohort {

// Thread-safe.
class DeadlinePool {
 public:
  struct Task;  // shared by the pool, the caller and the thread
  using Handle = std::shared_ptr<Task>;

  explicit DeadlinePool(int threads);
  ~DeadlinePool();  // Waits for idle threads only; a stuck one keeps its own state alive.
  DeadlinePool(const DeadlinePool&) = delete;
  DeadlinePool& operator=(const DeadlinePool&) = delete;

  // `work` owns all that it uses.
  Handle Submit(std::function<RewardVerdict()> work);
  // The result, or nullopt once the function has run (not: waited for a thread) for `limit`. It
  // waits for a thread as long as the functions before it may run, each for `limit`.
  std::optional<RewardVerdict> Wait(const Handle& task, absl::Duration limit);

 private:
  struct Shared;
  void StartThread();
  std::shared_ptr<Shared> shared_;
};

}  // namespace cohort

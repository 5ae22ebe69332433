#include "common/rewards/deadline_pool.h"

#include <algorithm>
#include <deque>
#include <exception>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/log.h"

namespace cohort {

struct DeadlinePool::Task {
  std::function<RewardVerdict()> work;  // set before it is shared
  // The rest is guarded by Shared::mu.
  absl::Time started = absl::InfiniteFuture();
  bool given_up = false;
  std::optional<RewardVerdict> result;
};

struct DeadlinePool::Shared {
  absl::Mutex mu;
  std::deque<Handle> queue ABSL_GUARDED_BY(mu);
  bool stopping ABSL_GUARDED_BY(mu) = false;
  int live_threads ABSL_GUARDED_BY(mu) = 0;  // without those left behind
  int running ABSL_GUARDED_BY(mu) = 0;       // functions, without those given up

  bool HasWork() const ABSL_SHARED_LOCKS_REQUIRED(mu) { return stopping || !queue.empty(); }
};

namespace {

RewardVerdict RunSafely(const std::function<RewardVerdict()>& work) {
  try {
    return work();
  } catch (const std::exception& error) {
    return {Outcome::kUnscorable, 0, absl::StrCat("the verifier failed: ", error.what()),
            cause::kCrash};
  }
}

}  // namespace

DeadlinePool::DeadlinePool(int threads) : shared_(std::make_shared<Shared>()) {
  for (int i = 0; i < threads; ++i) StartThread();
}

DeadlinePool::~DeadlinePool() {
  absl::MutexLock lock(&shared_->mu);
  shared_->stopping = true;
  shared_->queue.clear();
  // Short: every function still running here is within its limit.
  shared_->mu.AwaitWithTimeout(absl::Condition(
                                   +[](int* live) { return *live == 0; }, &shared_->live_threads),
                               absl::Seconds(1));
}

void DeadlinePool::StartThread() {
  {
    absl::MutexLock lock(&shared_->mu);
    ++shared_->live_threads;
  }
  std::thread([shared = shared_] {
    for (;;) {
      Handle task;
      {
        absl::MutexLock lock(&shared->mu);
        shared->mu.Await(absl::Condition(shared.get(), &Shared::HasWork));
        if (shared->stopping) {
          --shared->live_threads;
          return;
        }
        task = std::move(shared->queue.front());
        shared->queue.pop_front();
        task->started = absl::Now();
        ++shared->running;
      }
      RewardVerdict verdict = RunSafely(task->work);
      absl::MutexLock lock(&shared->mu);
      if (task->given_up) return;  // replaced meanwhile
      --shared->running;
      task->result = std::move(verdict);
    }
  }).detach();
}

DeadlinePool::Handle DeadlinePool::Submit(std::function<RewardVerdict()> work) {
  auto task = std::make_shared<Task>();
  task->work = std::move(work);
  absl::MutexLock lock(&shared_->mu);
  shared_->queue.push_back(task);
  return task;
}

std::optional<RewardVerdict> DeadlinePool::Wait(const Handle& task, absl::Duration limit) {
  {
    absl::MutexLock lock(&shared_->mu);
    const auto done = [&task] { return task->result.has_value(); };
    const auto running = [&task] { return task->started != absl::InfiniteFuture(); };
    // A thread becomes free at the latest when the functions before this one are given up.
    const double ahead = static_cast<double>(shared_->queue.size()) + shared_->running;
    if (!shared_->mu.AwaitWithTimeout(absl::Condition(&running), (ahead + 1) * limit)) {
      COHORT_LOG(ERROR) << "no thread became free for a verifier within "
                        << absl::FormatDuration((ahead + 1) * limit) << "; " << shared_->running
                        << " functions run, " << shared_->queue.size()
                        << " wait: nobody has given up those before it";
      shared_->queue.erase(std::find(shared_->queue.begin(), shared_->queue.end(), task));
      return std::nullopt;
    }
    if (shared_->mu.AwaitWithDeadline(absl::Condition(&done), task->started + limit)) {
      return std::move(task->result);
    }
    task->given_up = true;
    --shared_->running;
    --shared_->live_threads;
  }
  StartThread();
  return std::nullopt;
}

}  // namespace cohort

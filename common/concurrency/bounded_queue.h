// The one queue between threads: bounded, with deadlines, closable in two ways.
//
//   Close: drops what is queued; waiting and later calls return Cancelled at once.
//   Drain: accepts nothing more; Pop empties the queue, then returns Cancelled.
//
// Thread-safe. Push and Pop block until their deadline.
#pragma once

#include <cstddef>
#include <deque>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace cohort {

template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(size_t capacity) : capacity_(capacity) {}
  BoundedQueue(const BoundedQueue&) = delete;
  BoundedQueue& operator=(const BoundedQueue&) = delete;

  // DeadlineExceeded: still full; Cancelled: closed or draining. `item` is lost unless OK.
  absl::Status Push(T item, absl::Time deadline) ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    const bool in_time =
        mu_.AwaitWithDeadline(absl::Condition(this, &BoundedQueue::CanPush), deadline);
    if (!open_) return absl::CancelledError("queue is closed");
    if (!in_time) return absl::DeadlineExceededError("queue is full");
    items_.push_back(std::move(item));
    return absl::OkStatus();
  }

  // DeadlineExceeded: still empty; Cancelled: closed, or drained and empty.
  absl::StatusOr<T> Pop(absl::Time deadline) ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    const bool in_time =
        mu_.AwaitWithDeadline(absl::Condition(this, &BoundedQueue::CanPop), deadline);
    if (items_.empty()) {
      return in_time ? absl::CancelledError("queue is closed")
                     : absl::DeadlineExceededError("queue is empty");
    }
    T item = std::move(items_.front());
    items_.pop_front();
    return item;
  }

  void Close() ABSL_LOCKS_EXCLUDED(mu_) {
    std::deque<T> dropped;  // destroyed without the lock
    absl::MutexLock lock(&mu_);
    open_ = false;
    dropped.swap(items_);
  }
  void Drain() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    open_ = false;
  }

  size_t size() const ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    return items_.size();
  }

 private:
  bool CanPush() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return !open_ || items_.size() < capacity_;
  }
  bool CanPop() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return !open_ || !items_.empty(); }

  const size_t capacity_;
  mutable absl::Mutex mu_;
  std::deque<T> items_ ABSL_GUARDED_BY(mu_);
  bool open_ ABSL_GUARDED_BY(mu_) = true;
};

}  // namespace cohort

// A few named threads that run what is posted, first in, first out.
//
// Posting never blocks and the queue has no bound of its own: whoever posts bounds what he has
// posted (a stream posts one message and reads the next one when it has been handled).
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/concurrency/stop_token.h"

namespace cohort {

// Names the calling thread for debuggers and top (at most 15 characters are kept).
void SetThreadName(const std::string& name);

// Thread-safe.
class Executor {
 public:
  Executor(const std::string& name, int threads);
  ~Executor();  // Stops.
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // False: stopped, `task` was not taken.
  bool Post(std::function<void()> task);
  // Runs what was posted before, then joins the threads. Not from one of them. Idempotent.
  void Stop();

 private:
  void Work();
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return stopping_ || !tasks_.empty(); }

  absl::Mutex mu_;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::thread> threads_;
};

// Calls a function again and again on a thread of its own until destroyed.
class Ticker {
 public:
  Ticker(const std::string& name, absl::Duration period, std::function<void()> tick);
  ~Ticker();  // Waits for a tick in progress.
  Ticker(const Ticker&) = delete;
  Ticker& operator=(const Ticker&) = delete;

 private:
  StopToken stop_;
  std::thread thread_;
};

}  // namespace cohort

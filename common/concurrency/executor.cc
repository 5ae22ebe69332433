#include "common/concurrency/executor.h"

#include <pthread.h>

#include <utility>

namespace cohort {

void SetThreadName(const std::string& name) {
  pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
}

Executor::Executor(const std::string& name, int threads) {
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back([this, name] {
      SetThreadName(name);
      Work();
    });
  }
}

Executor::~Executor() { Stop(); }

bool Executor::Post(std::function<void()> task) {
  absl::MutexLock lock(&mu_);
  if (stopping_) return false;
  tasks_.push_back(std::move(task));
  return true;
}

void Executor::Stop() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
  }
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void Executor::Work() {
  while (true) {
    std::function<void()> task;
    {
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(this, &Executor::HasWork));
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

Ticker::Ticker(const std::string& name, absl::Duration period, std::function<void()> tick)
    : thread_([this, name, period, tick = std::move(tick)] {
        SetThreadName(name);
        while (!stop_.WaitFor(period)) tick();
      }) {}

Ticker::~Ticker() {
  stop_.Stop();
  thread_.join();
}

}  // namespace cohort

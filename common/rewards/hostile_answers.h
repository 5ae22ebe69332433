// What tests need that try to make answers costly: time of this thread alone, texts of any size.
#pragma once

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <iostream>
#include <string>

namespace cohort {

// The time that this thread computed: other processes share the machine.
struct ThreadClock {
  using duration = std::chrono::nanoseconds;
  static duration now() {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
  }
};

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
inline constexpr std::chrono::milliseconds kHostileLimit(5000);
inline constexpr size_t kHostileBytes = 100'000;  // what the sanitizers look for needs no megabyte
#else
inline constexpr std::chrono::milliseconds kHostileLimit(50);
inline constexpr size_t kHostileBytes = 1'000'000;
#endif

inline std::string Repeat(const std::string& piece, size_t bytes) {
  std::string out;
  while (out.size() < bytes) out += piece;
  return out;
}

// `times` pieces, each with its number from 0 in the place of every `#`.
inline std::string Numbered(const std::string& piece, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) {
    for (const char c : piece) out += c == '#' ? std::to_string(i) : std::string(1, c);
  }
  return out;
}

struct NamedText {
  std::string name;
  std::string text;
};

// The largest memory that this process had.
inline int64_t PeakMiB() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024;
}

// The fastest of three: the machine does other work too.
inline void ExpectQuick(const std::string& what, const std::function<void()>& work,
                        ThreadClock::duration limit = kHostileLimit) {
  ThreadClock::duration best = ThreadClock::duration::max();
  for (int attempt = 0; attempt < 3 && best > limit; ++attempt) {
    const ThreadClock::duration start = ThreadClock::now();
    work();
    best = std::min(best, ThreadClock::now() - start);
  }
  EXPECT_LT(best, limit) << what;
  static ThreadClock::duration slowest = ThreadClock::duration::zero();
  if (best <= slowest) return;
  slowest = best;
  std::cout << "slowest so far: " << std::chrono::duration<double, std::milli>(best).count()
            << " ms, " << what << std::endl;
}

}  // namespace cohort

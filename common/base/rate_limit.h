// For log lines that somebody outside can cause as often as he likes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace cohort {

// Lets `most` through per `period`. Thread-safe.
class RateLimit {
 public:
  explicit RateLimit(absl::Duration period, int most = 1) : period_(period), most_(most) {}

  // Nullopt: not now. Otherwise how many were held back since the last one.
  std::optional<uint64_t> Ask() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    const absl::Time now = absl::Now();
    if (now - began_ >= period_ || now < began_) {
      began_ = now;
      passed_ = 0;
    }
    if (passed_ >= most_) {
      ++held_back_;
      return std::nullopt;
    }
    ++passed_;
    const uint64_t held_back = held_back_;
    held_back_ = 0;
    return held_back;
  }

 private:
  const absl::Duration period_;
  const int most_;
  absl::Mutex mu_;
  absl::Time began_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
  int passed_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t held_back_ ABSL_GUARDED_BY(mu_) = 0;
};

// " (17 more like it since the last such line)"; empty for none.
inline std::string LeftOutText(uint64_t held_back) {
  return held_back == 0 ? ""
                        : absl::StrCat(" (", held_back, " more like it since the last such line)");
}

}  // namespace cohort

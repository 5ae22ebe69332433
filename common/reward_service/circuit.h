// Whether a service is worth a call: after some failures in a row it is left alone for a while,
// then tried once. Not thread-safe.
#pragma once

#include <cstdint>

#include "absl/time/time.h"

namespace cohort {

class Circuit {
 public:
  struct Options {
    int failures = 3;                          // in a row that open it; 0: never
    absl::Duration pause = absl::Seconds(15);  // until the next try
  };
  explicit Circuit(const Options& options) : options_(options) {}

  enum class State : uint8_t {
    kClosed,  // call
    kTrying,  // call once: the pause is over
    kOpen,    // do not call
  };
  State At(absl::Time now) const;

  // Of calls that were made. True: this one opened the circuit, or closed it again.
  bool Failed(absl::Time now);
  bool Succeeded();

  int failures_in_a_row() const { return in_a_row_; }

 private:
  const Options options_;
  int in_a_row_ = 0;
  absl::Time open_until_ = absl::InfinitePast();  // while open
};

}  // namespace cohort

// The last events of a process in memory, written out when a wait times out or the process dies:
// what it was doing before it went wrong, without a log line for every detail.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace cohort {

// Fixed memory; recording neither allocates nor locks. Thread-safe. A dump taken while others
// record leaves out the events being written.
class FlightRecorder {
 public:
  static constexpr size_t kEventBytes = 200;  // longer text is cut

  explicit FlightRecorder(size_t events = 512);

  void Record(absl::string_view event);

  // Oldest first, one line each: "12:00:00.123456 [thread] text".
  std::string Dump() const;

  // The same to a file descriptor, safe inside a signal handler.
  void DumpTo(int fd) const;

  // Dumps to standard error on SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT (COHORT_CHECK), then
  // dies of the signal as before. `this` must live until the process ends. One recorder per
  // process.
  void InstallFatalHandler();

 private:
  struct Slot {
    std::atomic<uint64_t> sequence{0};  // event number + 1 when whole, 0 while being written
    std::atomic<int64_t> unix_micros{0};
    std::atomic<int64_t> thread{0};
    std::array<std::atomic<char>, kEventBytes> text{};
  };
  // One event formatted into `line`; 0 when it is not whole.
  size_t Format(uint64_t number, std::array<char, kEventBytes + 64>* line) const;

  std::vector<Slot> slots_;
  std::atomic<uint64_t> next_{0};
};

// The process's own, which is never destroyed.
FlightRecorder& ProcessRecorder();

}  // namespace cohort

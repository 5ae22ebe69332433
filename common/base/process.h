// Start-up and stop signals of a long-running process.
#pragma once

#include <signal.h>

#include <chrono>
#include <optional>

#include "absl/time/time.h"

namespace cohort {

// LibTorch's OpenMP threads spin while they wait, which starves the other processes of a small
// machine. The runtime reads OMP_WAIT_POLICY before main, so an unset one is set to "passive" and
// the program starts itself again, once. Call first thing in main, before any thread.
void EnsurePassiveOpenMp(char** argv);

// Since the system started this process, before its libraries were loaded. Zero where it cannot
// tell.
absl::Duration ProcessAge();

// Adds the signals that ask a program to stop: SIGTERM, SIGINT and, unless it was ignored when the
// program started (nohup), SIGHUP.
void AddStopSignals(sigset_t* set);

// A reader that has gone (`| head -3`, a closed terminal) makes writing fail instead of ending the
// process.
void IgnoreBrokenPipes();

// Counts stops, not signals: a terminal's Ctrl-C reaches every process of a group, and the one that
// started the others forwards it. What comes within a second of the signal that counted last is the
// same stop. For one thread.
class StopCounter {
 public:
  using Clock = std::chrono::steady_clock;
  // True: a stop of its own.
  bool Counts(Clock::time_point now = Clock::now());

 private:
  std::optional<Clock::time_point> last_;
};

// Turns stop signals into something to wait for. Make it early in main, before any thread starts:
// the signals are blocked in every thread and taken here, also where this is process 1 of a
// container. Broken pipes are ignored from then on. One instance per process, waited on by one
// thread at a time.
class StopSignal {
 public:
  StopSignal();
  // The number of the signal of a stop of its own; 0 when none came within `limit`, or one that
  // belongs to the stop before.
  int Wait(absl::Duration limit);

 private:
  StopCounter counter_;
};

}  // namespace cohort

// Start-up and stop signals of a long-running process.
#pragma once

#include "absl/time/time.h"

namespace cohort {

// LibTorch's OpenMP threads spin while they wait, which starves the other processes of a small
// machine. The runtime reads OMP_WAIT_POLICY before main, so an unset one is set to "passive" and
// the program starts itself again, once. Call first thing in main, before any thread.
void EnsurePassiveOpenMp(char** argv);

// Since the system started this process, before its libraries were loaded. Zero where it cannot
// tell.
absl::Duration ProcessAge();

// Turns SIGTERM and SIGINT into something to wait for. Make it early in main, before any thread
// starts: the signals are blocked in every thread and taken here. One instance per process.
// Thread-safe.
class StopSignal {
 public:
  StopSignal();
  // The signal's number, or 0 when none came within `limit`.
  int Wait(absl::Duration limit);
};

}  // namespace cohort

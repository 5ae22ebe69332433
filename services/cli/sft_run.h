// A supervised run from its configuration to its summary, on one of its ranks. `cohort sft` starts
// the ranks (sft.cc).
//
// What a step trains on is a pure function of (configuration, step): a resumed run sees what the
// uninterrupted one would have seen.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "common/config/config.h"

namespace cohort {

struct SftRunOptions {
  v1::RunConfig config;  // resolved; run.out is the run's folder
  int rank = 0;
  std::string store;  // HOST:PORT where ranks meet; not needed by one rank
  bool resume = false;
  // Asked by rank 0 before every step: a signal's number ends the run after a checkpoint; 0: none.
  std::function<int()> stop_signal = nullptr;
};

// OK: complete, or ended by sft.stop_accuracy. Rank 0: StoppedBySignal (exit_code.h) after
// `stop_signal` ended it.
absl::Status RunSftRank(const SftRunOptions& options);

}  // namespace cohort

// The rollout worker process: everything between the command line and the exit code.
//
//   session client --lease--> [inbox] -> generation thread: apply weights, submit, decode
//        ^                                    | finished group
//        +---- SendGroup <- reward thread <---+
//
// A lease waits in the inbox until the worker holds weights at or above its floor. Weights are
// applied by the generation thread between two decode steps.
//
// A learner that goes away is waited for, rollout.connect_seconds long: it may be started again.
// Shutdown (SIGTERM, or Drain from a learner whose run is over): leases that have not started are
// given back, running groups get a limited time, what is finished is scored and sent, Goodbye,
// threads are joined.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/base/process.h"
#include "common/rpc/security_flags.h"

namespace cohort {

struct WorkerArgs {
  std::string config_path;             // empty: the learner's configuration and model
  std::vector<std::string> overrides;  // --set
  std::string cache;                   // of files from the learner; empty: DefaultCacheFolder()
  std::string learner;                 // HOST:PORT
  double pace = 0;                     // tokens per second at most; 0: no limit
  std::string http_listen = "127.0.0.1:0";
  std::string worker_id;  // empty: HOST-PID
  SecurityFlags security;
};

// Serves until the learner says that the run is over, `stop` fires, or the session cannot go on.
// OK: an orderly end. DeadlineExceeded: no learner for rollout.connect_seconds.
absl::Status RunWorker(const WorkerArgs& args, StopSignal* stop);

}  // namespace cohort

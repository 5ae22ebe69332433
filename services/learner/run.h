// The learner process: everything between the command line and the exit code.
//
//   rank 0:   services | evaluation | batch -> (ranks) step -> publish -> evaluate -> checkpoint
//   others:   follow rank 0's commands
//
// A signal closes the dispatcher, abandons a step that has made no update yet, writes a checkpoint
// if a step was done since the last one, and sends the workers away.
#pragma once

#include "absl/status/status.h"
#include "common/base/process.h"
#include "services/learner/startup.h"

namespace cohort {

// OK: the run is complete and saved. What a signal stopped is StoppedBySignal (exit_code.h), on
// every rank.
absl::Status RunLearner(const LearnerArgs& args, StopSignal* stop);

}  // namespace cohort

// An evaluation without training: the learner's side of `cohort eval --workers`.
//
//   configuration, model -> version 0 -> workers sample and score the prompts of eval.sources
//   -> every group that is accepted is appended to a file (common/wire/group_file.h) -> drain
#pragma once

#include "absl/status/status.h"
#include "common/base/process.h"
#include "services/learner/startup.h"

namespace cohort {

// OK: the groups of all prompts that fit the model are in args.evaluate, those named in
// args.evaluated left out. Cancelled: a signal; what has arrived is in the file. DeadlineExceeded:
// nothing arrived for learner.step_timeout_seconds.
absl::Status RunEvaluation(const LearnerArgs& args, StopSignal* stop);

}  // namespace cohort

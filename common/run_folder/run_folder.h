// The folder of a run, as the programs that train find or make it. Thread-safe (no state).
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/config/config.h"
#include "common/run_folder/run_lock.h"

namespace cohort {

// --resume[=auto]
enum class ResumeMode {
  kNew,       // without the flag: starts, and refuses a folder that holds a run
  kContinue,  // --resume: continues, and refuses a folder that holds none
  kAuto,      // --resume=auto: continues from the newest checkpoint, or starts where there is none
};

// What stood on the command line: "" is no flag, "true" the flag without a value. InvalidArgument
// for any other value than auto.
absl::StatusOr<ResumeMode> ParseResume(absl::string_view flag);
// The flag for a child process; empty for kNew.
std::string ResumeFlag(ResumeMode mode);

// A complete checkpoint is there.
bool HasCheckpoint(const std::string& folder);

// Of the one process that trains into `folder`, before it changes anything there: NotFound for
// kContinue when no run ever started there, AlreadyExists for kNew when checkpoints are there,
// FailedPrecondition when another process has the folder. Makes the folder and returns its lock.
absl::StatusOr<RunLock> OpenRunFolder(const std::string& folder, ResumeMode mode,
                                      absl::string_view program);

// Makes run.out with its logs folder and writes config.yaml into it. Nothing is changed unless all
// is well. AlreadyExists for kNew when a run is there (a start that failed before the first step
// counts for nothing), NotFound for kContinue when there is none (one that was stopped before its
// first checkpoint counts: it begins at step 0 again), FailedPrecondition when what is continued
// would train something else (names the field) or another process has the folder. Returns the
// folder's lock; who only starts the process that trains lets go of it before.
absl::StatusOr<RunLock> PrepareRunFolder(const v1::RunConfig& config, ResumeMode mode,
                                         absl::string_view program);

// The last `lines` lines of a file; empty when it cannot be read.
std::string LastLines(const std::string& path, int lines);

}  // namespace cohort

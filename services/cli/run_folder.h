// The folder of a run, as `cohort train` finds or makes it.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/config/config.h"

namespace cohort {

// Held by one `cohort train` per folder; released when destroyed or when the process ends.
class RunFolderLock {
 public:
  explicit RunFolderLock(int fd) : fd_(fd) {}
  RunFolderLock(RunFolderLock&& other) noexcept;
  RunFolderLock& operator=(RunFolderLock&&) = delete;
  ~RunFolderLock();

 private:
  int fd_;
};

// Makes run.out with its logs folder, locks it and writes config.yaml into it. AlreadyExists when a
// run is in it and `resume` is false (a start that failed before the first step counts for
// nothing), NotFound when there is none to resume, FailedPrecondition when a resumed run would
// train something else (names the field) or another `cohort train` uses the folder.
absl::StatusOr<RunFolderLock> PrepareRunFolder(const v1::RunConfig& config, bool resume);

// The last `lines` lines of a file; empty when it cannot be read.
std::string LastLines(const std::string& path, int lines);

}  // namespace cohort

// At most one process trains into a run's folder: rank 0 of a learner, or of `cohort sft`.
//
// The lock is a byte-range lock (fcntl) on FOLDER/.lock. The system releases it when its owner
// ends, however that happens; on NFS it holds between hosts. The file says who took it last. On a
// file system that cannot lock, or whose locks may be this machine's alone, Take says so in the log
// and the folder is unguarded there.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cohort {

// Movable; released when destroyed. One per folder and process. Not inherited by programs that this
// process starts.
class RunLock {
 public:
  // The folder is there. `program` is what a refusal calls the owner. FailedPrecondition: somebody
  // else has it; the message names program, host, process and since when.
  static absl::StatusOr<RunLock> Take(const std::string& folder, absl::string_view program);
  // The same refusal while somebody has it. Changes nothing, also where there is no folder yet.
  static absl::Status CheckFree(const std::string& folder);

  // FailedPrecondition: the folder was removed, moved or replaced since it was taken, so that what
  // is written there is lost, or another run's. Two looks at the file system.
  absl::Status CheckPlace() const;

  RunLock(RunLock&& other) noexcept;
  RunLock& operator=(RunLock&&) = delete;
  ~RunLock();

 private:
  RunLock(int fd, std::string folder) : fd_(fd), folder_(std::move(folder)) {}
  int fd_;
  std::string folder_;
};

namespace internal {
// Why locks on a file system of this kind (statfs) may not keep other hosts out; empty: they do.
std::string WeaknessOfLocks(int64_t filesystem_type);
// Errors of fcntl that mean that the file system cannot lock at all.
bool CannotLock(int error);
}  // namespace internal

}  // namespace cohort

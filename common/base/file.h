// Whole-file helpers whose errors name the path and what to do. Thread-safe (no state).
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cohort {

// NotFound when the file is missing, the errno's code otherwise.
absl::StatusOr<std::string> ReadFile(const std::string& path);

// As ReadFile, of a regular file (or a link to one) of at most `max_bytes`. InvalidArgument for
// anything else, at once: a device or a pipe may never end.
absl::StatusOr<std::string> ReadRegularFile(const std::string& path, size_t max_bytes);

// Writes to `path`.tmp, syncs it, renames it over `path` and syncs the folder: a reader or a crash
// sees the old content or the new one, never a part. ResourceExhausted when the disk is full.
absl::Status WriteFileAtomic(const std::string& path, absl::string_view content);

absl::Status SyncFile(const std::string& path);     // fsync of a file or a folder
absl::Status MakeFolders(const std::string& path);  // mkdir -p

// Status for the current errno: NotFound, PermissionDenied, ResourceExhausted (disk full), ...
absl::Status ErrnoStatus(int error, absl::string_view what);

// A fresh folder under the system's temporary folder, removed with its content on destruction.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace cohort

// A file that is only appended to, a whole record at a time.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cohort {

// Owns the descriptor. Not thread-safe.
class AppendFile {
 public:
  // `exclusive`: AlreadyExists when the file is there.
  static absl::StatusOr<AppendFile> Open(const std::string& path, bool exclusive = false);
  AppendFile(AppendFile&& other) noexcept;
  AppendFile& operator=(AppendFile&&) = delete;
  ~AppendFile();

  // Hands the record to the kernel. On an error (ResourceExhausted: disk full) what was written of
  // it is taken back, so that the file never holds a part.
  absl::Status Append(absl::string_view record);

  const std::string& path() const { return path_; }

 private:
  AppendFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  std::string path_;
  int fd_;
};

}  // namespace cohort

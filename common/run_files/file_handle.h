// An open file that is closed on scope exit. Not thread-safe, except ReadAt.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace cohort {

class FileHandle {
 public:
  static absl::StatusOr<FileHandle> OpenToRead(const std::string& path);
  // A file of its own in `folder`, mode 0600, named PREFIX with six characters more.
  static absl::StatusOr<FileHandle> MakeUnique(const std::string& folder,
                                               const std::string& prefix);
  ~FileHandle() { Close(); }
  FileHandle(FileHandle&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}
  FileHandle& operator=(FileHandle&& other) noexcept {
    Close();
    fd_ = std::exchange(other.fd_, -1);
    path_ = std::move(other.path_);
    return *this;
  }

  int fd() const { return fd_; }
  const std::string& path() const { return path_; }
  // Bytes read, fewer than `size` only at the end of the file.
  absl::StatusOr<size_t> ReadAt(uint64_t offset, char* out, size_t size) const;
  absl::Status Append(const char* data, size_t size) const;
  absl::Status Sync() const;

 private:
  FileHandle(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  void Close();
  int fd_ = -1;
  std::string path_;
};

}  // namespace cohort

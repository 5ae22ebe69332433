#include "common/run_files/file_handle.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"

namespace cohort {

absl::StatusOr<FileHandle> FileHandle::OpenToRead(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, absl::StrCat("cannot open ", path));
  return FileHandle(fd, path);
}

absl::StatusOr<FileHandle> FileHandle::MakeUnique(const std::string& folder,
                                                  const std::string& prefix) {
  std::string path = absl::StrCat(folder, "/", prefix, "XXXXXX");
  const int fd = mkostemp(path.data(), O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, absl::StrCat("cannot make a file in ", folder));
  return FileHandle(fd, path);
}

absl::StatusOr<size_t> FileHandle::ReadAt(uint64_t offset, char* out, size_t size) const {
  size_t done = 0;
  while (done < size) {
    const ssize_t got = pread(fd_, out + done, size - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoStatus(errno, absl::StrCat("cannot read ", path_));
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

absl::Status FileHandle::Append(const char* data, size_t size) const {
  while (size > 0) {
    const ssize_t put = write(fd_, data, size);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return ErrnoStatus(errno, absl::StrCat("cannot write ", path_));
    data += put;
    size -= static_cast<size_t>(put);
  }
  return absl::OkStatus();
}

absl::Status FileHandle::Sync() const {
  if (fsync(fd_) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, absl::StrCat("cannot sync ", path_));
}

void FileHandle::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

}  // namespace cohort

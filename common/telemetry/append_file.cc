#include "common/telemetry/append_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"

namespace cohort {

absl::StatusOr<AppendFile> AppendFile::Open(const std::string& path, bool exclusive) {
  const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (exclusive ? O_EXCL : 0);
  const int fd = open(path.c_str(), flags, 0644);
  if (fd < 0) return ErrnoStatus(errno, absl::StrCat("cannot open ", path));
  return AppendFile(path, fd);
}

AppendFile::AppendFile(AppendFile&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}

AppendFile::~AppendFile() {
  if (fd_ >= 0) close(fd_);
}

absl::Status AppendFile::Append(absl::string_view record) {
  const off_t before = lseek(fd_, 0, SEEK_END);
  for (size_t done = 0; done < record.size();) {
    const ssize_t wrote = write(fd_, record.data() + done, record.size() - done);
    if (wrote > 0) {
      done += static_cast<size_t>(wrote);
    } else if (errno != EINTR) {
      const int error = errno;
      // A device such as /dev/full cannot be cut back; there is nothing to repair there.
      if (before >= 0 && done > 0 && ftruncate(fd_, before) != 0) {
        return ErrnoStatus(errno, absl::StrCat("cannot repair ", path_));
      }
      return ErrnoStatus(error, absl::StrCat("cannot write ", path_));
    }
  }
  return absl::OkStatus();
}

}  // namespace cohort

#include "services/learner/readiness.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"

namespace cohort {
namespace {

constexpr char kProbeFile[] = ".writable";

}  // namespace

CachedCheck::CachedCheck(std::function<absl::Status()> check, absl::Duration every, Clock* clock)
    : check_(std::move(check)), every_(every), clock_(clock) {}

absl::Status CachedCheck::operator()() {
  absl::MutexLock lock(&mu_);
  if (clock_->Now() - checked_ >= every_) {
    status_ = check_();
    checked_ = clock_->Now();
  }
  return status_;
}

absl::Status CanWrite(const std::string& folder, int64_t free_bytes) {
  struct statvfs disk{};
  if (statvfs(folder.c_str(), &disk) != 0) {
    return ErrnoStatus(errno, absl::StrCat("the run's folder ", folder, " cannot be used"));
  }
  const int64_t left = static_cast<int64_t>(disk.f_bavail) * static_cast<int64_t>(disk.f_frsize);
  if (left < free_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the run's folder ", folder, ": expected ", free_bytes >> 20,
                     " MiB free for the next checkpoint, found ", left >> 20,
                     " MiB; make room or enlarge the volume"));
  }
  const std::string file = absl::StrCat(folder, "/", kProbeFile);
  const int fd = open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  int error = fd < 0 ? errno : 0;
  if (fd >= 0 && write(fd, "x", 1) != 1) error = errno;
  if (fd >= 0 && close(fd) != 0 && error == 0) error = errno;
  if (fd >= 0) unlink(file.c_str());
  if (error == 0) return absl::OkStatus();
  return ErrnoStatus(error, absl::StrCat("the run's folder is not writable: ", file));
}

}  // namespace cohort

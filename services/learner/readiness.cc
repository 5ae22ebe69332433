#include "services/learner/readiness.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/host_port.h"
#include "common/base/status_macros.h"

namespace cohort {
namespace {

constexpr char kProbeFile[] = ".writable";

// 0, or an errno.
int Connect(const addrinfo& to, absl::Duration limit) {
  const int fd = socket(to.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  int error = connect(fd, to.ai_addr, to.ai_addrlen) == 0 ? 0 : errno;
  if (error == EINPROGRESS) {
    pollfd wait{fd, POLLOUT, 0};
    socklen_t size = sizeof(error);
    const int ready = poll(&wait, 1, static_cast<int>(absl::ToInt64Milliseconds(limit)));
    if (ready <= 0) {
      error = ready == 0 ? ETIMEDOUT : errno;
    } else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
      error = errno;
    }
  }
  close(fd);
  return error;
}

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

absl::Status DialsItself(const std::string& address, absl::Duration limit) {
  COHORT_ASSIGN_OR_RETURN(HostPort where, ParseHostPort(address));
  if (where.host == "0.0.0.0") where.host = "127.0.0.1";
  if (where.host == "::") where.host = "::1";
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const std::string port = absl::StrCat(where.port);
  if (const int error = getaddrinfo(where.host.c_str(), port.c_str(), &hints, &found); error != 0) {
    return absl::UnavailableError(
        absl::StrCat("workers cannot connect: ", address, ": ", gai_strerror(error)));
  }
  int error = EADDRNOTAVAIL;
  for (const addrinfo* to = found; to != nullptr && error != 0; to = to->ai_next) {
    error = Connect(*to, limit);
  }
  freeaddrinfo(found);
  if (error == 0) return absl::OkStatus();
  return absl::UnavailableError(
      ErrnoStatus(error, absl::StrCat("workers cannot connect: dialling ", address)).message());
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

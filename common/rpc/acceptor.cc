#include "common/rpc/acceptor.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/log.h"
#include "common/concurrency/executor.h"
#include "common/rpc/refusals.h"

namespace cohort {
namespace {

constexpr absl::Duration kPause = absl::Milliseconds(100);  // before the next try to accept
// Of the descriptors, for checkpoints, logs and the HTTP port: a quarter, at most this many.
constexpr int kMostKeptFree = 128;

int DescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  return static_cast<int>(std::min<rlim_t>(limit.rlim_cur, 1 << 30));
}

// The system gives out the lowest number that is free: a high one says that nearly all are taken.
bool RunsShort(int descriptor) {
  const int limit = DescriptorLimit();
  return descriptor >= limit - std::min(kMostKeptFree, limit / 4);
}

int OpenSpare() { return open("/dev/null", O_RDONLY | O_CLOEXEC); }

}  // namespace

void RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    COHORT_LOG(WARNING) << "the limit of open files stays at " << DescriptorLimit() << ": "
                        << std::strerror(errno);
  }
}

absl::StatusOr<std::unique_ptr<Acceptor>> Acceptor::Listen(const HostPort& where) {
  const absl::StatusOr<int> listener = ListenOn(where);
  if (!listener.ok()) return listener.status();
  const int wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (wake < 0) {
    close(*listener);
    return absl::ResourceExhaustedError(
        absl::StrCat("no descriptor for the listener of ", where.host, ":", where.port));
  }
  return std::unique_ptr<Acceptor>(new Acceptor(*listener, wake, PortOf(*listener)));
}

Acceptor::~Acceptor() {
  Stop();
  for (const int fd : {wake_, spare_}) {
    if (fd >= 0) close(fd);
  }
}

void Acceptor::Start(HandOver hand_over) {
  hand_over_ = std::move(hand_over);
  spare_ = OpenSpare();
  thread_ = std::thread([this] {
    SetThreadName("accept");
    Run();
  });
}

void Acceptor::Stop() {
  stopping_ = true;
  const uint64_t one = 1;
  // It can only fail when the thread has been woken already.
  if (write(wake_, &one, sizeof(one)) < 0 && errno != EAGAIN) {
    COHORT_LOG(ERROR) << "waking the thread that accepts: " << std::strerror(errno);
  }
  if (thread_.joinable()) thread_.join();
  if (const int listener = listener_.exchange(-1); listener >= 0) close(listener);
}

void Acceptor::Run() {
  while (!stopping_) {
    pollfd waited[] = {{listener_, POLLIN, 0}, {wake_, POLLIN, 0}};
    // Both descriptors are this object's: there is nothing to time out on.
    if (poll(waited, 2, -1) < 0 && errno != EINTR) absl::SleepFor(kPause);
    if (!stopping_ && (waited[0].revents & POLLIN) != 0) AcceptAll();
  }
}

void Acceptor::AcceptAll() {
  while (!stopping_) {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno != EAGAIN) AcceptFailed(errno);
      return;
    }
    if (RunsShort(fd)) {
      close(fd);
      CountRefused(Refused::kTooMany,
                   absl::StrCat("a connection to port ", port_, ": ", DescriptorLimit(),
                                " open files are the limit (ulimit -n)"));
      continue;
    }
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    hand_over_(listener_, fd);
  }
}

void Acceptor::AcceptFailed(int error) {
  if ((error == EMFILE || error == ENFILE) && MakeRoom()) return;
  if (const auto left_out = said_.Ask()) {
    COHORT_LOG(ERROR) << "nothing can be accepted on port " << port_ << ": " << std::strerror(error)
                      << "; trying again" << LeftOutText(*left_out);
  }
  absl::SleepFor(kPause);
}

// The connection that waits is closed, for it would wake the poll again and again, and its peer
// learns that it is to come back.
bool Acceptor::MakeRoom() {
  if (spare_ < 0) return false;
  close(spare_);
  const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd >= 0) close(fd);
  spare_ = OpenSpare();
  CountRefused(Refused::kTooMany,
               absl::StrCat("a connection to port ", port_, ": no descriptor is left"));
  return true;
}

}  // namespace cohort

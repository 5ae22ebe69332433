#include "common/base/host_port.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace cohort {
namespace {

constexpr int kBacklog = 1024;

absl::Status NotListening(const HostPort& where, const std::string& why, bool in_use) {
  const std::string message = absl::StrCat(
      "cannot listen on ", where.host, ":", where.port, ": ", why,
      "; choose another address (port 0: any free one) or stop the process that holds it");
  return in_use ? absl::AlreadyExistsError(message) : absl::InvalidArgumentError(message);
}

// A descriptor, or -1 with errno.
int ListenOnAddress(const sockaddr* address, socklen_t size) {
  const int fd =
      socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
  if (fd < 0) return -1;
  const int on = 1;
  const int off = 0;
  // Only past connections of this port may share it, no second server.
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (address->sa_family == AF_INET6) {
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
  }
  if (bind(fd, address, size) == 0 && listen(fd, kBacklog) == 0) return fd;
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

// Both families at once, where the system has the newer one.
int ListenEverywhere(int port) {
  sockaddr_in6 any{};
  any.sin6_family = AF_INET6;
  any.sin6_port = htons(static_cast<uint16_t>(port));
  any.sin6_addr = in6addr_any;
  return ListenOnAddress(reinterpret_cast<const sockaddr*>(&any), sizeof(any));
}

}  // namespace

absl::StatusOr<HostPort> ParseHostPort(absl::string_view address) {
  HostPort out;
  const size_t colon = address.rfind(':');
  if (colon == absl::string_view::npos || colon == 0 ||
      !absl::SimpleAtoi(address.substr(colon + 1), &out.port) || out.port < 0 || out.port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected HOST:PORT, found '", address, "' (such as 127.0.0.1:0)"));
  }
  absl::string_view host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  out.host = std::string(host);
  return out;
}

bool IsLoopbackHost(absl::string_view host) {
  in_addr v4{};
  in6_addr v6{};
  const std::string text(host);
  if (inet_pton(AF_INET, text.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  if (inet_pton(AF_INET6, text.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6);
  return absl::EqualsIgnoreCase(host, "localhost");
}

bool IsIpAddress(absl::string_view host) {
  in6_addr address{};
  const std::string text(host);
  return inet_pton(AF_INET, text.c_str(), &address) == 1 ||
         inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

std::string ThisHost() {
  char name[256] = "";
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "?";
}

absl::StatusOr<int> ListenOn(const HostPort& where) {
  if (where.host == "0.0.0.0" || where.host == "::") {
    if (const int fd = ListenEverywhere(where.port); fd >= 0) return fd;
    if (errno == EADDRINUSE) return NotListening(where, std::strerror(EADDRINUSE), true);
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const std::string port = absl::StrCat(where.port);
  if (const int error = getaddrinfo(where.host.c_str(), port.c_str(), &hints, &found); error != 0) {
    return NotListening(where, gai_strerror(error), false);
  }
  int fd = -1;
  int error = EADDRNOTAVAIL;
  for (const addrinfo* one = found; one != nullptr && fd < 0; one = one->ai_next) {
    fd = ListenOnAddress(one->ai_addr, one->ai_addrlen);
    if (fd < 0) error = errno;
  }
  freeaddrinfo(found);
  if (fd < 0) return NotListening(where, std::strerror(error), error == EADDRINUSE);
  return fd;
}

int PortOf(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  return ntohs(address.ss_family == AF_INET6
                   ? reinterpret_cast<const sockaddr_in6*>(&address)->sin6_port
                   : reinterpret_cast<const sockaddr_in*>(&address)->sin_port);
}

}  // namespace cohort

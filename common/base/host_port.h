// HOST:PORT, the address of something that listens or is connected to. Thread-safe (no state).
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cohort {

struct HostPort {
  std::string host;  // without the brackets of an IPv6 address
  int port = 0;      // 0: any free one
};

// InvalidArgument says what was found.
absl::StatusOr<HostPort> ParseHostPort(absl::string_view address);

// 127.0.0.0/8, ::1 or localhost; `host` as in HostPort.
bool IsLoopbackHost(absl::string_view host);
// A numeric IPv4 or IPv6 address, not a name.
bool IsIpAddress(absl::string_view host);
// The name of this machine or container; "?" where it has none.
std::string ThisHost();

// A socket that listens there; the caller closes it. 0.0.0.0 and :: mean every address of both
// families where the system has them. AlreadyExists: the port is taken; InvalidArgument otherwise.
absl::StatusOr<int> ListenOn(const HostPort& where);
// Of a listening socket; 0 where the system does not say.
int PortOf(int socket);

}  // namespace cohort

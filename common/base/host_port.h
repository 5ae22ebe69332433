// HOST:PORT, the address of something that listens or is connected to.
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

}  // namespace cohort

// Which of this machine's addresses the ranks' own traffic uses. Pure but for asking the system.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace cohort {

// NotFound: no interface of that name has an address; the message lists those that have one.
absl::Status CheckInterface(const std::string& name);

// This machine's address that reaches `host`: asks the routing table and sends nothing. Where
// `host` is "any address" (0.0.0.0), that of this machine's own name. `host` itself where neither
// can tell.
std::string LocalAddressTowards(const std::string& host, int port);

}  // namespace cohort

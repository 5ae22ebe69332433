// A port for ranks that meet on this machine.
#pragma once

#include "absl/status/statusor.h"

namespace cohort {

// A port of 127.0.0.1 that is free now. Taken by a child a moment later; if somebody is faster,
// that child says so and the run fails with its message.
absl::StatusOr<int> FreePort();

}  // namespace cohort

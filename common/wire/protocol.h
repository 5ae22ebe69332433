// The version of session.proto and weights.proto that this release speaks. Raised when a peer of an
// older release could misread a message.
#pragma once

#include <cstdint>

namespace cohort {

inline constexpr uint32_t kProtocolVersion = 1;

}  // namespace cohort

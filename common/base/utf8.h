// Text for Protobuf string fields, which a receiver refuses unless they are UTF-8.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace cohort {

// Every byte that is no part of a well-formed sequence becomes U+FFFD.
std::string ValidUtf8(absl::string_view text);

}  // namespace cohort

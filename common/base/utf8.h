// Text that comes from outside: for Protobuf string fields, which a receiver refuses unless they
// are UTF-8, and for lines of a log and labels, which it must not forge.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace cohort {

// Every byte that is no part of a well-formed sequence becomes U+FFFD.
std::string ValidUtf8(absl::string_view text);

// Control characters (C0, DEL, C1: line feeds, colours, cursor movements) and bytes that are no
// UTF-8 become \xNN. Everything else stays as it is.
std::string EscapeControls(absl::string_view text);
bool HasControls(absl::string_view text);  // EscapeControls would change it

}  // namespace cohort

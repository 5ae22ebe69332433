// Characters beyond ASCII as the LaTeX that means the same.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace cohort {

// "√7 ≤ ５" -> "\surd 7 \le  5". Letters of other languages stay. Linear in the text.
std::string UnicodeToLatex(absl::string_view text);

// The character at `at` (UTF-8), its bytes in `size`; malformed bytes stand for themselves.
char32_t CharacterAt(absl::string_view text, size_t at, size_t* size);

}  // namespace cohort

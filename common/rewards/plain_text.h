// Characters that mean one of ASCII's: what people and models write in its place.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace cohort {

// Minus signs and dashes of a digit's width as "-", full-width characters (U+FF01 to U+FF5E) and
// the stops of other scripts as ASCII's, white space of any width as " ". The rest stays, malformed
// bytes too. Linear in the text.
std::string PlainText(absl::string_view text);

// Without emphasis, quotes, white space and mathematics' delimiters at either end, and without the
// stop of a sentence: "**$24$**." is "24". "$24" stays, which is money.
absl::string_view StripDecoration(absl::string_view text);

}  // namespace cohort

// Comparing answers by value (algorithms.md 11.3, Cohort's rule).
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace cohort {

// Text that is the same for answers of the same value: exact numbers (3/6 = 1/2 = 0.5 = 50%),
// intervals and tuples element by element, sets, unions and bare lists in any order, matrices, and
// for anything else the normalised string. Because equality is equality of these texts, it is
// reflexive, symmetric and transitive. Takes any bytes in bounded time.
std::string CanonicalAnswer(absl::string_view answer);

// The canonical text where the answer is one number (of any length), else nullopt.
std::optional<std::string> CanonicalNumber(absl::string_view answer);

bool AnswersEqual(absl::string_view a, absl::string_view b);

}  // namespace cohort

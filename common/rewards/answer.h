// Comparing answers by value (algorithms.md 11.3, Cohort's rule).
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace cohort {

// Text that is the same for answers of the same value: exact numbers (3/6 = 1/2 = 0.5 = 50%),
// formulas in any form, equations up to a factor, intervals, inequalities and unions as sets of
// numbers, tuples element by element, sets and lists in any order, matrices, ratios, times,
// residues, words, and for anything else the text without its style. A unit behind a number
// carries nothing. Because equality is equality of these texts, it is reflexive, symmetric and
// transitive. Takes any bytes in bounded time.
std::string CanonicalAnswer(absl::string_view answer);

// The canonical text where the answer is one number (of any length), else nullopt.
std::optional<std::string> CanonicalNumber(absl::string_view answer);

bool AnswersEqual(absl::string_view a, absl::string_view b);

// A reply is right for a gold answer of equal value; it may also name what the gold answer only
// states ("y = 2x" for "2x"), and move the terms of an equation. Not symmetric.
bool AnswerMatches(absl::string_view reply, absl::string_view gold);

}  // namespace cohort

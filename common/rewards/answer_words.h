// What words mean in an answer: joining, counting, units. Of several languages; case does not
// matter.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace cohort {

enum class WordUse : uint8_t {
  kNoun,       // any other word: a unit or a thing that is counted
  kUnit,       // "cm", "degrees", "dollars"
  kAnd,        // joins values
  kOr,         // likewise, and unites conditions
  kMagnitude,  // "million", "dozen"
  kPercent,
  kTo,        // of a ratio
  kMeridiem,  // "am", "pm"
  kModulo,
  kRemainder,
  kChanges,  // "less", "not", "is": makes something else of a number
};

WordUse UseOfWord(absl::string_view word);

// A word of two or three letters that is no product of letters: "cm", "and", "yes".
bool IsKnownWord(absl::string_view word);

// "million" is 10^6; "dozen" 12: the factor.
std::optional<int64_t> MagnitudeOf(absl::string_view word);

// One name for a unit: "hrs", "hour" and "hours" are "hour"; other words lose a plural s.
std::string UnitName(absl::string_view word);

// A letter that is a unit behind a number, set upright: \mathrm{m}.
bool IsUnitLetter(absl::string_view letter);

// "all real numbers", "no solution": a set that has a symbol; "" for others.
std::string NamedSet(absl::string_view words);

}  // namespace cohort

// Numbers with units, compared exactly: "1.5 km" is "1500\text{ m}". Pure functions, any bytes,
// bounded time.
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "common/rewards/exact_number.h"
#include "common/rewards/units.h"

namespace cohort {

struct Quantity {
  ExactNumber number;  // as written: 1.5
  std::string unit;    // as written, without spaces and LaTeX; "" when there is none
  bool known = false;  // the unit was understood: the rest is valid
  ExactNumber value;   // in base units: 1500
  Dimensions dimensions = {};
};

// "1.5 km", "2 h 15 min" (their sum), "31^\circ\text{C}", "x = 8 m", "\$7 per hour". nullopt: it
// does not start with a number of ParseExactNumber's form.
std::optional<Quantity> ParseQuantity(absl::string_view text);

// The quantity that a sentence ends with, in a unit that is understood.
std::optional<Quantity> LastQuantity(absl::string_view sentence);

// Equal values of equal dimensions; for units that are not understood, equal numbers and equal
// spelling but for a plural s. One that is written without a unit is taken in the other's.
bool SameQuantity(const Quantity& a, const Quantity& b);

}  // namespace cohort

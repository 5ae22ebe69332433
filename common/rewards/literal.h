// The number that a sentence states last, seen together with what it is a part of: "19" in
// "$5x+19$" is no number of its own. Any bytes; linear in the text.
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace cohort {

struct Literal {
  std::string text;            // with its sign, signs as ASCII: "-1,234.5", "3/4", "2.6
                               // \times 10^3", "12%"
  bool integer = false;        // digits only, grouped or not, or with zeros behind the point
  bool in_expression = false;  // an operand of something larger, or an argument
};

// nullopt: the text states no number. An exponent, an index and a number in a word ("x^2", "a_1",
// "cm^2", "CO2") are none. A sign between two operands is an operator, before the first it is the
// number's.
std::optional<Literal> LastLiteral(absl::string_view text);

}  // namespace cohort

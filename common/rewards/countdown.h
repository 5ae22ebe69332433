// Arithmetic of given numbers. Exact; any bytes, bounded time.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/rewards/exact_number.h"

namespace cohort {

struct CountdownResult {
  std::optional<Rational> value;  // nullopt: divides by zero, or is too large to be held
  std::vector<std::string> used;  // every number in it, without leading zeros, in order
};

// The operation that a reply writes, on its side of an equals sign: with + - * / and brackets,
// where × \times \cdot ÷ \div \frac{}{} and minus signs of any kind stand for theirs; "" : none.
std::string CountdownExpression(absl::string_view reply);

// What the other sides of its equals signs say: "24" of "3 * 8 = 24". Those that are no arithmetic
// are left out.
std::vector<Rational> CountdownClaims(absl::string_view reply);

// nullopt: `expression` is no whole expression of + - * / and brackets; a product needs its sign.
std::optional<CountdownResult> EvaluateCountdown(absl::string_view expression);

}  // namespace cohort

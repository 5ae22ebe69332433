// Functions of exact values.
#pragma once

#include <vector>

#include "absl/strings/string_view.h"
#include "common/rewards/algebra.h"

namespace cohort {

// Sines and the like: exact at the usual parts of a circle, else equal only to itself. `degrees`:
// the argument is in degrees.
Algebra::Result Trigonometric(Algebra* algebra, absl::string_view name, const Value& argument,
                              bool degrees);
// Of any other function of one argument ("exp", "ln", "arcsin").
Algebra::Result ApplyFunction(Algebra* algebra, absl::string_view name, const Value& argument);
// "gcd", "lcm", "max", "min" of integers.
Algebra::Result ApplyToIntegers(absl::string_view name, const std::vector<Value>& arguments);
Algebra::Result Factorial(Algebra* algebra, const Value& n);
Algebra::Result Binomial(Algebra* algebra, const Value& n, const Value& k);

bool IsTrigonometric(absl::string_view name);

}  // namespace cohort

// One term of a polynomial, for those who look inside.
#pragma once

#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "common/rewards/algebra.h"

namespace cohort {

struct Algebra::Term {
  const fmpz* coefficient = nullptr;             // owned by the polynomial
  std::vector<std::pair<size_t, ulong>> powers;  // generator, exponent; by key
  std::string constant_part;                     // the product of constants, printed
  std::string variable_part;                     // the product of the other generators
};

}  // namespace cohort

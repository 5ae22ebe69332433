// Tokens of an answer as an exact value.
#pragma once

#include "common/rewards/algebra.h"
#include "common/rewards/latex_tokens.h"

namespace cohort {

// Sums, products (with and without a sign), quotients, powers, roots, factorials, binomials, mixed
// and repeating numbers, percent, functions and letters with indices. nullopt: no such formula, or
// one that is too large. A degree sign carries nothing outside of sines and the like.
Algebra::Result ParseFormula(Algebra* algebra, TokenSpan tokens);

}  // namespace cohort

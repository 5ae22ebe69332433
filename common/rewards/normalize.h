// The string normalisers of the reference graders. Linear in the text; pure functions.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace cohort {

// algorithms.md 11.3 (a): the MATH normaliser after Hendrycks et al. 2021.
std::string NormalizeHendrycks(absl::string_view answer);

// Equality of the two. The reference fails where an answer has two `\text{ ` in it, and compares
// both as they are then.
bool HendrycksEqual(absl::string_view a, absl::string_view b);

// algorithms.md 11.3 (b): the final-answer normaliser after Lewkowycz et al. 2022 (Minerva,
// appendix D), as DAPO's verifier applies it to prediction and gold.
std::string NormalizeMinerva(absl::string_view answer);

}  // namespace cohort

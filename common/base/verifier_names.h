// The built-in verifiers by name: the configuration offers them, common/rewards makes them.
#pragma once

#include <array>

namespace cohort {

inline constexpr std::array<const char*, 15> kVerifierNames = {
    "rule_math",    "rule_gsm8k",     "rule_dapo",   "rule_last_integer",
    "rule_sorting", "rule_countdown", "rule_number", "rule_units",
    "rule_choice",  "rule_exact",     "rule_regex",  "format_boxed",
    "contains",     "random",         "code_tests"};

}  // namespace cohort

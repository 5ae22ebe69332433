// The built-in verifiers by name: the configuration offers them, common/rewards makes them.
#pragma once

#include <array>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace cohort {

inline constexpr std::array<const char*, 15> kVerifierNames = {
    "rule_math",    "rule_gsm8k",     "rule_dapo",   "rule_last_integer",
    "rule_sorting", "rule_countdown", "rule_number", "rule_units",
    "rule_choice",  "rule_exact",     "rule_regex",  "format_boxed",
    "contains",     "random",         "code_tests"};

// Whether a component of the reward judges an answer by a rule: the task's own and the verifiers
// that are one, by their own name or with a label behind it ("rule_math:strict").
inline bool IsRuleReward(absl::string_view name) {
  const absl::string_view bare = name.substr(0, name.find(':'));
  return bare == "task" || bare == "code_tests" || absl::StartsWith(bare, "rule_");
}

}  // namespace cohort

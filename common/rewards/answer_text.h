// The answer that a rule-based verifier reads in a completion, as text (algorithms.md 7.1: votes
// are extracted strings). Pure functions; any bytes, linear time.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "common/rewards/verifier.h"

namespace cohort {

// nullopt: no answer in the form that `verifier` ("rule_math", ...) asks for; never "". A verifier
// without a form of its own: the reply (reply.h).
std::optional<std::string> ReadAnswer(absl::string_view verifier, absl::string_view completion);

// A completion in which `verifier` reads `answer`.
std::string WriteAnswer(absl::string_view verifier, absl::string_view answer);

// The same prompt with another gold answer.
std::shared_ptr<const RewardPrompt> WithAnswer(const RewardPrompt& prompt,
                                               const std::string& answer);

}  // namespace cohort

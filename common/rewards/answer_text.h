// The answer that a rule-based verifier reads in a completion, as text (algorithms.md 7.1: votes
// are extracted strings). Pure functions; any bytes, linear time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/rewards/verifier.h"

namespace cohort {

// nullopt: no answer in the form that `verifier` ("rule_math", ...) asks for; never "". A verifier
// without a form of its own: the reply (reply.h).
std::optional<std::string> ReadAnswer(absl::string_view verifier, absl::string_view completion);

// Which of a text's tokens, each of which ends at `ends`, spell the last occurrence of `answer`;
// empty: it does not occur, or is too long to be looked for.
std::vector<uint8_t> TokensSpelling(absl::string_view text, absl::Span<const size_t> ends,
                                    absl::string_view answer);

// A completion in which `verifier` reads `answer`.
std::string WriteAnswer(absl::string_view verifier, absl::string_view answer);

// The same prompt with another gold answer.
std::shared_ptr<const RewardPrompt> WithAnswer(const RewardPrompt& prompt,
                                               const std::string& answer);

}  // namespace cohort

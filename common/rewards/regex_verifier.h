// Rewards by regular expression, in RE2's syntax: linear in the text for any pattern and text.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "common/rewards/verifier.h"

namespace cohort {

// `options.pattern` with a group: what the group holds in the last match is the answer, compared by
// value; no match is no answer. Without a group: right where it matches. Empty: each of the
// prompt's answers is a pattern that the reply as a whole must match; one that does not compile
// makes the sample unscorable. InvalidArgument: the pattern does not compile.
absl::StatusOr<std::unique_ptr<Verifier>> MakeRegexVerifier(const VerifierOptions& options);

}  // namespace cohort

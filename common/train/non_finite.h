// Errors that say that a number is not finite, so that they can be told apart without reading their
// text.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace cohort {

enum class NonFinite { kLogprob, kReward, kGradient, kValue };
absl::string_view NonFiniteName(NonFinite where);  // "logprob", "reward", "gradient", "value"

// "non-finite WHERE: WHAT".
absl::Status NonFiniteError(absl::StatusCode code, NonFinite where, absl::string_view what);

// The NonFiniteName that such an error carries; empty for any other status.
std::string NonFiniteIn(const absl::Status& status);

}  // namespace cohort

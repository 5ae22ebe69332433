// A response as whoever judges it sees it.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/text/tokenizer.h"

namespace cohort {

// All that the model wrote, special tokens such as <think> among it; only the end-of-sequence token
// at the very end, which is no part of what it says, is left out.
absl::StatusOr<std::string> ResponseText(const Tokenizer& tokenizer,
                                         absl::Span<const int32_t> response);

}  // namespace cohort

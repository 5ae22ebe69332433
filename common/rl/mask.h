// Response masks and truncation from token ids (algorithms.md section 2.3), for data that carries
// no lengths and no finish reason of its own.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace cohort {

// 1 through the first end-of-sequence token, 0 after it; all 1 when there is none.
std::vector<uint8_t> ResponseMask(absl::Span<const int64_t> ids, absl::Span<const int64_t> eos);

// No end-of-sequence token anywhere: the fallback for an unknown finish reason.
bool IsTruncated(absl::Span<const int64_t> ids, absl::Span<const int64_t> eos);

}  // namespace cohort

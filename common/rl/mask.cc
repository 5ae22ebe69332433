#include "common/rl/mask.h"

#include <algorithm>

namespace cohort {
namespace {

size_t FirstEos(absl::Span<const int64_t> ids, absl::Span<const int64_t> eos) {
  return static_cast<size_t>(std::find_first_of(ids.begin(), ids.end(), eos.begin(), eos.end()) -
                             ids.begin());
}

}  // namespace

std::vector<uint8_t> ResponseMask(absl::Span<const int64_t> ids, absl::Span<const int64_t> eos) {
  const size_t end = FirstEos(ids, eos);
  std::vector<uint8_t> mask(ids.size(), 0);
  for (size_t t = 0; t < ids.size(); ++t) mask[t] = t <= end ? 1 : 0;
  return mask;
}

bool IsTruncated(absl::Span<const int64_t> ids, absl::Span<const int64_t> eos) {
  return FirstEos(ids, eos) == ids.size();
}

}  // namespace cohort

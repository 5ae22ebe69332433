#include "common/generate/stop_strings.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "common/base/status_macros.h"

namespace cohort {

StopStringMatcher::StopStringMatcher(const Tokenizer* tokenizer, std::vector<std::string> stops)
    : decoder_(tokenizer, /*skip_special=*/false), stops_(std::move(stops)) {
  for (const std::string& stop : stops_) longest_ = std::max(longest_, stop.size());
}

absl::StatusOr<bool> StopStringMatcher::Append(int32_t token) {
  COHORT_ASSIGN_OR_RETURN(const std::string fresh, decoder_.Append(token));
  tail_ += fresh;
  for (const std::string& stop : stops_) {
    if (absl::StrContains(tail_, stop)) return true;
  }
  if (tail_.size() >= longest_) tail_.erase(0, tail_.size() - (longest_ - 1));
  return false;
}

}  // namespace cohort

// Finds stop strings in the text of a growing row, also where they span tokens.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/text/tokenizer.h"

namespace cohort {

// Not thread-safe; the tokenizer must outlive it.
class StopStringMatcher {
 public:
  // `stops`: not empty, none of them empty.
  StopStringMatcher(const Tokenizer* tokenizer, std::vector<std::string> stops);

  // True when the text up to and including this token contains a stop string. Text that is not yet
  // certain (half a character) counts once it is.
  absl::StatusOr<bool> Append(int32_t token);

 private:
  IncrementalDecoder decoder_;
  std::vector<std::string> stops_;
  size_t longest_ = 0;  // bytes
  std::string tail_;    // end of the text in which a stop string may still begin
};

}  // namespace cohort

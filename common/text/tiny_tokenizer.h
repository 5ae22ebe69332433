// A byte-level tokenizer with a ChatML template, small enough to write in a test: one id per byte,
// a few merges and three special tokens.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace cohort {

inline constexpr int32_t kTinyEndOfText = 0;     // "<|endoftext|>", the pad token
inline constexpr int32_t kTinyMessageStart = 1;  // "<|im_start|>"
inline constexpr int32_t kTinyMessageEnd = 2;    // "<|im_end|>", the eos token

// Writes tokenizer.json, tokenizer_config.json and generation_config.json into `folder`.
absl::Status WriteTinyTokenizer(const std::string& folder);

}  // namespace cohort

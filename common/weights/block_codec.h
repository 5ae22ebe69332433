// The arithmetic of one block: XOR and zstd. No state; thread-safe.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"

namespace cohort {

// out[i] = a[i] ^ b[i]. `out` may be `a` or `b`.
void XorBytes(const char* a, const char* b, size_t size, char* out);

// zstd level 1. With `give_up` a sample is tried first: nullopt when it does not shrink below 60 %,
// where the time is better spent on sending the bytes.
std::optional<std::string> CompressBlock(const char* data, size_t size, bool give_up);

// InvalidArgument: not a zstd frame of exactly `size` plain bytes.
absl::Status DecompressBlock(const char* data, size_t compressed_size, char* out, size_t size);

}  // namespace cohort

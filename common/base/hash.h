// Hashes: XXH3-128 for integrity inside a run, SHA-256 where the bytes come from elsewhere or the
// result is compared by people (weights_hash, configuration hash).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace cohort {

struct Hash128 {
  uint64_t high = 0;
  uint64_t low = 0;
  friend bool operator==(const Hash128&, const Hash128&) = default;
};

Hash128 Xxh3(const void* data, size_t size);
Hash128 Xxh3(absl::Span<const absl::string_view> pieces);  // of one after the other
uint64_t Xxh3Low(absl::string_view data);
std::string HexEncode(const Hash128& hash);  // 32 lower-case digits

// Streaming SHA-256. Not thread-safe.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void Update(const void* data, size_t size);
  void Update(absl::string_view text) { Update(text.data(), text.size()); }
  std::string HexDigest();  // 64 lower-case digits; ends the stream.

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

std::string Sha256Hex(absl::string_view data);

// SHA-256 (hex) over the lines "name=value\n" in name order.
std::string HashOfFields(const std::map<std::string, std::string>& fields);

}  // namespace cohort

// What the tests of the fuzz targets share: seeded mutations of a small corpus. A longer campaign
// links the targets with libFuzzer.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "common/base/rng.h"

namespace cohort {

using FuzzTarget = int (*)(const uint8_t*, size_t);
using FuzzMutator = std::string (*)(std::string, CounterRng*);

inline void Feed(FuzzTarget target, const std::string& bytes) {
  ASSERT_EQ(target(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()), 0);
}

// One to four bytes changed, removed or added, or the end cut off.
inline std::string MutateBytes(std::string bytes, CounterRng* rng) {
  const uint64_t edits = 1 + rng->Below(4);
  for (uint64_t i = 0; i < edits && !bytes.empty(); ++i) {
    const size_t at = rng->Below(bytes.size());
    switch (rng->Below(4)) {
      case 0:
        bytes[at] = static_cast<char>(rng->Below(256));
        break;
      case 1:
        bytes.erase(at, rng->Below(16));
        break;
      case 2:
        bytes.insert(at, std::string(rng->Below(16), static_cast<char>(rng->Below(256))));
        break;
      default:
        bytes.resize(at);
    }
  }
  return bytes;
}

// Nothing, `input` itself, and `rounds` mutations of it, the same ones for a `seed`.
inline void Campaign(FuzzTarget target, const std::string& input, int rounds, uint64_t seed,
                     FuzzMutator mutate = &MutateBytes) {
  Feed(target, "");
  Feed(target, input);
  CounterRng rng(seed);
  for (int i = 0; i < rounds && !testing::Test::HasFatalFailure(); ++i) {
    Feed(target, mutate(input, &rng));
  }
}

}  // namespace cohort

// What the tests of the fuzz targets share: seeded mutations of a small corpus. A longer campaign
// links the targets with libFuzzer.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <utility>

#include "common/base/rng.h"

namespace cohort {

using FuzzTarget = int (*)(const uint8_t*, size_t);
using FuzzMutator = std::string (*)(std::string, CounterRng*);

inline void Feed(FuzzTarget target, const std::string& bytes) {
  ASSERT_EQ(target(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()), 0);
}

// One to four edits at random places: a byte changed, bytes removed, the end cut off, or one of
// `kinds` more, which `edit(kind, at, &bytes)` makes.
template <typename Edit>
std::string MutateWith(uint64_t kinds, std::string bytes, CounterRng* rng, const Edit& edit) {
  const uint64_t edits = 1 + rng->Below(4);
  for (uint64_t i = 0; i < edits && !bytes.empty(); ++i) {
    const size_t at = rng->Below(bytes.size());
    const uint64_t kind = rng->Below(3 + kinds);
    if (kind == 0) {
      bytes[at] = static_cast<char>(rng->Below(256));
    } else if (kind == 1) {
      bytes.erase(at, rng->Below(16));
    } else if (kind < 2 + kinds) {
      edit(kind - 2, at, &bytes);
    } else {
      bytes.resize(at);
    }
  }
  return bytes;
}

// The further kind is up to 15 bytes that are alike.
inline std::string MutateBytes(std::string bytes, CounterRng* rng) {
  return MutateWith(1, std::move(bytes), rng, [rng](uint64_t, size_t at, std::string* out) {
    out->insert(at, std::string(rng->Below(16), static_cast<char>(rng->Below(256))));
  });
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

// The identity of a group: a function of what was asked, never of who answered or how often.
#pragma once

#include <cstdint>

#include "common/base/rng.h"

namespace cohort {

// A group's id. Stable over retries and resumes; the key of its random numbers.
using GroupId = uint64_t;

// Why a group was asked for. Values are part of the wire format (session.proto, Purpose).
enum class Purpose : uint8_t { kTrain = 1, kEval = 2, kGreedyBaseline = 3, kVote = 4 };

// `ordinal` counts prompts over the whole run, per purpose. Never 0.
inline GroupId MakeGroupId(uint64_t run_seed, uint64_t ordinal, Purpose purpose) {
  const auto x = Philox(run_seed, static_cast<uint64_t>(purpose), ordinal);
  const uint64_t id = (uint64_t{x[0]} << 32) | x[1];
  return id == 0 ? 1 : id;
}

}  // namespace cohort

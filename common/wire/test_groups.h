// Groups for tests: seeded, with every optional field sometimes there. Tests and benchmarks only.
#pragma once

#include <cmath>
#include <string>

#include "common/base/rng.h"
#include "common/rl/group.h"

namespace cohort {

inline Row RandomRow(CounterRng& rng, int tokens, bool optional_arrays) {
  Row row;
  int64_t version = rng.Between(0, 3);
  for (int t = 0; t < tokens; ++t) {
    if (rng.Below(16) == 0) ++version;
    row.tokens.push_back(static_cast<int32_t>(rng.Below(49152)));
    row.logprobs.push_back(static_cast<float>(std::log(rng.Uniform())));
    row.mask.push_back(optional_arrays && rng.Below(8) == 0 ? 0 : 1);
    row.versions.push_back(version);
    if (optional_arrays) {
      row.truncated_logprobs.push_back(static_cast<float>(std::log(rng.Uniform())));
      row.entropy.push_back(static_cast<float>(rng.Uniform()));
    }
  }
  row.finish = static_cast<FinishReason>(rng.Between(1, 3));
  row.rewards = {static_cast<float>(rng.Uniform()), 0.0f};
  row.reward = rng.Uniform();
  if (optional_arrays) row.truth = 1.0f;
  row.no_answer = optional_arrays;
  return row;
}

inline Group RandomGroup(uint64_t seed, int rows, int tokens) {
  CounterRng rng(seed);
  Group group;
  group.id = rng.Next64() | 1;
  group.ordinal = rng.Below(1000);
  group.source = "addition-1";
  group.worker = "w-1";
  for (int i = 0; i < 45; ++i) group.prompt.push_back(static_cast<int32_t>(rng.Below(49152)));
  group.reward_names = {"task", "format"};
  for (int i = 0; i < rows; ++i) {
    group.rows.push_back(RandomRow(rng, tokens, /*optional_arrays=*/i % 2 == 1));
    group.rows.back().unscorable = i % 5 == 4;
    if (i % 5 == 4) group.rows.back().note = "too slow";
  }
  group.start_version = 1;
  group.end_version = 4;
  group.timings = {0.25, 0.5, 1.0, 2.0};
  group.rows.back().role = RowRole::kVote;
  group.signals = {{"majority_ratio", 0.5}, {"semantic_entropy", 1.25}};
  return group;
}

}  // namespace cohort

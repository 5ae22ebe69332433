// The sample plans of a training prompt: its group's rows, then what the method samples besides:
// the exits of a serial group, answers that only vote, the greedy baseline.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "common/config/config.h"
#include "common/rl/group.h"
#include "common/text/tokenizer.h"

namespace cohort {

// Immutable after Create, thread-safe.
class RowPlanner {
 public:
  // `config` is resolved.
  static absl::StatusOr<RowPlanner> Create(const v1::RunConfig& config, const Tokenizer& tokenizer);

  // Pure: an ordinal always gives the same plans. Rows that are trained on come first.
  std::vector<SamplePlan> For(uint64_t ordinal) const;
  // Tokens after the prompt that a row can hold.
  int64_t LongestRow() const;

 private:
  RowPlanner() = default;

  uint64_t seed_ = 0;
  SamplePlan plain_;
  SamplePlan exit_;  // of a serial group; its share of the parent is drawn for each
  SamplePlan greedy_;
  size_t rows_ = 0;
  bool serial_ = false;
  size_t votes_ = 0;  // beyond the rows
  bool baseline_ = false;
};

}  // namespace cohort

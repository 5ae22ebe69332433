// How the prompts of an earlier run went: the groups.jsonl of its folder, one line for each trained
// group, {"ordinal", "prompt", "accuracy"} and more. What selects prompts by history reads it
// (algorithms.md 8.1, 8.2).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace cohort {

// Immutable after Read.
class PromptHistory {
 public:
  // InvalidArgument names the line.
  static absl::StatusOr<PromptHistory> Read(const std::string& path);

  // Accuracies by epoch of the prompt with this PromptKey; nothing where an epoch lacks it, empty
  // where the run never trained it. epoch_size > 0: so many prompts are an epoch; 0: the n-th visit
  // of a prompt is its n-th epoch.
  std::vector<std::optional<double>> Curve(const std::string& key, uint64_t epoch_size) const;

 private:
  struct Visit {
    uint64_t ordinal = 0;
    double accuracy = 0;
  };
  std::map<std::string, std::vector<Visit>> visits_;  // in ordinal order
};

}  // namespace cohort

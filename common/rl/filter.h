// Which prompts and rows of a rollout batch are trained on, and which prompts of a pool
// (algorithms.md section 8, 6.5). Pure decisions on accuracies, taken once for all ranks.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/rl/algorithm_spec.h"

namespace cohort {

enum class PromptVerdict { kKeep, kAllRight, kAllWrong, kOutOfBand };

// One group's fate. `accuracy` holds its scorable rows' correctness in [0, 1], never a shaped
// reward. An empty group and one that `dynamic` finds at or outside a bound is dropped.
PromptVerdict JudgePrompt(const PromptFilterSpec& spec, absl::Span<const double> accuracy);

struct PromptSelection {
  std::vector<size_t> kept;     // indices in arrival order, at most `wanted`
  std::vector<size_t> surplus;  // passed the filter but beyond `wanted`
  bool need_more = false;       // fewer than `wanted` passed
};

// A whole list of groups at once, in arrival order: the batch that the dispatcher collects, which
// asks JudgePrompt group by group. For simulations and test vectors. wanted <= 0: as many as pass.
PromptSelection SelectPrompts(const PromptFilterSpec& spec,
                              absl::Span<const std::vector<double>> accuracy, int64_t wanted);

// Indices (ascending) of the k rows kept by topk: shortest, or highest reward per token. Ties go to
// the lower index.
std::vector<size_t> TopRows(const RowFilterSpec& spec, absl::Span<const double> rewards,
                            absl::Span<const int64_t> lengths);

// 1-shot RLVR: population standard deviation of each prompt's accuracy over epochs, and the prompts
// ranked by it, highest first, ties in data order.
struct VarianceRanking {
  std::vector<double> std;
  std::vector<size_t> ranking;
};
VarianceRanking RankByVariance(absl::Span<const std::vector<double>> history);

// LIM score of each prompt's learning curve against the mean curve; 1 where the mean curve is 1
// throughout. Curves have equal lengths.
std::vector<double> LimScores(absl::Span<const std::vector<double>> curves);

}  // namespace cohort

// Accuracy on held-out prompts with the current weights, sampled by the run's own workers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/dispatch/dispatcher.h"
#include "common/rl/algorithm_spec.h"
#include "services/learner/prompt_feed.h"

namespace cohort {

struct EvalResult {
  std::string name;        // of the evaluation source
  double accuracy = 0;     // mean over scorable rows
  int64_t rows = 0;        // scorable
  int64_t unscorable = 0;  // rows without a verdict, left out
  int64_t failed = 0;      // prompts that no worker could sample
  double mean_length = 0;  // response tokens
};

// Blocks until every prompt came back, or none did for as long as `patience`: DeadlineExceeded.
// Cancelled: as Dispatcher::WaitEval.
absl::StatusOr<std::vector<EvalResult>> Evaluate(const PromptMaker& prompts,
                                                 const RewardScaleSpec& scale,
                                                 Dispatcher& dispatcher, absl::Duration patience);

// Results of groups in the order of the prompts that were asked for.
std::vector<EvalResult> ScoreEvaluation(const std::vector<PromptMaker::EvalSet>& sets,
                                        const std::vector<Group>& groups,
                                        const RewardScaleSpec& scale);

}  // namespace cohort

// From the resolved configuration to the options of the parts that the learner is made of. Pure.
#pragma once

#include "absl/status/statusor.h"
#include "common/config/config.h"
#include "common/dispatch/dispatcher.h"
#include "common/train/trainer.h"

namespace cohort {

absl::StatusOr<TrainerOptions> MakeTrainerOptions(const v1::RunConfig& config);
// Whether prompts have room beside the new tokens of training and of evaluation in a context of
// `max_context` tokens, the model's own. InvalidArgument names the field and the numbers.
absl::Status CheckContext(const v1::RunConfig& config, int64_t max_context);
Dispatcher::Options MakeDispatcherOptions(const v1::RunConfig& config);
// A group without a scorable row, and what algorithm.filter drops by accuracy (never by the shaped
// reward).
GroupFilter MakeGroupFilter(const AlgorithmSpec& spec);

// rollout.length_schedule: tokens per row of groups that are leased for the batch of `step` (from
// 0).
int32_t LengthLimitAt(const v1::RolloutSection& rollout, int64_t step);

}  // namespace cohort

// From the resolved configuration to the options of the parts that the learner is made of. Pure.
#pragma once

#include "absl/status/statusor.h"
#include "common/config/config.h"
#include "common/dispatch/dispatcher.h"
#include "common/train/trainer.h"

namespace cohort {

absl::StatusOr<TrainerOptions> MakeTrainerOptions(const v1::RunConfig& config);
Dispatcher::Options MakeDispatcherOptions(const v1::RunConfig& config);
// A group without a scorable row, and what algorithm.filter drops by accuracy (never by the shaped
// reward).
GroupFilter MakeGroupFilter(const AlgorithmSpec& spec);

}  // namespace cohort

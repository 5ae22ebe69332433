// The reward components of a resolved configuration.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "cohort/v1/config.pb.h"
#include "common/rewards/group_scorer.h"
#include "common/rpc/security.h"

namespace cohort {

// Without reward.sources (objective.entropy_direct) the data source's own reward, for evaluation.
// Errors name the field: no interpreter for code_tests, a pattern that does not compile, ...
// `security` is that of reward services.
absl::StatusOr<std::unique_ptr<GroupScorer>> MakeRewards(
    const v1::RunConfig& config, const std::shared_ptr<const Security>& security = nullptr);

}  // namespace cohort

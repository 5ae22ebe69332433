// The reward components of a resolved configuration.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "cohort/v1/config.pb.h"
#include "common/rewards/group_scorer.h"
#include "common/rpc/security.h"

namespace cohort {

// What the configuration asks for, made ready: services are known, reward models are loaded.
struct RewardPlan {
  std::vector<ScoredComponent> components;
  GroupScorerOptions options;
};

// Without reward.sources (objective.entropy_direct) no components: the data source's own reward
// judges evaluations. Errors name the field. `security` is that of reward services.
absl::StatusOr<RewardPlan> PlanRewards(const v1::RunConfig& config,
                                       const std::shared_ptr<const Security>& security = nullptr);

// The plan as a scorer. Errors besides: no interpreter for code_tests, a pattern that does not
// compile, ...
absl::StatusOr<std::unique_ptr<GroupScorer>> MakeRewards(
    const v1::RunConfig& config, const std::shared_ptr<const Security>& security = nullptr);

}  // namespace cohort

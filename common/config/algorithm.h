// The `algorithm` section as the plain data that common/rl works on.
#pragma once

#include "absl/status/statusor.h"
#include "common/config/config.h"
#include "common/rl/algorithm_spec.h"

namespace cohort {

// Expects a resolved configuration. The reward sources `task` and `rule_integer` have no name of
// their own in algorithms.md and stand as rule_math (any rule-based verifier).
// InvalidArgument for a name that common/rl does not know.
absl::StatusOr<AlgorithmSpec> ToAlgorithmSpec(const v1::RunConfig& config);

AlgorithmContext ToAlgorithmContext(const v1::RunConfig& config);

}  // namespace cohort

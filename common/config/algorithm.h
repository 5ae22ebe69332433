// The `algorithm` section as the plain data that common/rl works on.
#pragma once

#include <optional>

#include "absl/status/statusor.h"
#include "common/config/config.h"
#include "common/rl/algorithm_spec.h"
#include "common/rl/em_inf.h"

namespace cohort {

// Expects a resolved configuration. `task`, `service` and the rules that algorithms.md has no name
// for stand as rule_math.
// InvalidArgument for a name that common/rl does not know.
absl::StatusOr<AlgorithmSpec> ToAlgorithmSpec(const v1::RunConfig& config);

// objective.inference_entropy: how workers sharpen logits; unset: they do not.
std::optional<EmInfOptions> LogitSharpening(const v1::RunConfig& config);

AlgorithmContext ToAlgorithmContext(const v1::RunConfig& config);

}  // namespace cohort

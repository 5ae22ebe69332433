// Values that the schema names and this version does not run yet.
#pragma once

#include <string>
#include <vector>

#include "common/config/config.h"

namespace cohort {

// Names of the built-in verifiers, for data.sources[].reward and algorithm.reward.sources[].name
// (which also knows `task`).
std::vector<std::string> VerifierChoices();

// One entry per field that is set to such a value, e.g.
// "algorithm.adv.baseline: greedy is not available yet; available: none, group_mean, ...".
// Expects a resolved configuration.
std::vector<std::string> NotAvailable(const v1::RunConfig& config);

}  // namespace cohort

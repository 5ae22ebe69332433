// Names of the enumerators of algorithm_spec.h as they stand in configuration files.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/rl/algorithm_spec.h"

namespace cohort {

// Names of all values of E in order, separated by ", " for messages. Defined for every enum of
// algorithm_spec.h.
template <typename E>
std::string AllNames();

// "group_mean" for AdvantageBaseline::kGroupMean.
template <typename E>
std::string NameOf(E value);

// The inverse; the error lists the names there are. `field` is named in the message.
template <typename E>
absl::StatusOr<E> ParseName(absl::string_view field, absl::string_view name);

}  // namespace cohort

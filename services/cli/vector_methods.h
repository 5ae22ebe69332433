// From a vector's JSON inputs to the JSON that its expectation is compared with. Only conversion
// happens here; the numbers come from common/rl, common/objective and common/rewards. A malformed
// input throws std::exception.
#pragma once

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/rl/advantage.h"

namespace cohort {

using Json = nlohmann::json;
using VectorMethod = std::function<Json(const Json& inputs)>;
using VectorMethods = std::map<std::string, VectorMethod>;

// Disjoint tables, together all methods.
VectorMethods AdvantageVectors();  // adv.*, prime.*
VectorMethods LossVectors();       // loss.*, e2e, kl.*, agg*, offpolicy.*, analysis.clip_bias
VectorMethods LogitVectors();      // entropy*, logprob, em.loss, em_inf.step, logit_moments
VectorMethods RewardVectors();     // reward.*
VectorMethods DataVectors();       // filter.*, select.*, metric.*, mask.*, extract.*

using Matrix = std::vector<std::vector<double>>;
using MaskMatrix = std::vector<std::vector<uint8_t>>;

// Rewards given per group ([group][n], null: unscorable) as rows in group order.
struct GroupedRewards {
  std::vector<AdvantageRow> rows;
  std::vector<size_t> group_sizes;
};
GroupedRewards ReadGroups(const Json& rewards);
// One row; null: unscorable.
AdvantageRow ReadRow(int64_t group, const Json& reward);
// Of an unscorable row nothing is trained (algorithms.md 2.7): its mask becomes 0, and rows look at
// `mask`, which must outlive them.
void SetMasks(MaskMatrix* mask, std::vector<AdvantageRow>* rows);
// Values per row, nested as the groups were.
Json NestByGroup(const GroupedRewards& groups, const std::vector<double>& values);

// Advantages of an `adv` object {kind, scale, ddof, eps, n1, ...}.
AdvantageSpec ReadAdvantageSpec(const std::string& kind, const Json& options);

// The value of an absl::StatusOr, or an exception with its message.
template <typename T>
T OrThrow(T value) {
  return value;
}
template <typename T>
T OrThrow(absl::StatusOr<T> value) {
  if (!value.ok()) throw std::runtime_error(std::string(value.status().message()));
  return *std::move(value);
}

}  // namespace cohort

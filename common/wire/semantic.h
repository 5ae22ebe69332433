// The training-semantic part of a configuration: what learner and worker must agree on before a
// worker may serve. Name -> value, e.g. {"rollout.temperature", "1"}, {"model.sha256", "..."}; made
// from SemanticFields() of common/config.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cohort/v1/session.pb.h"

namespace cohort {

using SemanticMap = std::map<std::string, std::string>;

// The fields that differ or are known to one side only ("(absent)"), in name order.
std::vector<v1::FieldDifference> DifferingFields(const SemanticMap& learner,
                                                 const SemanticMap& worker);

// "rollout.temperature: learner has 1, worker has 0.7; ..." in one line.
std::string DescribeDifferences(const std::vector<v1::FieldDifference>& differences);

}  // namespace cohort

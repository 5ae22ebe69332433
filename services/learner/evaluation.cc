#include "services/learner/evaluation.h"

#include <algorithm>
#include <cmath>

#include "absl/time/clock.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/train/batch.h"
#include "services/learner/waiting.h"

namespace cohort {
namespace {

void AddGroup(const Group& group, const RewardScaleSpec& scale, EvalResult* result) {
  if (group.rows.empty()) {
    ++result->failed;
    return;
  }
  for (const Row& row : group.rows) {
    if (row.unscorable || row.finish == FinishReason::kAborted) {
      ++result->unscorable;
      continue;
    }
    const double truth = RowTruth(group, row, scale);
    ++result->rows;
    result->accuracy += std::isnan(truth) ? 0 : truth;
    result->mean_length += static_cast<double>(row.tokens.size());
  }
}

}  // namespace

std::vector<EvalResult> ScoreEvaluation(const std::vector<PromptMaker::EvalSet>& sets,
                                        const std::vector<Group>& groups,
                                        const RewardScaleSpec& scale) {
  std::vector<EvalResult> results;
  size_t next = 0;
  for (const PromptMaker::EvalSet& set : sets) {
    EvalResult result;
    result.name = set.name;
    for (size_t i = 0; i < set.items.size() && next < groups.size(); ++i) {
      AddGroup(groups[next++], scale, &result);
    }
    if (result.rows > 0) {
      result.accuracy /= static_cast<double>(result.rows);
      result.mean_length /= static_cast<double>(result.rows);
    }
    results.push_back(std::move(result));
  }
  return results;
}

absl::StatusOr<std::vector<EvalResult>> Evaluate(const PromptMaker& prompts,
                                                 const RewardScaleSpec& scale,
                                                 Dispatcher& dispatcher, absl::Duration patience) {
  std::vector<PromptItem> items;
  for (const PromptMaker::EvalSet& set : prompts.evaluation()) {
    items.insert(items.end(), set.items.begin(), set.items.end());
  }
  if (items.empty()) return std::vector<EvalResult>();
  dispatcher.BeginEval(std::move(items));
  COHORT_ASSIGN_OR_RETURN(const std::vector<Group> groups,
                          WaitWhileGroupsArrive(dispatcher, patience, [&](absl::Time d) {
                            return dispatcher.WaitEval(d);
                          }));
  return ScoreEvaluation(prompts.evaluation(), groups, scale);
}

}  // namespace cohort

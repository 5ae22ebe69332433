#include "common/dispatch/group_check.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace cohort {
namespace {

absl::Status Malformed(const Group& group, size_t row, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("group of ordinal ", group.ordinal, " from ",
                                                 group.worker, ", row ", row, ": ", what));
}

bool AllFinite(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(),
                     [](float value) { return std::isfinite(value); });
}

// The temperature that log-probs of what is trained are divided by: 1 when those rows are greedy.
float PlannedTemperature(const PromptItem& item) {
  for (const SamplePlan& plan : item.plans) {
    if (plan.role == RowRole::kTrain) return plan.temperature > 0 ? plan.temperature : 1.0f;
  }
  return item.plans[0].temperature > 0 ? item.plans[0].temperature : 1.0f;
}

absl::Status CheckTokens(const Group& group, size_t index, const GroupLimits& limits) {
  const Row& row = group.rows[index];
  for (int32_t token : row.tokens) {
    if (token < 0 || (limits.vocab_size > 0 && token >= limits.vocab_size)) {
      return Malformed(
          group, index,
          absl::StrCat("token ", token, " is not in the vocabulary of ", limits.vocab_size));
    }
  }
  for (int64_t version : row.versions) {
    if (version < limits.oldest_version || version > limits.newest_version) {
      return Malformed(group, index,
                       absl::StrCat("sampled with weight version ", version, ", expected ",
                                    limits.oldest_version, " to ", limits.newest_version));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckRow(const Group& group, size_t index, const SamplePlan& plan,
                      const GroupLimits& limits) {
  const Row& row = group.rows[index];
  const size_t count = row.tokens.size();
  if (row.logprobs.size() != count || row.mask.size() != count || row.versions.size() != count ||
      (!row.truncated_logprobs.empty() && row.truncated_logprobs.size() != count) ||
      (!row.entropy.empty() && row.entropy.size() != count)) {
    return Malformed(
        group, index,
        absl::StrCat("arrays of different lengths: ", count, " tokens, ", row.logprobs.size(),
                     " log-probs, ", row.mask.size(), " mask, ", row.versions.size(), " versions"));
  }
  const size_t limit = static_cast<size_t>(std::max(plan.max_new_tokens, 0)) + plan.forced.size();
  if (count > limit) {
    return Malformed(group, index, absl::StrCat(count, " tokens where the plan allows ", limit));
  }
  if (row.parent < -1 || row.parent >= static_cast<int32_t>(index) || row.parent != plan.parent) {
    return Malformed(group, index, absl::StrCat("parent ", row.parent, ", planned ", plan.parent));
  }
  const size_t parent_tokens =
      row.parent < 0 ? 0 : group.rows[static_cast<size_t>(row.parent)].tokens.size();
  if (row.parent_tokens < 0 || static_cast<size_t>(row.parent_tokens) > parent_tokens) {
    return Malformed(
        group, index,
        absl::StrCat("parent_tokens ", row.parent_tokens, " of a parent with ", parent_tokens));
  }
  if (row.role != plan.role) {
    return Malformed(group, index,
                     absl::StrCat("role ", static_cast<int>(row.role), ", planned ",
                                  static_cast<int>(plan.role)));
  }
  if (row.rewards.size() != group.reward_names.size()) {
    return Malformed(group, index,
                     absl::StrCat(row.rewards.size(), " rewards for ", group.reward_names.size(),
                                  " components"));
  }
  if (!AllFinite(row.logprobs) || !AllFinite(row.truncated_logprobs)) {
    return Malformed(group, index, "a log-prob is not finite");
  }
  if (!AllFinite(row.entropy)) return Malformed(group, index, "an entropy is not finite");
  if (!row.unscorable && (!std::isfinite(row.reward) || !AllFinite(row.rewards))) {
    return Malformed(group, index, "its reward is not finite and it is not marked unscorable");
  }
  return CheckTokens(group, index, limits);
}

}  // namespace

absl::Status CheckGroup(const Group& group, GroupId id, const PromptItem& item,
                        const GroupLimits& limits) {
  if (group.id != id || group.ordinal != item.ordinal || group.purpose != item.purpose) {
    return absl::InvalidArgumentError(absl::StrCat("group ", absl::Hex(group.id), " from ",
                                                   group.worker, " says ordinal ", group.ordinal,
                                                   ", leased was ordinal ", item.ordinal));
  }
  if (group.prompt != item.prompt_ids) {
    return absl::InvalidArgumentError(absl::StrCat("group of ordinal ", group.ordinal, " from ",
                                                   group.worker,
                                                   ": its prompt is not the leased one"));
  }
  if (group.rows.size() != item.plans.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("group of ordinal ", group.ordinal, " from ", group.worker, ": ",
                     group.rows.size(), " rows where ", item.plans.size(), " were planned"));
  }
  const std::string who = absl::StrCat("group of ordinal ", group.ordinal, " from ", group.worker);
  if (const float planned = PlannedTemperature(item); group.temperature != planned) {
    return absl::InvalidArgumentError(
        absl::StrCat(who, ": log-probs at temperature ", group.temperature, ", planned ", planned));
  }
  if (group.start_version < limits.oldest_version || group.end_version > limits.newest_version ||
      group.start_version > group.end_version) {
    return absl::InvalidArgumentError(
        absl::StrCat(who, ": weight versions ", group.start_version, " to ", group.end_version,
                     ", expected within ", limits.oldest_version, " to ", limits.newest_version));
  }
  for (const auto& [name, value] : group.signals) {
    if (std::isfinite(value)) continue;
    return absl::InvalidArgumentError(absl::StrCat(who, ": signal ", name, " is not finite"));
  }
  for (size_t row = 0; row < group.rows.size(); ++row) {
    COHORT_RETURN_IF_ERROR(CheckRow(group, row, item.plans[row], limits));
  }
  return absl::OkStatus();
}

}  // namespace cohort

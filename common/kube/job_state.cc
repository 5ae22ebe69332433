#include "common/kube/job_state.h"

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"

namespace cohort {
namespace {

using nlohmann::json;

const json& At(const json& object, const char* name) {
  static const json kNothing;
  return object.is_object() && object.contains(name) ? object[name] : kNothing;
}

std::string TextAt(const json& object, const char* name) {
  const json& value = At(object, name);
  return value.is_string() ? value.get<std::string>() : "";
}

}  // namespace

JobState JobStateOf(const json& job) {
  constexpr size_t kMaxReason = 300;
  JobState state;
  state.uid = TextAt(At(job, "metadata"), "uid");
  const json& suspend = At(At(job, "spec"), "suspend");
  if (suspend.is_boolean() && suspend.get<bool>()) state.kind = JobState::Kind::kSuspended;
  const json& conditions = At(At(job, "status"), "conditions");
  for (const json& condition : conditions.is_array() ? conditions : json::array()) {
    if (TextAt(condition, "status") != "True") continue;
    const std::string type = TextAt(condition, "type");
    if (type == "Complete") state.kind = JobState::Kind::kComplete;
    if (type != "Failed") continue;
    state.kind = JobState::Kind::kFailed;
    state.reason = absl::CHexEscape(TextAt(condition, "message").substr(0, kMaxReason));
  }
  // A Job that goes away makes room for its successor.
  if (!At(At(job, "metadata"), "deletionTimestamp").is_null()) {
    state.kind = JobState::Kind::kDeleted;
  }
  return state;
}

}  // namespace cohort

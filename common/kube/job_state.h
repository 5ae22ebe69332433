// What the status of a Kubernetes Job says. Pure.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace cohort {

struct JobState {
  enum class Kind { kRunning, kSuspended, kDeleted, kComplete, kFailed };
  Kind kind = Kind::kRunning;
  std::string uid;     // of this Job: a replaced one has another
  std::string reason;  // of its failure

  bool finished() const { return kind == Kind::kComplete || kind == Kind::kFailed; }
};

// Whatever is absent or of another type counts as not said: the Job runs.
JobState JobStateOf(const nlohmann::json& job);

}  // namespace cohort

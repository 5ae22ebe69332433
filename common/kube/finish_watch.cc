#include "common/kube/finish_watch.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/kube/job_state.h"
#include "common/rpc/backoff.h"

namespace cohort {
namespace {

absl::Status CheckName(const char* what, const std::string& name) {
  if (IsKubeName(name)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, ": expected the name of a Kubernetes object, found \"", name, "\""));
}

Backoff::Options Retries(const FinishWatchOptions& options) {
  Backoff::Options retries;
  retries.initial = absl::Seconds(1);
  retries.limit = options.retry_limit;
  return retries;
}

class Watch {
 public:
  Watch(const KubeClient& client, const FinishWatchOptions& options)
      : client_(client),
        options_(options),
        job_path_(
            absl::StrCat("/apis/batch/v1/namespaces/", options.name_space, "/jobs/", options.job)),
        scale_path_(absl::StrCat("/apis/apps/v1/namespaces/", options.name_space, "/deployments/",
                                 options.deployment, "/scale")),
        retries_(Retries(options), static_cast<uint64_t>(getpid())),
        polls_({.initial = options.poll, .limit = options.poll}, static_cast<uint64_t>(getpid())) {}

  absl::Status Run() {
    Say(absl::StrCat("waits for the end of Job ", options_.job, " in namespace ",
                     options_.name_space));
    while (true) {
      const absl::StatusOr<nlohmann::json> job = client_.Get(job_path_);
      const bool finished = Note(job);
      if (finished) return ScaleToZero();
      COHORT_RETURN_IF_ERROR(Pause(job.ok() || absl::IsNotFound(job.status())));
    }
  }

 private:
  // Whether it is certain that the Job has ended.
  bool Note(const absl::StatusOr<nlohmann::json>& job) {
    if (!job.ok()) {
      seen_finished_.clear();
      Say(absl::IsNotFound(job.status())
              ? absl::StrCat("Job ", options_.job, " is not there: waits for it")
              : std::string(job.status().message()));
      return false;
    }
    const JobState state = JobStateOf(*job);
    Say(Describe(state));
    const bool again = state.finished() && seen_finished_ == state.uid + ".";
    seen_finished_ = state.finished() ? state.uid + "." : "";
    return again;
  }

  std::string Describe(const JobState& state) const {
    const std::string job = absl::StrCat("Job ", options_.job);
    switch (state.kind) {
      case JobState::Kind::kComplete:
        return absl::StrCat(job, " is complete");
      case JobState::Kind::kFailed:
        return absl::StrCat(job, " has failed: ", state.reason);
      case JobState::Kind::kSuspended:
        return absl::StrCat(job, " is suspended");
      case JobState::Kind::kDeleted:
        return absl::StrCat(job, " is being deleted");
      case JobState::Kind::kRunning:
        break;
    }
    return absl::StrCat(job, " runs");
  }

  absl::Status ScaleToZero() {
    while (true) {
      const absl::Status scaled = client_.Patch(scale_path_, {{"spec", {{"replicas", 0}}}});
      if (scaled.ok()) {
        Say(absl::StrCat("Deployment ", options_.deployment, " is scaled to 0"));
        return absl::OkStatus();
      }
      if (absl::IsNotFound(scaled)) {
        Say(absl::StrCat("Deployment ", options_.deployment, " is not there: nothing to do"));
        return absl::OkStatus();
      }
      Say(std::string(scaled.message()));
      COHORT_RETURN_IF_ERROR(Pause(/*answered=*/false));
    }
  }

  absl::Status Pause(bool answered) {
    if (answered) retries_.Reset();
    const absl::Duration pause = answered ? polls_.Next() : retries_.Next();
    return options_.pause(pause) ? absl::CancelledError("stopped") : absl::OkStatus();
  }

  // Once, until it is something else.
  void Say(const std::string& text) {
    if (text == said_) return;
    COHORT_LOG(INFO) << text;
    said_ = text;
  }

  const KubeClient& client_;
  const FinishWatchOptions& options_;
  const std::string job_path_, scale_path_;
  Backoff retries_, polls_;
  std::string seen_finished_;  // uid and a dot, of the Job that had ended at the last look
  std::string said_;
};

}  // namespace

absl::Status WatchForFinish(const KubeClient& client, const FinishWatchOptions& options) {
  COHORT_RETURN_IF_ERROR(CheckName("--job", options.job));
  COHORT_RETURN_IF_ERROR(CheckName("--deployment", options.deployment));
  COHORT_RETURN_IF_ERROR(CheckName("--namespace", options.name_space));
  return Watch(client, options).Run();
}

}  // namespace cohort

// Waits for the end of a Job and then scales a Deployment to 0: the workers of a run that is
// finished or given up make room.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/kube/kube_client.h"

namespace cohort {

struct FinishWatchOptions {
  std::string job;
  std::string deployment;
  std::string name_space;
  absl::Duration poll = absl::Seconds(5);
  absl::Duration retry_limit = absl::Seconds(30);  // back-off when the API does not answer
  // Sleeps at most so long; true: this process is to stop.
  std::function<bool(absl::Duration)> pause;
};

// OK: done, or the Deployment is not there any more. A Job that is absent (it is replaced during an
// upgrade), suspended, or being deleted is waited for, and so is an API that does not answer; both
// are said in the log. Its end counts when it is seen twice in a row of the same Job. Cancelled:
// told to stop. InvalidArgument: a name that is none.
absl::Status WatchForFinish(const KubeClient& client, const FinishWatchOptions& options);

}  // namespace cohort

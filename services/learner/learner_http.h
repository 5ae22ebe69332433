// The learner's HTTP port from its first moments on: /healthz answers while the model is loaded and
// the ranks are waited for, and /readyz says which of them it is. What the run shows comes later.
#pragma once

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/telemetry/http_host.h"
#include "common/telemetry/metrics.h"

namespace cohort {

// Thread-safe.
class LearnerHttp {
 public:
  // `listen` and errors as in HttpHost::Start.
  static absl::StatusOr<std::unique_ptr<LearnerHttp>> Start(const std::string& listen);
  ~LearnerHttp();
  LearnerHttp(const LearnerHttp&) = delete;
  LearnerHttp& operator=(const LearnerHttp&) = delete;

  const std::string& address() const { return host_->address(); }

  // /readyz answers 503 with this, until Show.
  void WaitFor(const std::string& what);
  // The pages, and with `metrics` the series, are these from now on. `metrics` may be null: those
  // of the program alone.
  void Show(HttpCallbacks pages, const MetricRegistry* metrics);
  // Not ready again, because of `why`. Waits until no page of Show is being made any more; what
  // Show was given may end then.
  void Hide(const std::string& why);

 private:
  LearnerHttp() = default;
  absl::Status Healthy() const;
  absl::Status Ready() const;
  std::string StatusJson() const;
  std::string StatusPage() const;
  std::string Metrics() const;

  const MetricRegistry program_;
  mutable absl::Mutex mu_;
  std::string waits_for_ ABSL_GUARDED_BY(mu_) = "the learner starts";
  bool shown_ ABSL_GUARDED_BY(mu_) = false;
  HttpCallbacks pages_ ABSL_GUARDED_BY(mu_);
  const MetricRegistry* metrics_ ABSL_GUARDED_BY(mu_) = nullptr;
  std::unique_ptr<HttpHost> host_;  // ends first
};

}  // namespace cohort

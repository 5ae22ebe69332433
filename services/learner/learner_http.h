// The learner's HTTP port from its first moments on: /healthz answers while the model is loaded and
// the ranks are waited for, and /readyz says which of them it is. What the run shows comes later.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/telemetry/http_host.h"
#include "common/telemetry/metrics.h"
#include "common/telemetry/scrape_watch.h"

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
  // Not ready again, because of `why`, and no page of Show is made any more when this returns. The
  // series stay.
  void Hide(const std::string& why);
  // Waits as ScrapeWatch does for those who read the series.
  void WaitForLastScrapes(absl::Duration limit, const std::function<bool()>& stopped) {
    scrapes_.WaitForLast(limit, stopped);
  }
  // The series go, too: what Show was given may end once this has returned.
  void Forget();

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
  mutable ScrapeWatch scrapes_;
  std::unique_ptr<HttpHost> host_;  // ends first
};

}  // namespace cohort

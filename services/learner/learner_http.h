// The learner's HTTP ports from its first moments on: /healthz answers while the model is loaded
// and the ranks are waited for, and /readyz says which of them it is. What the run shows comes
// later. The page and /status are on a port of their own where metrics and checks are served beyond
// this machine.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "cohort/v1/session.pb.h"
#include "common/telemetry/http_host.h"
#include "common/telemetry/metrics.h"
#include "common/telemetry/scrape_watch.h"

namespace cohort {

// What the ports show of a run. Called as those of HttpCallbacks; any may be empty.
struct LearnerShown {
  std::function<absl::Status()> healthy;
  std::function<absl::Status()> ready;
  std::function<void(v1::StatusReply*)> status;  // fills all but the addresses
};

// Where the page listens: at `asked`; without it at `http_listen` where that is a loopback address,
// else at any free port of one.
std::string PageListen(const std::string& http_listen, const std::string& asked);

// Thread-safe.
class LearnerHttp {
 public:
  // `page_listen`: the same as `listen`: one port for both; empty: no page. Errors as in
  // HttpHost::Start.
  static absl::StatusOr<std::unique_ptr<LearnerHttp>> Start(const std::string& listen,
                                                            const std::string& page_listen);
  ~LearnerHttp();
  LearnerHttp(const LearnerHttp&) = delete;
  LearnerHttp& operator=(const LearnerHttp&) = delete;

  const std::string& address() const { return host_->address(); }
  const std::string& page_address() const { return page_address_; }  // empty: no page

  // /readyz answers 503 with this, until Show.
  void WaitFor(const std::string& what);
  // The ports show this from now on, and with `metrics` its series. `metrics` may be null: those of
  // the program alone.
  void Show(LearnerShown shown, const MetricRegistry* metrics);
  // Not ready again, because of `why`, and nothing of Show is asked any more when this returns. The
  // series stay, and so does the status as it is now.
  void Hide(const std::string& why);
  // Waits as ScrapeWatch does for those who read the series.
  void WaitForLastScrapes(absl::Duration limit, const std::function<bool()>& stopped) {
    scrapes_.WaitForLast(limit, stopped);
  }
  // The series go, too: what Show was given may end once this has returned.
  void Forget();

 private:
  LearnerHttp() = default;
  absl::Status StartPorts(const std::string& listen, const std::string& page_listen);
  absl::Status Healthy() const;
  absl::Status Ready() const;
  v1::StatusReply Status() const;
  std::string Metrics() const;

  const MetricRegistry program_;
  mutable absl::Mutex mu_;
  std::string waits_for_ ABSL_GUARDED_BY(mu_) = "the learner starts";
  bool is_shown_ ABSL_GUARDED_BY(mu_) = false;
  LearnerShown shown_ ABSL_GUARDED_BY(mu_);
  v1::StatusReply last_ ABSL_GUARDED_BY(mu_);  // of what was hidden
  const MetricRegistry* metrics_ ABSL_GUARDED_BY(mu_) = nullptr;
  mutable ScrapeWatch scrapes_;
  std::string page_address_;                    // constant once started
  std::unique_ptr<HttpHost> host_, page_host_;  // end first
};

}  // namespace cohort

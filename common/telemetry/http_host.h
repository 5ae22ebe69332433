// The HTTP port that every Cohort process serves for people and machines that watch it:
//   /metrics   Prometheus exposition text
//   /healthz   200 while the process works, else 503 with the reason (liveness)
//   /readyz    200 when it can do its job, else 503 with what it waits for (readiness)
//   /status    JSON;  /  the same as a page
// Read-only, small, for trusted networks; nothing here can stop or change a run.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/telemetry/metrics.h"

namespace cohort {

// Called from the server's threads: thread-safe and quick. Any may be empty.
struct HttpCallbacks {
  std::function<absl::Status()> healthy;
  std::function<absl::Status()> ready;
  std::function<std::string()> status_json;
  std::function<std::string()> status_html;
};

// Owns its threads. Thread-safe.
class HttpHost {
 public:
  // `listen` is HOST:PORT, port 0: any free one. `registry` must outlive the host. AlreadyExists or
  // Unavailable when the port cannot be had, with what to set instead.
  static absl::StatusOr<std::unique_ptr<HttpHost>> Start(const std::string& listen,
                                                         const MetricRegistry* registry,
                                                         HttpCallbacks callbacks = {});
  ~HttpHost();  // Stops.

  // Ends the listening thread and joins it. Idempotent.
  void Stop();

  const std::string& address() const;  // HOST:PORT with the actual port

 private:
  HttpHost();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cohort

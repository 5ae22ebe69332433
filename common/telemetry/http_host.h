// The HTTP port that every Cohort process serves for people and machines that watch it:
//   /metrics   Prometheus exposition text
//   /healthz   200 while the process works, else 503 with the reason (liveness)
//   /readyz    200 when it can do its job, else 503 with what it waits for (readiness)
// and, on the same port or one of its own:
//   /status    the run as JSON;  /  the same as a page
// Read-only and small; nothing here can stop or change a run.
//
// /status and / are answered to who asked for localhost, an IP address or this host's own name: a
// site whose name was made to point here (DNS rebinding) is refused. No answer may be kept, framed
// or taken for another type, and none lets another site read it.
//
// It answers within a second whatever other clients do: one thread serves all connections, each
// page is made on a thread of its own, a connection has a time limit however busy it is, and the
// oldest is closed when too many are open. GET and HEAD only; one answer a connection.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/telemetry/metrics.h"

namespace cohort {

// Called from the server's threads, each by one of its own: thread-safe, and must return. One that
// takes long gives 503 for its page and delays no other. Any may be empty: the checks are passed
// then, the other pages are not there.
struct HttpCallbacks {
  std::function<absl::Status()> healthy;
  std::function<absl::Status()> ready;
  std::function<std::string()> status_json;
  std::function<std::string()> status_html;
  std::string status_policy;             // Content-Security-Policy of status_html
  std::function<std::string()> metrics;  // instead of the registry's
};

struct HttpLimits {
  absl::Duration connection =
      absl::Seconds(10);                   // from its beginning to the last byte of its answer
  absl::Duration page = absl::Seconds(5);  // until /metrics, /status and / are given up
};

// Owns its threads. Thread-safe.
class HttpHost {
 public:
  // `listen` is HOST:PORT, port 0: any free one. `registry` must outlive the host; null: neither
  // metrics nor checks, /status and / alone. AlreadyExists or Unavailable when the port cannot be
  // had, with what to set instead.
  static absl::StatusOr<std::unique_ptr<HttpHost>> Start(const std::string& listen,
                                                         const MetricRegistry* registry,
                                                         HttpCallbacks callbacks = {},
                                                         HttpLimits limits = {});
  ~HttpHost();  // Stops.

  // Waits for callbacks that run, answers who still waits, and ends the threads. Idempotent.
  void Stop();

  const std::string& address() const;  // HOST:PORT with the actual port

 private:
  HttpHost();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cohort

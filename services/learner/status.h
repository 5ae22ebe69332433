// The one place where a StatusReply is made: gRPC's Status, /status, the page and `cohort status`
// show the same.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "cohort/v1/session.pb.h"
#include "common/config/config.h"
#include "common/dispatch/dispatcher.h"
#include "common/telemetry/phase_timer.h"
#include "common/weights/weight_store.h"
#include "services/learner/reporting.h"
#include "services/learner/session_service.h"
#include "services/learner/weight_service.h"

namespace cohort {

// What a status shows of the ledgers. The terms of the ordinals' one balance:
// dispatched = in_flight + buffered + training + the terminal states + imbalance, which is always
// 0.
void FillLedgers(const LedgerCounts& counts, v1::StatusReply* reply);

// All outlive the builder.
struct StatusSources {
  const v1::RunConfig* config = nullptr;
  const Dispatcher* dispatcher = nullptr;
  const SessionService* session = nullptr;
  const WeightService* weights = nullptr;
  const WeightStore* store = nullptr;
  const PhaseTimer* timer = nullptr;
  const RunReporter* reporter = nullptr;
};

// Thread-safe. Blocks for no longer than its sources' locks.
class StatusBuilder {
 public:
  explicit StatusBuilder(const StatusSources& sources);

  // The step that is done, and an estimate; below 0: none.
  void Progress(int64_t step, double seconds_per_step);
  void SetAddresses(const std::string& http, const std::string& page);

  void Fill(v1::StatusReply* reply) const;
  // By id, with the version that each one has applied (heartbeats tell it later) and its state.
  std::vector<v1::WorkerStatus> Workers() const;

 private:
  void FillProgress(v1::StatusReply* reply) const;

  const StatusSources from_;
  const absl::Time started_;
  mutable absl::Mutex mu_;
  int64_t step_ ABSL_GUARDED_BY(mu_) = 0;
  double seconds_per_step_ ABSL_GUARDED_BY(mu_) = -1;
  std::string http_address_ ABSL_GUARDED_BY(mu_), page_address_ ABSL_GUARDED_BY(mu_);
};

}  // namespace cohort

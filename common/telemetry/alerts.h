// What the learner alerts people to: a line "ALERT name: text" in its log, a line of alerts.jsonl
// (which `cohort train` shows), the metrics kAlertActive and kAlerts, and a list for status, page
// and summary.json. The names are those of kAlertActive's label.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/telemetry/jsonl_writer.h"
#include "common/telemetry/metrics.h"

namespace cohort {

inline constexpr char kAlertNoVerdicts[] = "no_verdicts";
inline constexpr char kAlertExhausted[] = "dynamic_sampling_exhausted";
inline constexpr char kAlertNoTrainableGroups[] = "no_trainable_groups";
inline constexpr char kAlertCheckpointFailed[] = "checkpoint_failed";
inline constexpr char kAlertImbalance[] = "ledger_imbalance";

struct Alert {
  std::string name;
  std::string text;   // as raised last
  absl::Time raised;  // last
  int64_t step = 0;   // of the run, then
  int64_t count = 0;  // how often, by this process
  bool over = false;  // what it was raised for has ended
};

// "ALERT name: text", for a status that ends a run.
std::string AlertLine(absl::string_view name, absl::string_view text);

// Of a line of alerts.jsonl, for people: "ALERT name: text", or that it is over. Empty: it is none.
std::string AlertText(const std::string& json);

// Thread-safe.
class AlertLog {
 public:
  // Appends to `path`. `registry` outlives this object.
  static absl::StatusOr<std::unique_ptr<AlertLog>> Open(const std::string& path,
                                                        MetricRegistry* registry);

  void SetStep(int64_t step);  // that alerts are of from now on
  void Raise(absl::string_view name, absl::string_view text);
  // Raises what an AlertLine in the message says, if it is one; false: it is not.
  bool RaiseFrom(const absl::Status& status);
  // What `name` was raised for has ended; nothing if it was not raised, or is over already.
  void Clear(absl::string_view name);

  std::vector<Alert> Snapshot() const;  // one per name, in the order of their first

 private:
  AlertLog(std::unique_ptr<JsonlWriter> file, MetricRegistry* registry);
  void Write(const Alert& alert) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::unique_ptr<JsonlWriter> file_;
  MetricRegistry* const registry_;
  mutable absl::Mutex mu_;
  int64_t step_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<Alert> alerts_ ABSL_GUARDED_BY(mu_);
};

}  // namespace cohort

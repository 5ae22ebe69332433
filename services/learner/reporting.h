// What a run leaves behind and what it shows while it runs: metrics.jsonl, TensorBoard, samples,
// Prometheus series, summary.json. Failures to write are logged and do not stop training.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "common/config/config.h"
#include "common/dispatch/dispatcher.h"
#include "common/telemetry/jsonl_writer.h"
#include "common/telemetry/metric_row.h"
#include "common/telemetry/metrics.h"
#include "common/telemetry/tensorboard_writer.h"
#include "common/text/tokenizer.h"
#include "common/train/step_report.h"
#include "services/learner/evaluation.h"
#include "services/learner/session_service.h"

namespace cohort {

// Everything that one line of metrics.jsonl is made of.
struct StepLine {
  int64_t step = 0;                    // batches done, this one included; 0: before the first
  const StepReport* report = nullptr;  // null: no training (evaluation before the first)
  const DispatchBatch* batch = nullptr;
  double sampled_tokens = 0;                    // since the run began
  std::map<std::string, double> phase_seconds;  // they add up to time/step
  FleetSample fleet;
  int64_t version = 0;
  std::string weights_hash;
  std::vector<EvalResult> evaluation;
};

// How a prompt went, of the rows that are trained on and have a verdict.
struct GroupOutcome {
  int64_t rows = 0;
  double accuracy = 0;  // mean over them
};
GroupOutcome OutcomeOf(const Group& group, const RewardScaleSpec& scale);

// Totals over the run; part of a checkpoint.
struct RunTotals {
  double train_seconds = 0;   // without evaluation
  double sampled_tokens = 0;  // of all groups that arrived, those that were filtered included
  double reward_first = 0, reward_last = 0;
  bool has_before = false, has_after = false;  // evaluated before the first and after a later step
  double heldout_before = 0, heldout_after = 0;
  std::string ToJson() const;
  static RunTotals FromJson(const std::string& json);  // what is missing stays 0
};

// Of kWorkers: dead, suspect (silent for more than two heartbeats), stale (its weights are older
// than `oldest`, the oldest that a new prompt may be sampled with) or healthy.
const char* WorkerState(const v1::WorkerStatus& worker, absl::Duration heartbeat, int64_t oldest);

// Step by one thread, Fleet by one (other) thread, the rest by any.
class RunReporter {
 public:
  // `resumed_step` >= 0: lines of later steps are dropped first. The tokenizer outlives this
  // object.
  static absl::StatusOr<std::unique_ptr<RunReporter>> Open(const v1::RunConfig& config,
                                                           const std::string& out,
                                                           const Tokenizer* tokenizer,
                                                           int64_t resumed_step);

  void Step(const StepLine& line);
  // Ledgers, deliveries and workers as they are now, with `version` as the newest weights. A ledger
  // that does not balance is logged as an alert.
  void Fleet(const LedgerCounts& counts, int64_t version,
             const std::vector<v1::WorkerStatus>& workers);
  // Of every rank, from rank 0; none where there is only one.
  void RankSilences(const std::vector<absl::Duration>& silences);
  void CheckpointWritten(double seconds, bool ok);
  void StepFailed(const absl::Status& status);  // counts numbers that are not finite
  absl::Status WriteSummary(const RunTotals& totals, int64_t steps) const;

  MetricRegistry& registry() { return registry_; }
  MetricRow last_row() const;

 private:
  RunReporter(const v1::RunConfig& config, std::string out, const Tokenizer* tokenizer);
  MetricRow MakeRow(const StepLine& line) const;
  void WriteSamples(const StepLine& line);
  void WriteHistory(const StepLine& line);
  void WarnOfWhitening(const StepLine& line);
  void Export(const StepLine& line);
  void ExportRows(const StepLine& line);
  void CheckBalance(const LedgerCounts& counts);

  const v1::RunConfig config_;
  const std::string out_;
  const Tokenizer* const tokenizer_;
  MetricRegistry registry_;
  std::unique_ptr<JsonlWriter> metrics_, samples_, history_;
  std::unique_ptr<TensorBoardWriter> tensorboard_;
  bool whitening_warned_ = false;
  int64_t imbalance_ = 0;  // that Fleet saw last
  mutable absl::Mutex mu_;
  MetricRow last_ ABSL_GUARDED_BY(mu_);
};

}  // namespace cohort

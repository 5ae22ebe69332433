// What a run leaves behind and what it shows while it runs: metrics.jsonl, TensorBoard, samples,
// Prometheus series, summary.json. Failures to write are logged and do not stop training.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "common/config/config.h"
#include "common/telemetry/alerts.h"
#include "common/telemetry/jsonl_writer.h"
#include "common/telemetry/metric_row.h"
#include "common/telemetry/metrics.h"
#include "common/telemetry/tensorboard_writer.h"
#include "common/text/tokenizer.h"
#include "services/learner/run_metrics.h"
#include "services/learner/run_view.h"
#include "services/learner/step_line.h"

namespace cohort {

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

// Step by one thread, CheckBalance by one (other) thread, the rest by any.
class RunReporter {
 public:
  // `resumed_step` >= 0: lines of later steps are dropped first. The tokenizer outlives this
  // object.
  static absl::StatusOr<std::unique_ptr<RunReporter>> Open(const v1::RunConfig& config,
                                                           const std::string& out,
                                                           const Tokenizer* tokenizer,
                                                           int64_t resumed_step);

  void Step(const StepLine& line);
  // An alert where the ledger does not balance.
  void CheckBalance(const LedgerCounts& counts);
  void StepFailed(const absl::Status& status);  // counts numbers that are not finite
  absl::Status WriteSummary(const RunTotals& totals, int64_t steps) const;

  MetricRegistry& registry() { return registry_; }
  RunMetrics& metrics() { return run_metrics_; }
  AlertLog& alert_log() { return *alerts_; }
  std::vector<v1::Alert> alerts() const;  // newest first
  MetricRow last_row() const;
  const RunView& view() const { return view_; }

 private:
  RunReporter(const v1::RunConfig& config, std::string out, const Tokenizer* tokenizer);
  MetricRow MakeRow(const StepLine& line) const;
  void WriteSamples(const StepLine& line);
  void WriteHistory(const StepLine& line);
  void WarnOfWhitening(const StepLine& line);
  void Keep(const char* file, const absl::Status& written);

  const v1::RunConfig config_;
  const std::string out_;
  const Tokenizer* const tokenizer_;
  MetricRegistry registry_;
  RunMetrics run_metrics_;
  std::unique_ptr<AlertLog> alerts_;
  std::unique_ptr<JsonlWriter> metrics_, samples_, history_;
  std::unique_ptr<TensorBoardWriter> tensorboard_;
  RunView view_;
  bool whitening_warned_ = false;
  int64_t imbalance_ = 0;  // that CheckBalance saw last
  mutable absl::Mutex mu_;
  MetricRow last_ ABSL_GUARDED_BY(mu_);
};

}  // namespace cohort

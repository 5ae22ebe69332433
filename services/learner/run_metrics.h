// The Prometheus series of a run, in the registry that the learner serves: those of
// learner_metrics.inc. Each part of the learner says what it knows when it knows it.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "cohort/v1/session.pb.h"
#include "common/config/config.h"
#include "common/rl/algorithm_spec.h"
#include "common/telemetry/metric_row.h"
#include "common/telemetry/metrics.h"
#include "common/telemetry/phase_timer.h"
#include "services/learner/step_line.h"
#include "services/learner/weight_service.h"

namespace cohort {

// Of kWorkers: dead, suspect (silent for more than two heartbeats), stale (its weights are older
// than `oldest`, the oldest that a new prompt may be sampled with) or healthy.
const char* WorkerState(const v1::WorkerStatus& worker, absl::Duration heartbeat, int64_t oldest);

// Thread-safe, as far as one kind of thing is told by one thread.
class RunMetrics {
 public:
  // Nothing of the run has happened yet: its counters are 0. `registry` outlives this object;
  // `folder` is the run's.
  RunMetrics(const v1::RunConfig& config, std::string folder, MetricRegistry* registry);

  // `row` is the step's line of metrics.jsonl.
  void Step(const StepLine& line, const MetricRow& row);
  void CheckpointWritten(int64_t step, double seconds, bool ok);
  void ResumedFrom(int64_t step);
  void NonFinite(const std::string& where);  // as non_finite.h says it
  void Paused(bool paused);
  void Finished();                        // complete and saved
  void FileNotWritten(const char* file);  // of kFileWriteFailures

  // ---- as it is now ----
  void Phase(PhaseTimer* timer);
  void Ledger(const LedgerCounts& counts);
  void Workers(const std::vector<v1::WorkerStatus>& workers, int64_t version);
  void Sessions(const SessionCounters& counters);
  void Weights(const WeightCounters& counters);
  // Of every rank, from rank 0; none where there is only one.
  void RankSilences(absl::Span<const absl::Duration> silences);

 private:
  void Rows(const StepLine& line);
  void TrainPhases(const StepLine& line);
  void Disk();
  void Raise(const MetricInfo& info, const Labels& labels, uint64_t total);

  const v1::RunConfig config_;
  const RewardScaleSpec scale_;
  const std::string folder_;
  MetricRegistry& registry_;
  std::atomic<double> train_rest_{0};  // of all steps
};

}  // namespace cohort

// What the learner remembers of its steps for those who watch: curves, the newest numbers and
// samples, where the time of the last steps went. Bounded, whatever the run's length, and read back
// from the run's files when a run is resumed.
#pragma once

#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "cohort/v1/session.pb.h"
#include "common/telemetry/metric_history.h"
#include "common/telemetry/metric_row.h"

namespace cohort {

// Thread-safe.
class RunView {
 public:
  // The steps that the files of metrics.jsonl and samples.jsonl hold; absent ones hold none. Lines
  // that are no objects are passed over.
  void Load(const std::string& metrics_file, const std::string& samples_file);
  void AddStep(const MetricRow& row);
  // As a line of samples.jsonl.
  void AddSample(const nlohmann::json& sample);

  // Metrics, curves, samples, phase_seconds and worker_idle_seconds.
  void Fill(v1::StatusReply* reply) const;

 private:
  using Numbers = std::map<std::string, double>;
  void Add(Numbers numbers) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FillTimes(v1::StatusReply* reply) const ABSL_SHARED_LOCKS_REQUIRED(mu_);

  mutable absl::Mutex mu_;
  MetricHistory history_ ABSL_GUARDED_BY(mu_);
  Numbers last_ ABSL_GUARDED_BY(mu_);
  std::deque<Numbers> newest_ ABSL_GUARDED_BY(mu_);      // of steps that trained
  std::deque<v1::Sample> samples_ ABSL_GUARDED_BY(mu_);  // newest first
};

}  // namespace cohort

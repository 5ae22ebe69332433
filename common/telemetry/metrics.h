// The Prometheus metrics of all Cohort processes: one catalogue that declares name, kind, unit and
// HELP once, and a registry that hands out the series and renders the exposition text.
//
// Naming follows Prometheus: prefix cohort_, base units (seconds, bytes, ratio 0..1), counters end
// in _total. Never label by prompt, group or step: a label value is a series for ever.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
}  // namespace prometheus

namespace cohort {

enum class MetricKind { kCounter, kGauge, kHistogram };

// A metric as declared: static, never copied. Histograms name their bucket layout.
enum class Buckets { kNone, kSeconds, kTokens, kVersions, kReward };
struct MetricInfo {
  const char* name;
  MetricKind kind;
  const char* help;  // one sentence with the unit and what the labels mean
  Buckets buckets = Buckets::kNone;
};

using Labels = std::map<std::string, std::string>;

// Handles to one series. Cheap to copy, valid as long as the registry, thread-safe.
class Counter {
 public:
  explicit Counter(prometheus::Counter* impl) : impl_(impl) {}
  void Add(double amount = 1) const;  // amount >= 0
  // For a total that is counted elsewhere; a smaller one than before changes nothing. By one
  // thread.
  void RaiseTo(double total) const;
  double Value() const;

 private:
  prometheus::Counter* impl_;
};

class Gauge {
 public:
  explicit Gauge(prometheus::Gauge* impl) : impl_(impl) {}
  void Set(double value) const;
  void Add(double amount) const;
  double Value() const;

 private:
  prometheus::Gauge* impl_;
};

class Histogram {
 public:
  explicit Histogram(prometheus::Histogram* impl) : impl_(impl) {}
  void Observe(double value) const;

 private:
  prometheus::Histogram* impl_;
};

// All series of one process, from the start with the program's version (kBuildInfo). Thread-safe. A
// metric asked for twice with the same labels is the same series.
class MetricRegistry {
 public:
  MetricRegistry();
  ~MetricRegistry();
  MetricRegistry(const MetricRegistry&) = delete;
  MetricRegistry& operator=(const MetricRegistry&) = delete;

  // `info` must be of the kind asked for: COHORT_CHECK.
  cohort::Counter Counter(const MetricInfo& info, const Labels& labels = {});
  cohort::Gauge Gauge(const MetricInfo& info, const Labels& labels = {});
  cohort::Histogram Histogram(const MetricInfo& info, const Labels& labels = {});

  // Drops one gauge series, as for a worker that is gone.
  void RemoveGauge(const MetricInfo& info, const Labels& labels);

  std::string Text() const;  // Prometheus exposition format 0.0.4

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// ---- the catalogue (deploy.md C3). L: learner, R: rollout worker. ----
namespace metric {

// L: progress
extern const MetricInfo kLearnerStep;
extern const MetricInfo kLearnerPaused;
extern const MetricInfo kRankSilence;  // rank
extern const MetricInfo kLearnerWeightVersion;
extern const MetricInfo kLearnerLastStepTimestamp;
extern const MetricInfo kLearnerPhaseSeconds;  // phase
extern const MetricInfo kLearnerStepDuration;
extern const MetricInfo kWeightPublishDuration;
extern const MetricInfo kCheckpointDuration;
extern const MetricInfo kCheckpointFailures;
extern const MetricInfo kLearnerTokens;  // kind
// L: policy and reward of the last step
extern const MetricInfo kPolicyLoss;
extern const MetricInfo kPolicyEntropy;
extern const MetricInfo kPolicyKl;
extern const MetricInfo kPolicyMismatchKl;  // stat
extern const MetricInfo kPolicyClipRatio;   // side
extern const MetricInfo kPolicyGradNorm;
extern const MetricInfo kPolicyLearningRate;
extern const MetricInfo kRewardMeanGauge;  // component
extern const MetricInfo kRewardStdGauge;
extern const MetricInfo kRewardHistogram;
extern const MetricInfo kResponseLength;
extern const MetricInfo kGroupStaleness;
extern const MetricInfo kGroupQueueAge;
extern const MetricInfo kGroupGenerationDuration;
// L: the ledgers
extern const MetricInfo kGroupsDispatched;
extern const MetricInfo kGroups;           // state
extern const MetricInfo kGroupDeliveries;  // outcome
extern const MetricInfo kGroupsInFlight;
extern const MetricInfo kGroupsImbalance;
extern const MetricInfo kQueueGroups;
extern const MetricInfo kQueueCapacityGroups;
extern const MetricInfo kResponses;
extern const MetricInfo kResponsesTruncated;
extern const MetricInfo kPromptsTooLong;
extern const MetricInfo kNonFinite;     // where
extern const MetricInfo kEvalPass;      // suite
extern const MetricInfo kWorkers;       // state
extern const MetricInfo kRefusedCalls;  // reason
// R
extern const MetricInfo kRolloutTokens;
extern const MetricInfo kRolloutGroups;
extern const MetricInfo kRolloutStateSeconds;  // state
extern const MetricInfo kRolloutWeightVersion;
extern const MetricInfo kRolloutRunningSequences;
extern const MetricInfo kRolloutWaitingSequences;
extern const MetricInfo kRolloutConnected;
extern const MetricInfo kRewardDuration;
extern const MetricInfo kRewardUnscorable;  // reason
extern const MetricInfo kRewardLimits;      // limit
extern const MetricInfo kWeightSyncDuration;
extern const MetricInfo kWeightSyncBytes;
extern const MetricInfo kWeightSyncFailures;  // reason
extern const MetricInfo kReconnects;
// both
extern const MetricInfo kCertificateExpiry;
extern const MetricInfo kBuildInfo;  // version
extern const MetricInfo kRunInfo;    // run, config_hash, model_hash

// Every metric above: for the test that checks the names and for documentation.
absl::Span<const MetricInfo* const> Catalogue();

}  // namespace metric
}  // namespace cohort

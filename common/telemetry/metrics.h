// The Prometheus metrics of all Cohort processes: a registry that hands out the series of declared
// metrics and renders the exposition text.
//
// A metric is declared by one line of a table: learner_metrics.inc, rollout_metrics.inc and, for
// what every process has, process_metrics.inc. Code, tests and docs/metrics.md are made of the
// tables.
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

// A line of a table; static, never copied.
struct MetricInfo {
  const char* name;
  MetricKind kind;
  // As in docs/metrics.md; empty: a number of what the name says. A histogram's buckets follow from
  // it: seconds, tokens, versions, reward or ratio.
  const char* unit;
  // "state: healthy dead": one label and all its values; "run model_hash": labels with any value.
  const char* labels;
  // Of metrics.jsonl (step_keys.inc), for what is there, too; empty: it is not.
  // "eval/{suite}/rows": a label's value stands in the place of the braces.
  const char* key;
  const char* help;  // sentences; the labels' meaning, too
};

using Labels = std::map<std::string, std::string>;

class MetricRegistry;

// Handles to one series. Cheap to copy, valid as long as the registry, thread-safe.
//
// One NaN would spoil a sum for good: counters and histograms leave out values that are not finite,
// which kMetricValuesRefused counts.
class Counter {
 public:
  void Add(double amount = 1) const;  // amount >= 0
  // For a total that is counted elsewhere; a smaller one than before changes nothing. By one
  // thread.
  void RaiseTo(double total) const;
  double Value() const;

 private:
  friend class MetricRegistry;
  Counter(prometheus::Counter* impl, MetricRegistry* registry, const MetricInfo* info)
      : impl_(impl), registry_(registry), info_(info) {}
  prometheus::Counter* impl_;
  MetricRegistry* registry_;
  const MetricInfo* info_;
};

class Gauge {
 public:
  void Set(double value) const;
  void Add(double amount) const;
  double Value() const;

 private:
  friend class MetricRegistry;
  explicit Gauge(prometheus::Gauge* impl) : impl_(impl) {}
  prometheus::Gauge* impl_;
};

class Histogram {
 public:
  void Observe(double value) const;

 private:
  friend class MetricRegistry;
  Histogram(prometheus::Histogram* impl, MetricRegistry* registry, const MetricInfo* info)
      : impl_(impl), registry_(registry), info_(info) {}
  prometheus::Histogram* impl_;
  MetricRegistry* registry_;
  const MetricInfo* info_;
};

// All series of one process, from the start with the program's version (kBuildInfo). Thread-safe. A
// metric asked for twice with the same labels is the same series.
//
// Label values are bounded: one that is not among those declared, and any beyond the first
// kMaxSeries of a metric, becomes "other".
class MetricRegistry {
 public:
  static constexpr size_t kMaxSeries = 256;

  MetricRegistry();
  ~MetricRegistry();
  MetricRegistry(const MetricRegistry&) = delete;
  MetricRegistry& operator=(const MetricRegistry&) = delete;

  // What counts events is 0 before the first one, not absent: makes the counters and histograms of
  // a table, with all values of their labels.
  void Declare(absl::Span<const MetricInfo* const> table);

  // `info` must be of the kind asked for, `labels` must have the names declared: COHORT_CHECK.
  cohort::Counter Counter(const MetricInfo& info, const Labels& labels = {});
  cohort::Gauge Gauge(const MetricInfo& info, const Labels& labels = {});
  cohort::Histogram Histogram(const MetricInfo& info, const Labels& labels = {});

  // Drops one gauge series, as for a worker that is gone.
  void RemoveGauge(const MetricInfo& info, const Labels& labels);

  std::string Text() const;  // Prometheus exposition format 0.0.4

 private:
  friend class cohort::Counter;
  friend class cohort::Histogram;
  // True: finite, and `minimum` or more. Otherwise counted.
  bool Accept(const MetricInfo& info, double value, double minimum);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// ---- the tables ----
namespace metric {

#define COHORT_METRIC(id, kind, name, unit, labels, key, help) \
  inline constexpr MetricInfo id{name, MetricKind::kind, unit, labels, key, help};
#include "common/telemetry/learner_metrics.inc"
#include "common/telemetry/process_metrics.inc"
#include "common/telemetry/rollout_metrics.inc"
#undef COHORT_METRIC

absl::Span<const MetricInfo* const> ProcessMetrics();
absl::Span<const MetricInfo* const> LearnerMetrics();
absl::Span<const MetricInfo* const> RolloutMetrics();

}  // namespace metric

// The label that has a fixed set of values and these values; empty: the metric has none such.
struct ClosedLabel {
  std::string name;
  std::vector<std::string> values;
};
ClosedLabel ClosedLabelOf(const MetricInfo& info);
std::vector<std::string> LabelNames(const MetricInfo& info);

}  // namespace cohort

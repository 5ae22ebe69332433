#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/telemetry/metrics.h"

namespace cohort {
namespace metric {

#define COHORT_METRIC(id, kind, name, unit, labels, key, help) &id,

absl::Span<const MetricInfo* const> ProcessMetrics() {
  static constexpr const MetricInfo* kAll[] = {
#include "common/telemetry/process_metrics.inc"
  };
  return kAll;
}

absl::Span<const MetricInfo* const> LearnerMetrics() {
  static constexpr const MetricInfo* kAll[] = {
#include "common/telemetry/learner_metrics.inc"
  };
  return kAll;
}

absl::Span<const MetricInfo* const> RolloutMetrics() {
  static constexpr const MetricInfo* kAll[] = {
#include "common/telemetry/rollout_metrics.inc"
  };
  return kAll;
}

#undef COHORT_METRIC

}  // namespace metric

ClosedLabel ClosedLabelOf(const MetricInfo& info) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(info.labels, absl::MaxSplits(": ", 1));
  if (parts.second.empty()) return {};
  return {std::string(parts.first), absl::StrSplit(parts.second, ' ')};
}

std::vector<std::string> LabelNames(const MetricInfo& info) {
  const ClosedLabel closed = ClosedLabelOf(info);
  if (!closed.name.empty()) return {closed.name};
  return absl::StrSplit(info.labels, ' ', absl::SkipEmpty());
}

}  // namespace cohort

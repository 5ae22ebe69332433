#include "common/telemetry/export_row.h"

#include <cmath>
#include <optional>

#include "absl/algorithm/container.h"
#include "absl/strings/strip.h"

namespace cohort {
namespace {

std::optional<double> NumberOf(const MetricRow::Value& value) {
  if (const double* number = std::get_if<double>(&value)) return *number;
  if (const int64_t* integer = std::get_if<int64_t>(&value)) return static_cast<double>(*integer);
  return std::nullopt;
}

// The labels with which `key` is of `info`; nullopt: it is not.
std::optional<Labels> LabelsFor(const MetricInfo& info, absl::string_view key) {
  const absl::string_view pattern = info.key;
  const size_t open = pattern.find('{'), close = pattern.find('}');
  if (open == absl::string_view::npos) {
    if (pattern != key || !LabelNames(info).empty()) return std::nullopt;
    return Labels();
  }
  if (!absl::ConsumePrefix(&key, pattern.substr(0, open)) ||
      !absl::ConsumeSuffix(&key, pattern.substr(close + 1)) || key.empty()) {
    return std::nullopt;
  }
  const ClosedLabel closed = ClosedLabelOf(info);
  if (!closed.name.empty() && !absl::c_linear_search(closed.values, key)) return std::nullopt;
  return Labels{{LabelNames(info)[0], std::string(key)}};
}

void ExportOne(const MetricInfo& info, const Labels& labels, double value,
               MetricRegistry* registry) {
  if (info.kind == MetricKind::kCounter) return registry->Counter(info, labels).Add(value);
  if (std::isnan(value)) return registry->RemoveGauge(info, labels);
  registry->Gauge(info, labels).Set(value);
}

}  // namespace

void ExportRow(const MetricRow& row, absl::Span<const MetricInfo* const> table,
               MetricRegistry* registry) {
  for (const MetricInfo* info : table) {
    if (*info->key == '\0' || info->kind == MetricKind::kHistogram) continue;
    for (const auto& [key, value] : row.values()) {
      const std::optional<double> number = NumberOf(value);
      if (!number) continue;
      if (const std::optional<Labels> labels = LabelsFor(*info, key)) {
        ExportOne(*info, *labels, *number, registry);
      }
    }
  }
}

}  // namespace cohort

// From a line of metrics.jsonl to Prometheus: the metrics whose table says which key they follow.
#pragma once

#include "absl/types/span.h"
#include "common/telemetry/metric_row.h"
#include "common/telemetry/metrics.h"

namespace cohort {

// Sets the gauges of `table` that have a key, and adds to its counters. A gauge whose key is in the
// row with a value that is no number is removed. Left alone: histograms, keys that the row has not,
// and metrics whose labels are not the part in braces of their key.
void ExportRow(const MetricRow& row, absl::Span<const MetricInfo* const> table,
               MetricRegistry* registry);

}  // namespace cohort

// docs/metrics.md, made of the tables of metrics and of metrics.jsonl's keys: `cohort metrics`.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace cohort {

struct StepKey {
  const char* key;
  const char* unit;
  const char* help;
};
absl::Span<const StepKey> StepKeys();

// The line of step_keys.inc that `key` is of: itself, or the one whose part in braces stands for a
// part of it. Null: none.
const StepKey* FindStepKey(absl::string_view key);

// Markdown.
std::string MetricsPage();

}  // namespace cohort

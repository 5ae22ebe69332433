#include "common/telemetry/metrics_page.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "common/telemetry/metrics.h"

namespace cohort {
namespace {

constexpr char kHead[] = R"(# Metrics

Made by `cohort metrics` of the tables in `common/telemetry`; a test fails where it is out of date.

Every process serves `/metrics` on its HTTP port (`--http-listen`). Counters end in `_total` and begin at 0 with
the process; a histogram has `_bucket`, `_sum` and `_count`. Units are base units; a ratio is between 0 and 1. A
label with a list of values has all of them from the start; a value that is not listed, and any beyond the first
256 series of a metric, is `other`. Gauges of the last step follow `metrics.jsonl`: where that has no value, they are
absent. Reward, accuracy, length and entropy are there as sums and counts too, so that a curve goes on across
restarts: `rate(cohort_reward_sum[5m]) / rate(cohort_reward_count[5m])`.

Once a run is complete, the learner and the workers that it sends away keep `/metrics` up until it was read twice
more, for at most 90 s, so that the last step is not lost. One that nobody read in the last five minutes ends at
once, and a signal ends the wait.
)";

const char* KindName(MetricKind kind) {
  switch (kind) {
    case MetricKind::kCounter:
      return "counter";
    case MetricKind::kGauge:
      return "gauge";
    case MetricKind::kHistogram:
      return "histogram";
  }
  return "";
}

std::string Code(absl::string_view text) {
  return text.empty() ? "" : absl::StrCat("`", text, "`");
}

std::string Cell(absl::string_view text) { return absl::StrReplaceAll(text, {{"|", "\\|"}}); }

std::string LabelsCell(const MetricInfo& info) {
  const ClosedLabel closed = ClosedLabelOf(info);
  if (!closed.name.empty()) {
    return absl::StrCat(Code(closed.name), ": ", absl::StrJoin(closed.values, ", "));
  }
  return absl::StrJoin(LabelNames(info), ", ", [](std::string* out, const std::string& name) {
    absl::StrAppend(out, Code(name));
  });
}

std::string MetricTable(absl::string_view title, absl::Span<const MetricInfo* const> table) {
  std::string out = absl::StrCat(
      "\n## ", title, "\n\n| metric | type | unit | labels | in `metrics.jsonl` | meaning |\n",
      "|---|---|---|---|---|---|\n");
  for (const MetricInfo* info : table) {
    absl::StrAppend(&out, "| `", info->name, "` | ", KindName(info->kind), " | ", info->unit, " | ",
                    LabelsCell(*info), " | ", Code(info->key), " | ", Cell(info->help), " |\n");
  }
  return out;
}

std::string KeyTable() {
  std::string out =
      "\n## Keys of `metrics.jsonl`\n\nOne line per step of `cohort train`, and of `cohort sft` as "
      "far as "
      "they apply; a part in braces stands for a name. TensorBoard gets the same.\n\n| key | unit "
      "| meaning |\n"
      "|---|---|---|\n";
  for (const StepKey& key : StepKeys()) {
    absl::StrAppend(&out, "| `", key.key, "` | ", key.unit, " | ", Cell(key.help), " |\n");
  }
  return out;
}

// `pattern` with its braces, as in "eval/{suite}/rows".
bool Fits(absl::string_view pattern, absl::string_view key) {
  const size_t open = pattern.find('{'), close = pattern.find('}');
  if (open == absl::string_view::npos) return pattern == key;
  return absl::ConsumePrefix(&key, pattern.substr(0, open)) &&
         absl::ConsumeSuffix(&key, pattern.substr(close + 1)) && !key.empty();
}

}  // namespace

absl::Span<const StepKey> StepKeys() {
#define COHORT_STEP_KEY(id, key, unit, help) {key, unit, help},
  static constexpr StepKey kAll[] = {
#include "common/telemetry/step_keys.inc"
  };
#undef COHORT_STEP_KEY
  return kAll;
}

const StepKey* FindStepKey(absl::string_view key) {
  const StepKey* found = nullptr;
  for (const StepKey& candidate : StepKeys()) {
    if (candidate.key == key) return &candidate;
    if (Fits(candidate.key, key)) found = &candidate;
  }
  return found;
}

std::string MetricsPage() {
  return absl::StrCat(kHead, MetricTable("Every process", metric::ProcessMetrics()),
                      MetricTable("Learner (rank 0)", metric::LearnerMetrics()),
                      MetricTable("Rollout worker", metric::RolloutMetrics()), KeyTable());
}

}  // namespace cohort

#include "services/cli/status_text.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/html/html.h"
#include "common/telemetry/metric_names.h"

namespace cohort {
namespace {

void AppendCounts(const char* title, const google::protobuf::Map<std::string, int64_t>& counts,
                  std::string* out) {
  absl::StrAppendFormat(out, "%-12s", title);
  const std::map<std::string, int64_t> sorted(counts.begin(), counts.end());
  for (const auto& [name, count] : sorted) {
    if (count != 0) absl::StrAppend(out, name, " ", count, "  ");
  }
  absl::StrAppend(out, "\n");
}

void AppendAlerts(const v1::StatusReply& reply, std::string* out) {
  for (const v1::Alert& alert : reply.alerts()) {
    absl::StrAppendFormat(out, "%-12s%s: %s (step %d%s%s)\n", "ALERT", alert.name(), alert.text(),
                          alert.step(),
                          alert.count() > 1 ? absl::StrCat(", ", alert.count(), " times") : "",
                          alert.over() ? ", over" : "");
  }
}

void AppendMetrics(const v1::StatusReply& reply, std::string* out) {
  absl::StrAppendFormat(out, "%-12s", "last step");
  for (const char* key : {metric::kRewardMean, metric::kEntropy, metric::kPpoKl,
                          metric::kResponseLengthMean, metric::kRolloutTokensPerSecond,
                          metric::kOffPolicyMean, metric::kWaitLearner, metric::kWaitRollout}) {
    const auto value = reply.metrics().find(key);
    if (value != reply.metrics().end()) absl::StrAppendFormat(out, "%s %.4g  ", key, value->second);
  }
  absl::StrAppend(out, "\n");
}

void AppendWorkers(const v1::StatusReply& reply, std::string* out) {
  absl::StrAppendFormat(out, "\n%-24s %-10s %8s %7s %6s %8s %10s  %s\n", "worker", "state",
                        "version", "leases", "rows", "tok/s", "last seen", "http");
  for (const v1::WorkerStatus& worker : reply.workers()) {
    absl::StrAppendFormat(out, "%-24s %-10s %8d %7d %6d %8.0f %9.1fs  %s\n", worker.worker_id(),
                          worker.state(), worker.held_version(), worker.leases(),
                          worker.running_rows(), worker.tokens_per_second(),
                          worker.last_seen_seconds(), worker.http_address());
  }
}

}  // namespace

std::string StatusText(const v1::StatusReply& reply) {
  std::string out = absl::StrFormat("run %s: step %d of %d, weight version %d\n", reply.run(),
                                    reply.step(), reply.steps(), reply.weight_version());
  absl::StrAppendFormat(
      &out, "%-12s%s for %.1fs; running %s%s\n", "now", reply.phase(), reply.seconds_in_phase(),
      DurationText(absl::Seconds(reply.seconds_running())),
      reply.seconds_left() < 0
          ? ""
          : absl::StrCat(", left ", DurationText(absl::Seconds(reply.seconds_left()))));
  AppendCounts("prompts", reply.ordinals(), &out);
  AppendAlerts(reply, &out);
  AppendCounts("deliveries", reply.deliveries(), &out);
  AppendMetrics(reply, &out);
  if (!reply.page_address().empty()) {
    absl::StrAppendFormat(&out, "%-12shttp://%s/\n", "page", reply.page_address());
  }
  AppendWorkers(reply, &out);
  return out;
}

}  // namespace cohort

#include "services/learner/run_metrics.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/rl/staleness.h"
#include "common/telemetry/export_row.h"
#include "common/telemetry/metric_names.h"
#include "common/train/batch.h"

namespace cohort {
namespace {

double UnixSeconds(absl::Time time) { return absl::ToDoubleSeconds(time - absl::UnixEpoch()); }

RewardScaleSpec ScaleOf(const v1::RunConfig& config) {
  const v1::RewardScale& scale = config.algorithm().reward().scale();
  return {scale.correct(), scale.wrong(), scale.unparsable()};
}

double SecondsOf(const GroupTimings& timings) {
  return timings.queue_seconds + timings.prefill_seconds + timings.decode_seconds +
         timings.reward_seconds;
}

}  // namespace

const char* WorkerState(const v1::WorkerStatus& worker, absl::Duration heartbeat, int64_t oldest) {
  if (!worker.connected()) return "dead";
  if (absl::Seconds(worker.last_seen_seconds()) > 2 * heartbeat) return "suspect";
  return worker.held_version() < oldest ? "stale" : "healthy";
}

RunMetrics::RunMetrics(const v1::RunConfig& config, std::string folder, MetricRegistry* registry)
    : config_(config), scale_(ScaleOf(config)), folder_(std::move(folder)), registry_(*registry) {
  registry_.Declare(metric::LearnerMetrics());
  registry_.Gauge(metric::kLearnerStepsPlanned).Set(static_cast<double>(config.run().steps()));
  const int64_t staleness = config.rollout().max_staleness();
  registry_.Gauge(metric::kGroupStalenessBound).Set(static_cast<double>(staleness));
  registry_.Gauge(metric::kQueueCapacityGroups)
      .Set(static_cast<double>(AdmissionWindow(staleness, config.learner().prompts_per_step())));
  registry_.Gauge(metric::kCheckpointInterval)
      .Set(static_cast<double>(config.checkpoint().every_steps()));
  registry_.Gauge(metric::kRanks).Set(config.learner().ranks());
  ResumedFrom(0);
  Paused(false);
  registry_.Gauge(metric::kLearnerFinished).Set(0);
  Disk();
}

void RunMetrics::ResumedFrom(int64_t step) {
  registry_.Gauge(metric::kLearnerStep).Set(static_cast<double>(step));
  registry_.Gauge(metric::kCheckpointLastStep).Set(static_cast<double>(step));
}

void RunMetrics::Step(const StepLine& line, const MetricRow& row) {
  ExportRow(row, metric::LearnerMetrics(), &registry_);
  const double now = UnixSeconds(absl::Now());
  registry_.Gauge(metric::kLearnerLastStepTimestamp).Set(now);
  if (!line.evaluation.empty()) registry_.Gauge(metric::kEvalLastTimestamp).Set(now);
  Disk();
  if (line.report == nullptr) return;
  const StepReport& report = *line.report;
  double step_seconds = 0;
  for (const auto& [phase, seconds] : line.phase_seconds) {
    step_seconds += seconds;
    if (phase == metric::kPhasePublish) {
      registry_.Histogram(metric::kWeightPublishDuration).Observe(seconds);
    }
  }
  registry_.Histogram(metric::kLearnerStepDuration).Observe(step_seconds);
  TrainPhases(line);
  const int64_t prompt_tokens = report.trained_tokens - report.response_tokens;
  registry_.Counter(metric::kLearnerTokens, {{"kind", "response"}})
      .Add(static_cast<double>(report.response_tokens));
  registry_.Counter(metric::kLearnerTokens, {{"kind", "prompt"}})
      .Add(static_cast<double>(std::max<int64_t>(0, prompt_tokens)));
  registry_.Counter(metric::kPolicyTokens).Add(report.stats.tokens);
  registry_.Counter(metric::kPolicyTokenEntropy).Add(report.stats.entropy);
  registry_.Gauge(metric::kPolicyMismatchKl, {{"stat", "mean"}}).Set(report.mismatch.K3());
  registry_.Gauge(metric::kPolicyMismatchKl, {{"stat", "max"}})
      .Set(report.mismatch.max_log_difference);
  registry_.Gauge(metric::kRewardMeanGauge, {{"component", "total"}}).Set(report.reward_mean);
  Rows(line);
}

void RunMetrics::Rows(const StepLine& line) {
  registry_.Counter(metric::kLearnerSampledTokens)
      .Add(static_cast<double>(line.batch->sampled_tokens));
  const Histogram queue_age = registry_.Histogram(metric::kGroupQueueAge);
  for (const absl::Duration queued : line.batch->queued) {
    queue_age.Observe(absl::ToDoubleSeconds(queued));
  }
  const Histogram staleness = registry_.Histogram(metric::kGroupStaleness);
  const Histogram generation = registry_.Histogram(metric::kGroupGenerationDuration);
  const Histogram length = registry_.Histogram(metric::kResponseLength);
  const Histogram reward = registry_.Histogram(metric::kRewardHistogram);
  const Histogram accuracy = registry_.Histogram(metric::kResponseAccuracy);
  int64_t rows = 0, truncated = 0;
  for (const Group& group : line.batch->groups) {
    const int64_t age = line.version - 1 - group.OldestVersion();
    staleness.Observe(static_cast<double>(std::max<int64_t>(0, age)));
    generation.Observe(SecondsOf(group.timings));
    for (const Row& row : group.rows) {
      ++rows;
      if (row.finish == FinishReason::kLength) ++truncated;
      length.Observe(static_cast<double>(row.tokens.size()));
      if (row.role != RowRole::kTrain || row.unscorable) continue;
      reward.Observe(row.reward);
      const double truth = RowTruth(group, row, scale_);
      if (!std::isnan(truth)) accuracy.Observe(truth);  // NaN: nobody knows
    }
  }
  registry_.Counter(metric::kResponses).Add(static_cast<double>(rows));
  registry_.Counter(metric::kResponsesTruncated).Add(static_cast<double>(truncated));
}

void RunMetrics::CheckpointWritten(int64_t step, double seconds, bool ok) {
  Disk();
  if (!ok) return registry_.Counter(metric::kCheckpointFailures).Add();
  registry_.Histogram(metric::kCheckpointDuration).Observe(seconds);
  registry_.Gauge(metric::kCheckpointLastSuccess).Set(UnixSeconds(absl::Now()));
  registry_.Gauge(metric::kCheckpointLastStep).Set(static_cast<double>(step));
}

void RunMetrics::NonFinite(const std::string& where) {
  registry_.Counter(metric::kNonFinite, {{"where", where == "gradient" ? "grad" : where}}).Add();
}

void RunMetrics::Paused(bool paused) {
  registry_.Gauge(metric::kLearnerPaused).Set(paused ? 1 : 0);
}

void RunMetrics::Finished() { registry_.Gauge(metric::kLearnerFinished).Set(1); }

void RunMetrics::FileNotWritten(const char* file) {
  registry_.Counter(metric::kFileWriteFailures, {{"file", file}}).Add();
}

// By the thread that writes to the disk: one that hangs must not hang the learner's housekeeping.
void RunMetrics::Disk() {
  struct statvfs disk{};
  if (statvfs(folder_.c_str(), &disk) != 0) return;
  const auto block = static_cast<double>(disk.f_frsize);
  registry_.Gauge(metric::kDiskFree).Set(static_cast<double>(disk.f_bavail) * block);
  registry_.Gauge(metric::kDiskSize).Set(static_cast<double>(disk.f_blocks) * block);
}

void RunMetrics::Phase(PhaseTimer* timer) {
  const std::string now = timer->phase();
  std::map<std::string, double> totals = timer->Totals();
  totals[metric::kPhaseOther] += train_rest_;
  for (const std::string& phase : ClosedLabelOf(metric::kLearnerPhase).values) {
    registry_.Gauge(metric::kLearnerPhase, {{"phase", phase}}).Set(phase == now ? 1 : 0);
    if (phase == metric::kPhaseTrain) continue;
    registry_.Counter(metric::kLearnerPhaseSeconds, {{"phase", phase}}).RaiseTo(totals[phase]);
  }
  registry_.Gauge(metric::kLearnerPhaseStart).Set(UnixSeconds(timer->entered()));
}

// They have passed as one phase of the timer, kPhaseTrain.
void RunMetrics::TrainPhases(const StepLine& line) {
  for (const char* phase :
       {metric::kPhasePrepare, metric::kPhaseForward, metric::kPhaseBackward,
        metric::kPhaseAllReduce, metric::kPhaseOptimizer, metric::kPhaseBeside}) {
    const auto seconds = line.phase_seconds.find(phase);
    if (seconds == line.phase_seconds.end()) continue;
    registry_.Counter(metric::kLearnerPhaseSeconds, {{"phase", phase}}).Add(seconds->second);
  }
  train_rest_ = train_rest_ + line.train_rest;
}

void RunMetrics::Raise(const MetricInfo& info, const Labels& labels, uint64_t total) {
  registry_.Counter(info, labels).RaiseTo(static_cast<double>(total));
}

void RunMetrics::Ledger(const LedgerCounts& counts) {
  Raise(metric::kGroupsDispatched, {}, counts.dispatched);
  for (size_t i = 0; i < counts.ended.size(); ++i) {
    const std::string state(OrdinalEndName(static_cast<OrdinalEnd>(i)));
    Raise(metric::kGroups, {{"state", state}}, counts.ended[i]);
  }
  for (size_t i = 0; i < counts.deliveries.size(); ++i) {
    const std::string outcome(DeliveryName(static_cast<Delivery>(i)));
    Raise(metric::kGroupDeliveries, {{"outcome", outcome}}, counts.deliveries[i]);
  }
  Raise(metric::kGroupsReissued, {}, counts.reissued);
  Raise(metric::kPromptsTooLong, {}, counts.ended[static_cast<size_t>(OrdinalEnd::kPromptTooLong)]);
  registry_.Gauge(metric::kGroupsInFlight)
      .Set(static_cast<double>(counts.in_flight + counts.buffered + counts.training));
  registry_.Gauge(metric::kGroupOldestInFlight).Set(absl::ToDoubleSeconds(counts.oldest_in_flight));
  registry_.Gauge(metric::kGroupsImbalance).Set(static_cast<double>(counts.Imbalance()));
  registry_.Gauge(metric::kQueueGroups).Set(static_cast<double>(counts.buffered));
}

void RunMetrics::Workers(const std::vector<v1::WorkerStatus>& workers, int64_t version) {
  std::map<std::string, int> states;
  for (const std::string& state : ClosedLabelOf(metric::kWorkers).values) states[state] = 0;
  const absl::Duration heartbeat = absl::Seconds(config_.rollout().heartbeat_seconds());
  int64_t serving = 0, lag = 0;
  for (const v1::WorkerStatus& worker : workers) {
    const std::string state =
        WorkerState(worker, heartbeat, version - config_.rollout().max_staleness());
    ++states[state];
    if ((state != "healthy" && state != "stale") || worker.held_version() < 0) continue;
    ++serving;
    lag = std::max(lag, version - worker.held_version());
  }
  for (const auto& [state, count] : states) {
    registry_.Gauge(metric::kWorkers, {{"state", state}}).Set(count);
  }
  registry_.Gauge(metric::kWorkersServing).Set(static_cast<double>(serving));
  registry_.Gauge(metric::kWorkersVersionLagMax).Set(static_cast<double>(lag));
}

void RunMetrics::Sessions(const SessionCounters& counters) {
  Raise(metric::kWorkerConnections, {}, counters.connections);
  Raise(metric::kWorkersLost, {}, counters.lost_workers);
  Raise(metric::kWorkerHeartbeatTimeouts, {}, counters.heartbeat_timeouts);
  Raise(metric::kWorkerBadMessages, {}, counters.bad_messages);
  Raise(metric::kLeasesIssued, {}, counters.leases_sent);
  Raise(metric::kGroupBytes, {}, counters.group_bytes_received);
  Raise(metric::kRefusedCalls, {{"reason", "hello"}}, counters.refusals());
  for (int reason = 1; reason < v1::Refusal::Reason_ARRAYSIZE; ++reason) {
    const std::string name =
        absl::AsciiStrToLower(v1::Refusal::Reason_Name(static_cast<v1::Refusal::Reason>(reason)));
    Raise(metric::kWorkersRefused, {{"reason", name}}, counters.refused[size_t(reason)]);
  }
  Raise(metric::kLeasesUnfulfilled, {{"reason", "expired"}}, counters.leases_expired);
  for (int reason = 1; reason < v1::LeaseFailed::Reason_ARRAYSIZE; ++reason) {
    const std::string name = absl::AsciiStrToLower(
        v1::LeaseFailed::Reason_Name(static_cast<v1::LeaseFailed::Reason>(reason)));
    Raise(metric::kLeasesUnfulfilled, {{"reason", name}}, counters.leases_failed[size_t(reason)]);
  }
}

void RunMetrics::Weights(const WeightCounters& counters) {
  registry_.Gauge(metric::kWeightFollowers).Set(static_cast<double>(counters.followers));
  Raise(metric::kWeightBytesSent, {}, counters.bytes_sent);
  Raise(metric::kWeightVersionsApplied, {}, counters.applied);
  Raise(metric::kWeightErrorsSent, {}, counters.errors_sent);
}

void RunMetrics::RankSilences(absl::Span<const absl::Duration> silences) {
  for (size_t rank = 0; rank < silences.size(); ++rank) {
    registry_.Gauge(metric::kRankSilence, {{"rank", absl::StrCat(rank)}})
        .Set(absl::ToDoubleSeconds(silences[rank]));
  }
}

}  // namespace cohort

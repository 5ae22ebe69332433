// What the learner exports of a run, and which of it people are alerted to.
#include "services/learner/run_metrics.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/telemetry/metric_names.h"
#include "common/telemetry/metrics_page.h"
#include "services/learner/reporting.h"

namespace cohort {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

TEST(WorkerState, TellsTheSilentAndTheOutdatedFromTheRest) {
  v1::WorkerStatus worker;
  const auto state = [&] { return std::string(WorkerState(worker, absl::Seconds(2), 5)); };
  EXPECT_EQ(state(), "dead");
  worker.set_connected(true);
  worker.set_held_version(4);
  EXPECT_EQ(state(), "stale");
  worker.set_held_version(5);
  EXPECT_EQ(state(), "healthy");
  worker.set_last_seen_seconds(4.5);
  EXPECT_EQ(state(), "suspect");
}

class RunMetricsTest : public testing::Test {
 protected:
  void SetUp() override {
    COHORT_ASSERT_OK_AND_ASSIGN(
        v1::RunConfig config,
        ParseConfig(
            "model: {path: m}\ndata: {task: addition-1}\n"
            "run: {steps: 9}\nrollout: {max_staleness: 1}\n"
            "learner: {prompts_per_step: 8}\nlog: {tensorboard: false, samples_per_step: 0}\n",
            "test"));
    ResolveConfig("test", &config);
    COHORT_ASSERT_OK_AND_ASSIGN(reporter_, RunReporter::Open(config, folder_.path(), nullptr, -1));
  }
  double Gauge(const MetricInfo& info, const Labels& labels = {}) {
    return reporter_->registry().Gauge(info, labels).Value();
  }
  double Counter(const MetricInfo& info, const Labels& labels = {}) {
    return reporter_->registry().Counter(info, labels).Value();
  }
  std::string Text() { return reporter_->registry().Text(); }
  nlohmann::json Summary() {
    COHORT_EXPECT_OK(reporter_->WriteSummary({}, 1));
    return nlohmann::json::parse(ReadFile(folder_.path() + "/summary.json").value_or(""));
  }

  TemporaryFolder folder_;
  std::unique_ptr<RunReporter> reporter_;
};

// ---- steps ----

TEST_F(RunMetricsTest, WhatCountsEventsIsThereBeforeTheFirstOne) {
  const std::string text = Text();
  for (const char* series :
       {"cohort_checkpoint_failures_total 0", "cohort_learner_paused 0", "cohort_learner_step 0",
        "cohort_nonfinite_total{where=\"grad\"} 0", "cohort_responses_total 0",
        "cohort_group_queue_age_seconds_count 0", "cohort_checkpoint_duration_seconds_count 0",
        "cohort_workers_refused_total{reason=\"semantic_mismatch\"} 0",
        "cohort_alert_active{alert=\"checkpoint_failed\"} 0", "cohort_learner_steps_planned 9",
        "cohort_group_staleness_bound_versions 1", "cohort_queue_capacity_groups 16"}) {
    EXPECT_THAT(text, HasSubstr(series));
  }
}

StepReport FullReport() {
  StepReport report;
  report.loss = 0.5;
  report.stats.tokens = 40;
  report.stats.entropy = 20;
  report.has_reference = true;
  report.component_means = {{"exact", 0.25}};
  report.signal_means = {{"majority_ratio", 0.5}};
  report.length_request = {0.5, 0.25};
  report.critic.emplace();
  report.process.emplace();
  report.unscorable_rows = 1;
  report.reward_mean = 0.75;
  return report;
}

Group OneGroup() {
  Group group;
  group.reward_names = {"exact"};
  Row right, wrong, lost;
  right.tokens = {1, 2, 3};
  right.rewards = {1};
  right.reward = right.truth = 1;
  wrong.tokens = {1};
  wrong.rewards = {0};
  wrong.truth = 0;
  wrong.finish = FinishReason::kLength;
  lost.unscorable = true;
  group.rows = {right, wrong, lost};
  return group;
}

TEST_F(RunMetricsTest, AStepIsExportedAsGaugesAndAsSums) {
  const StepReport report = FullReport();
  DispatchBatch batch;
  batch.groups = {OneGroup()};
  batch.sampled_tokens = 100;  // most of it was filtered
  batch.dropped = {{"all_wrong", 3}};
  batch.queued = {absl::Seconds(3)};
  StepLine line;
  line.step = 1;
  line.version = 1;
  line.report = &report;
  line.batch = &batch;
  line.phase_seconds = {{metric::kPhaseWaitBatch, 15}, {metric::kPhaseForward, 5}};
  line.evaluation = {{.name = "gsm8k", .accuracy = 0.5, .rows = 7}};
  reporter_->metrics().Step(line, {});  // its own part
  reporter_->Step(line);                // all
  EXPECT_THAT(
      Text(),
      AllOf(HasSubstr("cohort_learner_step 1\n"), HasSubstr("cohort_policy_loss 0.5"),
            HasSubstr("cohort_policy_entropy_nats 0.5"), HasSubstr("cohort_policy_kl_nats 0\n"),
            HasSubstr("cohort_policy_token_entropy_nats_total 40\n"),
            HasSubstr("cohort_policy_tokens_total 80\n"), HasSubstr("cohort_reward_sum 2\n"),
            HasSubstr("cohort_reward_count 4\n"), HasSubstr("cohort_response_accuracy_sum 2\n"),
            HasSubstr("cohort_response_accuracy_count 4\n"),
            HasSubstr("cohort_response_length_tokens_sum 8\n"),
            HasSubstr("cohort_responses_total 6\n"), HasSubstr("responses_truncated_total 2\n"),
            HasSubstr("cohort_responses_unscorable_total 1\n")));
  EXPECT_THAT(Text(), AllOf(HasSubstr("cohort_learner_sampled_tokens_total 200\n"),
                            HasSubstr("cohort_reward_mean{component=\"exact\"} 0.25"),
                            HasSubstr("cohort_reward_mean{component=\"total\"} 0.75"),
                            HasSubstr("cohort_learner_phase_seconds_total{phase=\"forward\"} 10\n"),
                            HasSubstr("cohort_learner_step_duration_seconds_sum 40"),
                            HasSubstr("cohort_group_queue_age_seconds_sum 6"),
                            HasSubstr("cohort_eval_pass_ratio{suite=\"gsm8k\"} 0.5"),
                            HasSubstr("cohort_eval_rows{suite=\"gsm8k\"} 7"),
                            HasSubstr("cohort_eval_last_timestamp_seconds"),
                            Not(HasSubstr("\"other\"} 1")), Not(HasSubstr("values_refused"))));
}

TEST_F(RunMetricsTest, EveryKeyOfALineIsDocumented) {
  const StepReport report = FullReport();
  DispatchBatch batch;
  batch.dropped = {{"all_wrong", 3}};
  StepLine line;
  line.report = &report;
  line.batch = &batch;
  line.phase_seconds = {{metric::kPhaseWaitBatch, 15}, {metric::kPhaseForward, 5}};
  line.evaluation = {{.name = "gsm8k"}};
  reporter_->Step(line);
  const MetricRow row = reporter_->last_row();
  EXPECT_GT(row.values().size(), 60u);
  for (const auto& [key, value] : row.values()) EXPECT_NE(FindStepKey(key), nullptr) << key;
}

TEST_F(RunMetricsTest, ThroughputCountsWhatWasSampledNotWhatWasTrained) {
  StepReport report;
  report.response_tokens = 10;
  DispatchBatch batch;
  batch.sampled_tokens = 100;  // most of it was filtered
  StepLine line;
  line.step = 1;
  line.report = &report;
  line.batch = &batch;
  line.phase_seconds = {
      {metric::kPhaseWaitBatch, 15}, {metric::kPhaseForward, 5}, {metric::kPhaseEval, 30}};
  reporter_->Step(line);
  const MetricRow row = reporter_->last_row();
  EXPECT_EQ(std::get<double>(*row.Find(metric::kRolloutTokensPerSecond)), 5);
  RunTotals totals;
  totals.train_seconds = 20;
  totals.sampled_tokens = 100;
  COHORT_ASSERT_OK(reporter_->WriteSummary(totals, 1));
  COHORT_ASSERT_OK_AND_ASSIGN(const std::string summary,
                              ReadFile(folder_.path() + "/summary.json"));
  EXPECT_THAT(summary, HasSubstr("\"tokens_per_second\": 5.0"));
}

TEST_F(RunMetricsTest, ACheckpointLeavesItsTimeAndItsStep) {
  reporter_->metrics().CheckpointWritten(4, 0.5, /*ok=*/true);
  reporter_->metrics().CheckpointWritten(5, 9, /*ok=*/false);
  EXPECT_EQ(Gauge(metric::kCheckpointLastStep), 4);
  EXPECT_GT(Gauge(metric::kCheckpointLastSuccess), 1e9);
  EXPECT_EQ(Counter(metric::kCheckpointFailures), 1);
  EXPECT_THAT(Text(), HasSubstr("cohort_checkpoint_duration_seconds_sum 0.5"));
  EXPECT_GT(Gauge(metric::kDiskFree), 0);
  EXPECT_GE(Gauge(metric::kDiskSize), Gauge(metric::kDiskFree));
}

// ---- as it is now ----

TEST_F(RunMetricsTest, OnePhaseIsOnAtATime) {
  PhaseTimer timer(metric::kPhaseOther);
  timer.Enter(metric::kPhaseWaitBatch);
  reporter_->metrics().Phase(&timer);
  EXPECT_EQ(Gauge(metric::kLearnerPhase, {{"phase", "wait_batch"}}), 1);
  EXPECT_EQ(Gauge(metric::kLearnerPhase, {{"phase", "other"}}), 0);
  EXPECT_NEAR(Gauge(metric::kLearnerPhaseStart),
              absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch()), 60);
}

TEST_F(RunMetricsTest, CountsWorkersByWhatTheyAreGoodFor) {
  std::vector<v1::WorkerStatus> workers(4);
  for (v1::WorkerStatus& worker : workers) worker.set_held_version(6);
  for (const size_t connected : {0u, 1u, 3u}) workers[connected].set_connected(true);
  workers[1].set_held_version(4);  // the bound is one version
  workers[3].set_held_version(-1);
  reporter_->metrics().Workers(workers, /*version=*/7);
  const auto count = [&](const char* state) { return Gauge(metric::kWorkers, {{"state", state}}); };
  EXPECT_EQ(count("healthy"), 1);
  EXPECT_EQ(count("stale"), 2);
  EXPECT_EQ(count("suspect"), 0);
  EXPECT_EQ(count("dead"), 1);
  EXPECT_EQ(Gauge(metric::kWorkersServing), 2);
  EXPECT_EQ(Gauge(metric::kWorkersVersionLagMax), 3);
}

TEST_F(RunMetricsTest, RefusalsAndLostLeasesAreCountedByReason) {
  SessionCounters counters;
  for (int reason = 0; reason < v1::Refusal::Reason_ARRAYSIZE; ++reason) {
    counters.refused[size_t(reason)] = uint64_t(reason);
  }
  counters.leases_failed[v1::LeaseFailed::DRAINING] = 5;
  counters.leases_expired = 2;
  reporter_->metrics().Sessions(counters);
  EXPECT_EQ(Counter(metric::kWorkersRefused, {{"reason", "semantic_mismatch"}}), 2);
  EXPECT_EQ(Counter(metric::kWorkersRefused, {{"reason", "worker_id_in_use"}}), 6);
  EXPECT_EQ(Counter(metric::kRefusedCalls, {{"reason", "hello"}}), 28);
  EXPECT_EQ(Counter(metric::kLeasesUnfulfilled, {{"reason", "draining"}}), 5);
  EXPECT_EQ(Counter(metric::kLeasesUnfulfilled, {{"reason", "expired"}}), 2);
  EXPECT_THAT(Text(), Not(HasSubstr("reason=\"other\"")));  // every reason is in the table
}

// ---- alerts ----

TEST_F(RunMetricsTest, ALedgerThatDoesNotBalanceIsExportedAndSaidOnce) {
  LedgerCounts counts;
  counts.dispatched = 3;
  counts.in_flight = 3;
  const auto tell = [&] {
    testing::internal::CaptureStderr();
    reporter_->metrics().Ledger(counts);
    reporter_->CheckBalance(counts);
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_EQ(tell(), "");
  EXPECT_EQ(Gauge(metric::kGroupsImbalance), 0);
  counts.in_flight = 1;
  EXPECT_THAT(tell(),
              HasSubstr("ALERT ledger_imbalance: of 3 prompts dispatched 0 have ended and 1"));
  EXPECT_EQ(Gauge(metric::kGroupsImbalance), 2);
  EXPECT_EQ(tell(), "");
  const Labels labels = {{"alert", kAlertImbalance}};
  EXPECT_EQ(Gauge(metric::kAlertActive, labels), 1);
  counts.in_flight = 3;
  tell();
  EXPECT_EQ(Gauge(metric::kAlertActive, labels), 0);
}

TEST_F(RunMetricsTest, TheSummaryHasTheAlerts) {
  EXPECT_EQ(Summary()["alerts"], nlohmann::json::array());
  reporter_->alert_log().Raise(kAlertCheckpointFailed, "step 1: disk full");
  reporter_->alert_log().Raise(kAlertCheckpointFailed, "step 2: disk full");
  const std::vector<v1::Alert> shown = reporter_->alerts();
  ASSERT_EQ(shown.size(), 1u);
  EXPECT_EQ(shown[0].text(), "step 2: disk full");
  EXPECT_EQ(shown[0].count(), 2);
  EXPECT_GT(shown[0].unix_seconds(), 1e9);
  const nlohmann::json alerts = Summary()["alerts"];
  ASSERT_EQ(alerts.size(), 1u);
  EXPECT_EQ(alerts[0]["alert"], "checkpoint_failed");
  EXPECT_EQ(alerts[0]["text"], "step 2: disk full");
  EXPECT_EQ(alerts[0]["count"], 2);
  EXPECT_EQ(alerts[0]["over"], false);
}

}  // namespace
}  // namespace cohort

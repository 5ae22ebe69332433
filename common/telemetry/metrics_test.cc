// The tables of metrics, and what a registry makes of them.
#include "common/telemetry/metrics.h"

#include <unistd.h>

#include <cstdlib>
#include <limits>
#include <regex>
#include <set>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/notification.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/base/utf8.h"
#include "common/telemetry/alerts.h"
#include "common/telemetry/export_row.h"
#include "common/telemetry/metric_names.h"
#include "common/telemetry/metrics_page.h"
#include "common/telemetry/scrape_watch.h"

namespace cohort {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::vector<const MetricInfo*> AllMetrics() {
  std::vector<const MetricInfo*> all;
  for (const auto table :
       {metric::ProcessMetrics(), metric::LearnerMetrics(), metric::RolloutMetrics()}) {
    all.insert(all.end(), table.begin(), table.end());
  }
  return all;
}

// ---- the tables ----

TEST(MetricTablesTest, FollowTheNamingRules) {
  std::set<std::string> names;
  for (const MetricInfo* info : AllMetrics()) {
    const std::string name = info->name;
    EXPECT_TRUE(std::regex_match(name, std::regex("(cohort|process)_[a-z][a-z0-9_]*[a-z0-9]")))
        << name;
    EXPECT_TRUE(names.insert(name).second) << name << " is declared twice";
    EXPECT_EQ(absl::EndsWith(name, "_total"), info->kind == MetricKind::kCounter) << name;
    EXPECT_TRUE(absl::EndsWith(info->help, ".")) << name;
    EXPECT_FALSE(HasControls(info->help)) << name << ": Prometheus would refuse the page";
    EXPECT_THAT(name, Not(AllOf(HasSubstr("_ms"), HasSubstr("_percent"))));
  }
}

TEST(MetricTablesTest, NameTheUnitThatAMetricsNameEndsIn) {
  for (const MetricInfo* info : AllMetrics()) {
    absl::string_view name = info->name;
    absl::ConsumeSuffix(&name, "_total");
    for (const char* unit : {"seconds", "bytes", "nats", "versions", "ratio"}) {
      const bool ends = absl::EndsWith(name, absl::StrCat("_", unit));
      EXPECT_TRUE(!ends || info->unit == absl::string_view(unit)) << name;
    }
    if (info->kind == MetricKind::kHistogram) {
      EXPECT_THAT(std::string(info->unit),
                  testing::AnyOf("seconds", "tokens", "versions", "reward", "ratio"));
    }
  }
}

TEST(MetricTablesTest, FollowKeysOfMetricsJsonlThatExist) {
  std::set<std::string> keys;
  for (const StepKey& key : StepKeys()) {
    EXPECT_TRUE(keys.insert(key.key).second) << key.key << " is declared twice";
    EXPECT_TRUE(absl::EndsWith(key.help, ".")) << key.key;
  }
  for (const MetricInfo* info : AllMetrics()) {
    std::string key = info->key;
    if (key.empty()) continue;
    if (info == &metric::kPolicyClipRatio) key = metric::FillKey(key, "low");
    EXPECT_NE(FindStepKey(key), nullptr) << info->name << " follows " << key;
  }
}

TEST(MetricTablesTest, AreWhatTheDocumentationSays) {
  const char* source = std::getenv("COHORT_SOURCE_DIR");
  if (source == nullptr || access(source, F_OK) != 0) GTEST_SKIP() << "no source tree here";
  const std::string path = absl::StrCat(source, "/docs/metrics.md");
  COHORT_ASSERT_OK_AND_ASSIGN(const std::string page, ReadFile(path));
  EXPECT_TRUE(page == MetricsPage()) << path << " is out of date: cohort metrics > docs/metrics.md";
}

// ---- the registry ----

TEST(MetricRegistryTest, RendersHelpTypeAndLabels) {
  MetricRegistry registry;
  const Counter trained = registry.Counter(metric::kGroups, {{"state", "trained"}});
  trained.Add();
  registry.Counter(metric::kGroups, {{"state", "trained"}}).Add(2);
  registry.Gauge(metric::kLearnerStep).Set(7);
  registry.Histogram(metric::kResponseLength).Observe(20);
  EXPECT_EQ(trained.Value(), 3);
  EXPECT_THAT(registry.Text(),
              AllOf(HasSubstr("# HELP cohort_groups_total Training prompts"),
                    HasSubstr("# TYPE cohort_groups_total counter"),
                    HasSubstr("cohort_groups_total{state=\"trained\"} 3"),
                    HasSubstr("cohort_learner_step 7"),
                    HasSubstr("cohort_response_length_tokens_bucket{le=\"32\"} 1")));
}

TEST(MetricRegistryTest, HasWhatCountsEventsFromTheStart) {
  MetricRegistry registry;
  registry.Declare(metric::LearnerMetrics());
  EXPECT_THAT(registry.Text(),
              AllOf(HasSubstr("cohort_checkpoint_failures_total 0"),
                    HasSubstr("cohort_nonfinite_total{where=\"grad\"} 0"),
                    HasSubstr("cohort_nonfinite_total{where=\"value\"} 0"),
                    HasSubstr("cohort_reward_sum 0"), Not(HasSubstr("cohort_policy_loss"))));
}

TEST(MetricRegistryTest, ValuesThatAreNotFiniteReachNoCounterAndNoHistogram) {
  MetricRegistry registry;
  for (const double bad : {kNaN, kInfinity, -kInfinity}) {
    registry.Counter(metric::kRolloutTokens).Add(bad);
    registry.Counter(metric::kRolloutTokens).RaiseTo(bad);
    registry.Histogram(metric::kRewardHistogram).Observe(bad);
  }
  registry.Counter(metric::kRolloutTokens).Add(-1);
  registry.Counter(metric::kRolloutTokens).Add(5);
  registry.Histogram(metric::kRewardHistogram).Observe(-0.5);
  EXPECT_THAT(registry.Text(),
              AllOf(HasSubstr("cohort_rollout_tokens_total 5"), HasSubstr("cohort_reward_sum -0.5"),
                    HasSubstr("cohort_reward_count 1"),
                    HasSubstr("refused_total{metric=\"cohort_rollout_tokens_total\"} 6"),
                    HasSubstr("refused_total{metric=\"cohort_reward\"} 3")));
}

TEST(MetricRegistryTest, LabelValuesAreBoundedAndUtf8) {
  MetricRegistry registry;
  registry.Counter(metric::kGroups, {{"state", "unheard_of"}}).Add();
  registry.Gauge(metric::kEvalPass, {{"suite", "a\xff\n\"b"}}).Set(1);
  registry.Gauge(metric::kEvalPass, {{"suite", std::string(255, 'x') + "\u00e4\u00e4"}}).Set(1);
  for (size_t i = 0; i < 2 * MetricRegistry::kMaxSeries; ++i) {
    registry.Gauge(metric::kEvalRows, {{"suite", absl::StrCat(i)}}).Set(1);
  }
  const std::string text = registry.Text();
  EXPECT_EQ(text, ValidUtf8(text));
  EXPECT_THAT(text, AllOf(HasSubstr("cohort_groups_total{state=\"other\"} 1"),
                          HasSubstr("cohort_eval_rows{suite=\"255\"} 1"),
                          HasSubstr("cohort_eval_rows{suite=\"other\"} 1"),
                          Not(HasSubstr("cohort_eval_rows{suite=\"256\"}"))));
}

TEST(MetricRegistryDeathTest, OtherLabelsThanTheDeclaredOnesAreABug) {
  MetricRegistry registry;
  EXPECT_DEATH(registry.Counter(metric::kGroups), "declared with the labels state");
  EXPECT_DEATH(registry.Counter(metric::kGroups, {{"worker", "w"}}), "declared with the labels");
}

TEST(MetricRegistryTest, ARemovedGaugeIsGoneAndMayComeBack) {
  MetricRegistry registry;
  registry.Gauge(metric::kWorkers, {{"state", "dead"}}).Set(1);
  registry.RemoveGauge(metric::kWorkers, {{"state", "dead"}});
  registry.RemoveGauge(metric::kWorkers, {{"state", "stale"}});  // was never there
  EXPECT_THAT(registry.Text(), Not(HasSubstr("dead")));
  registry.Gauge(metric::kWorkers, {{"state", "dead"}}).Set(2);
  EXPECT_THAT(registry.Text(), HasSubstr("cohort_workers{state=\"dead\"} 2"));
}

TEST(MetricRegistryTest, SaysFromTheStartWhichProgramRuns) {
  EXPECT_THAT(MetricRegistry().Text(),
              testing::ContainsRegex("cohort_build_info\\{version=\"[0-9.]+\"\\} 1"));
}

TEST(MetricRegistryTest, KnowsTheProcess) {
  const MetricRegistry registry;
  const std::string text = registry.Text();
  for (const MetricInfo* info :
       {&metric::kProcessCpu, &metric::kProcessResident, &metric::kProcessOpenFds,
        &metric::kProcessMaxFds, &metric::kProcessStart}) {
    const size_t line = text.find(absl::StrCat("\n", info->name, " "));
    ASSERT_NE(line, std::string::npos) << info->name;
    EXPECT_GT(std::stod(text.substr(line + 2 + absl::string_view(info->name).size())), 0)
        << info->name;
  }
}

TEST(MetricRegistryTest, ATotalCountedElsewhereOnlyRaisesACounter) {
  MetricRegistry registry;
  const Counter counter = registry.Counter(metric::kReconnects);
  counter.RaiseTo(0);
  EXPECT_THAT(registry.Text(), HasSubstr("cohort_rollout_reconnects_total 0"));
  counter.RaiseTo(3);
  counter.RaiseTo(2);
  EXPECT_EQ(counter.Value(), 3);
}

TEST(MetricRegistryTest, ManyThreadsCountTogether) {
  MetricRegistry registry;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&registry] {
      for (int i = 0; i < 1000; ++i) registry.Counter(metric::kRolloutTokens).Add();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(registry.Counter(metric::kRolloutTokens).Value(), 4000);
}

// ---- from metrics.jsonl ----

TEST(ExportRowTest, MetricsFollowTheirKeys) {
  MetricRegistry registry;
  MetricRow row;
  row.Set(metric::kLoss, 0.25);
  row.Set(metric::kTimeStep, 7.0);
  row.Set(metric::kRowsUnscorable, 3);
  row.Set(metric::kClipLow, 0.125);
  row.Set(metric::kClipDual, 0.5);
  row.Set(metric::EvalAccuracy("gsm8k"), 0.75);
  row.SetText(metric::kWeightsHash, "ab");
  ExportRow(row, metric::LearnerMetrics(), &registry);
  ExportRow(row, metric::LearnerMetrics(), &registry);
  EXPECT_THAT(
      registry.Text(),
      AllOf(HasSubstr("cohort_policy_loss 0.25"), HasSubstr("cohort_responses_unscorable_total 6"),
            HasSubstr("cohort_policy_clip_ratio{side=\"low\"} 0.125"),
            HasSubstr("cohort_eval_pass_ratio{suite=\"gsm8k\"} 0.75"), Not(HasSubstr("dual"))));
}

TEST(ExportRowTest, AGaugeWhoseKeyHasNoValueIsAbsent) {
  MetricRegistry registry;
  MetricRow row;
  row.Set(metric::kKlRef, 0.5);
  ExportRow(row, metric::LearnerMetrics(), &registry);
  EXPECT_THAT(registry.Text(), HasSubstr("cohort_policy_kl_nats 0.5"));
  row.Set(metric::kKlRef, kNaN);
  ExportRow(row, metric::LearnerMetrics(), &registry);
  EXPECT_THAT(registry.Text(), Not(HasSubstr("cohort_policy_kl_nats ")));
}

// ---- the last reading ----

TEST(ScrapeWatchTest, WhatNobodyReadsIsNotWaitedFor) {
  FakeClock clock;
  ScrapeWatch scrapes(&clock);
  scrapes.WaitForLast(absl::InfiniteDuration(), [] { return false; });  // ends at once
  scrapes.Scraped();
  clock.Advance(ScrapeWatch::kRecent + absl::Seconds(1));
  scrapes.WaitForLast(absl::InfiniteDuration(), [] { return false; });
}

TEST(ScrapeWatchTest, WaitsForTwoMore) {
  ScrapeWatch scrapes;
  scrapes.Scraped();
  absl::Notification waiting, ended;
  std::thread end([&] {
    scrapes.WaitForLast(absl::Seconds(60), [&] {
      if (!waiting.HasBeenNotified()) waiting.Notify();
      return false;
    });
    ended.Notify();
  });
  waiting.WaitForNotification();
  scrapes.Scraped();
  EXPECT_FALSE(ended.WaitForNotificationWithTimeout(absl::Milliseconds(300)));
  scrapes.Scraped();
  end.join();
}

TEST(ScrapeWatchTest, AStopOrTheLimitEndsTheWait) {
  ScrapeWatch scrapes;
  scrapes.Scraped();
  int asked = 0;
  scrapes.WaitForLast(absl::InfiniteDuration(), [&] { return ++asked == 3; });
  EXPECT_EQ(asked, 3);
  scrapes.WaitForLast(absl::Milliseconds(10), [] { return false; });
}

// ---- alerts ----

class AlertLogTest : public testing::Test {
 protected:
  void SetUp() override { COHORT_ASSERT_OK_AND_ASSIGN(alerts_, AlertLog::Open(path_, &registry_)); }
  std::vector<std::string> Shown() const {
    std::vector<std::string> shown;
    const std::string text = ReadFile(path_).value_or("");
    for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
      shown.push_back(AlertText(std::string(line)));
    }
    return shown;
  }

  const TemporaryFolder folder_;
  const std::string path_ = folder_.path() + "/alerts.jsonl";
  MetricRegistry registry_;
  std::unique_ptr<AlertLog> alerts_;
};

TEST_F(AlertLogTest, AnAlertIsLoggedKeptCountedAndOverOnce) {
  EXPECT_THAT(registry_.Text(), HasSubstr("cohort_alert_active{alert=\"no_verdicts\"} 0"));
  testing::internal::CaptureStderr();
  alerts_->SetStep(4);
  alerts_->Raise(kAlertNoVerdicts, "none of 8");
  alerts_->Raise(kAlertNoVerdicts, "none of 9");
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("ALERT no_verdicts: none of 8"), HasSubstr("none of 9")));
  EXPECT_THAT(registry_.Text(), AllOf(HasSubstr("cohort_alert_active{alert=\"no_verdicts\"} 1"),
                                      HasSubstr("cohort_alerts_total{alert=\"no_verdicts\"} 2")));
  alerts_->Clear(kAlertNoVerdicts);
  alerts_->Clear(kAlertNoVerdicts);
  alerts_->Clear(kAlertImbalance);  // was never raised
  EXPECT_THAT(registry_.Text(), HasSubstr("cohort_alert_active{alert=\"no_verdicts\"} 0"));
  const std::vector<Alert> known = alerts_->Snapshot();
  ASSERT_EQ(known.size(), 1u);
  EXPECT_EQ(known[0].text, "none of 9");
  EXPECT_EQ(known[0].step, 4);
  EXPECT_EQ(known[0].count, 2);
  EXPECT_TRUE(known[0].over);
  EXPECT_THAT(Shown(), testing::ElementsAre("ALERT no_verdicts: none of 8",
                                            "ALERT no_verdicts: none of 9", "over: no_verdicts"));
}

TEST_F(AlertLogTest, AStatusThatEndsTheRunMayBeAnAlert) {
  EXPECT_FALSE(alerts_->RaiseFrom(absl::InternalError("something else")));
  EXPECT_FALSE(alerts_->RaiseFrom(absl::OkStatus()));
  EXPECT_TRUE(alerts_->RaiseFrom(
      absl::FailedPreconditionError(AlertLine(kAlertNoTrainableGroups, "8 prompts: all failed"))));
  EXPECT_THAT(Shown(), testing::ElementsAre("ALERT no_trainable_groups: 8 prompts: all failed"));
}

TEST(AlertTextTest, WhatIsNoAlertIsNoText) {
  for (const char* line : {"", "{", "[]", "{}", R"({"alert": 3})"}) EXPECT_EQ(AlertText(line), "");
  EXPECT_EQ(AlertText(R"({"alert": "a", "text": 3})"), "ALERT a: ");
}

}  // namespace
}  // namespace cohort

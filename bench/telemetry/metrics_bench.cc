// What metrics cost: the learner's export of a step, its look at what is going on every other
// second, one reading of /metrics, and a worker's share of a decoding step.
// bench/telemetry/metrics_cpu.py sets them against a step of a run.
#include <benchmark/benchmark.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/telemetry/metric_names.h"
#include "common/telemetry/phase_timer.h"
#include "services/learner/run_metrics.h"

namespace cohort {
namespace {

Group GroupOfRows(int64_t rows, size_t tokens) {
  Group group;
  group.reward_names = {"exact"};
  for (int64_t i = 0; i < rows; ++i) {
    Row& row = group.rows.emplace_back();
    row.tokens.assign(tokens, 7);
    row.versions.assign(tokens, 0);
    row.rewards = {static_cast<float>(i % 2)};
    row.reward = static_cast<double>(i % 2);
  }
  return group;
}

// Everything that a step sets, by its key.
MetricRow RowOfAStep() {
  MetricRow row;
  for (const MetricInfo* info : metric::LearnerMetrics()) {
    if (*info->key != '\0') row.Set(metric::FillKey(info->key, "name"), 0.5);
  }
  for (int i = static_cast<int>(row.values().size()); i < 80; ++i)
    row.Set(absl::StrCat("k/", i), 1);
  return row;
}

class Learner {
 public:
  // 64 groups of 8 rows of 24 tokens, and 8 workers.
  Learner() : workers_(8) {
    for (int i = 0; i < 64; ++i) batch_.groups.push_back(GroupOfRows(8, 24));
    batch_.queued.assign(64, absl::Seconds(1));
    line_.report = &report_;
    line_.batch = &batch_;
    line_.phase_seconds = {{metric::kPhaseWaitBatch, 1}, {metric::kPhaseForward, 1}};
  }
  void Step() { metrics_.Step(line_, row_); }
  void Tick() {
    metrics_.Phase(&timer_);
    metrics_.Ledger({});
    metrics_.Workers(workers_, 1);
    metrics_.Sessions({});
    metrics_.Weights({});
  }
  std::string Text() const { return registry_.Text(); }

 private:
  MetricRegistry registry_;
  RunMetrics metrics_{{}, std::filesystem::temp_directory_path().string(), &registry_};
  PhaseTimer timer_{metric::kPhaseOther};
  const MetricRow row_ = RowOfAStep();
  StepReport report_;
  DispatchBatch batch_;
  StepLine line_;
  std::vector<v1::WorkerStatus> workers_;
};

void LearnerStep(benchmark::State& state) {
  Learner learner;
  for (auto _ : state) learner.Step();
}
BENCHMARK(LearnerStep);

void LearnerTick(benchmark::State& state) {
  Learner learner;
  for (auto _ : state) learner.Tick();
}
BENCHMARK(LearnerTick);

void LearnerScrape(benchmark::State& state) {
  Learner learner;
  learner.Step();
  learner.Tick();
  size_t bytes = 0;
  for (auto _ : state) bytes += learner.Text().size();
  state.counters["bytes"] = benchmark::Counter(double(bytes), benchmark::Counter::kAvgIterations);
}
BENCHMARK(LearnerScrape);

// As GenerationLoop does around each decoding step.
void WorkerDecode(benchmark::State& state) {
  MetricRegistry registry;
  for (auto _ : state) {
    registry.Gauge(metric::kRolloutRunningSequences).Set(8);
    registry.Gauge(metric::kRolloutWaitingSequences).Set(0);
    registry.Counter(metric::kRolloutStateSeconds, {{"state", "generate"}}).Add(0.01);
    registry.Counter(metric::kRolloutTokens).Add(8);
  }
}
BENCHMARK(WorkerDecode);

void WorkerScrape(benchmark::State& state) {
  MetricRegistry registry;
  registry.Declare(metric::RolloutMetrics());
  for (auto _ : state) benchmark::DoNotOptimize(registry.Text());
}
BENCHMARK(WorkerScrape);

}  // namespace
}  // namespace cohort

// What reward, advantage and filter code costs beside the model: the arithmetic of one batch of
// `rows` responses of `tokens` tokens, all of common/rl that a step calls. Compare ns_per_token
// with bench/step's forward and backward passes (microseconds per token and million parameters).
//
//   build/release/bench/rl_bench
#include <benchmark/benchmark.h>

#include <vector>

#include "common/base/rng.h"
#include "common/rl/advantage.h"
#include "common/rl/aggregation.h"
#include "common/rl/filter.h"
#include "common/rl/offpolicy.h"
#include "common/rl/policy_loss.h"
#include "common/rl/shaping.h"

namespace cohort {
namespace {

constexpr size_t kGroupRows = 8;

struct Batch {
  size_t rows, tokens;  // tokens per row
  std::vector<uint8_t> mask;
  std::vector<double> old, rollout, logprob, reference;
  std::vector<int64_t> offsets{0};
  std::vector<double> reward;

  Batch(size_t row_count, size_t row_tokens) : rows(row_count), tokens(row_tokens) {
    CounterRng rng(1);
    for (size_t i = 0; i < rows; ++i) {
      reward.push_back(static_cast<double>(rng.Below(2)));
      for (size_t t = 0; t < tokens; ++t) {
        mask.push_back(1);
        old.push_back(-2 * rng.Uniform());
        rollout.push_back(old.back() + 0.01 * rng.Uniform());
        logprob.push_back(old.back() + 0.1 * rng.Uniform());
        reference.push_back(old.back() + 0.1 * rng.Uniform());
      }
      offsets.push_back(static_cast<int64_t>(old.size()));
    }
  }
  template <typename T>
  absl::Span<const T> Row(const std::vector<T>& all, size_t i) const {
    return absl::MakeConstSpan(all).subspan(i * tokens, tokens);
  }
};

AlgorithmSpec Dapo() {
  AlgorithmSpec spec;
  spec.prompt_filter.kind = PromptFilter::kDynamic;
  spec.trust.clip = ClipSpec{0.2, 0.28, 10.0, {}};
  spec.kl = {KlPlacement::kLoss, KlEstimator::kK3, 0.001};
  spec.offpolicy.kind = OffPolicy::kTis;
  ShapingSpec overlong;
  overlong.max_length = 1024, overlong.cache_length = 256;
  spec.shaping = {overlong};
  return spec;
}

void Shape(const AlgorithmSpec& spec, const Batch& b) {
  std::vector<ShapingRow> group(kGroupRows);
  for (size_t first = 0; first < b.rows; first += kGroupRows) {
    std::vector<double> accuracy;
    for (size_t i = 0; i < kGroupRows; ++i) {
      group[i].reward = b.reward[first + i];
      group[i].length = static_cast<int64_t>(b.tokens);
      accuracy.push_back(group[i].reward);
    }
    ApplyShaping(spec.shaping, 1, absl::MakeSpan(group));
    benchmark::DoNotOptimize(JudgePrompt(spec.prompt_filter, accuracy));
  }
}

std::vector<double> TokenAdvantages(const AlgorithmSpec& spec, const Batch& b) {
  std::vector<AdvantageRow> rows(b.rows);
  for (size_t i = 0; i < b.rows; ++i) {
    rows[i].group = static_cast<int64_t>(i / kGroupRows);
    rows[i].reward = b.reward[i];
    rows[i].mask = b.Row(b.mask, i);
  }
  const Advantages advantages = *ComputeAdvantages(spec.advantage, rows);
  std::vector<double> out;
  out.reserve(b.mask.size());
  for (size_t i = 0; i < b.rows; ++i) {
    for (size_t t = 0; t < b.tokens; ++t) out.push_back(advantages.At(i, t));
  }
  return out;
}

std::vector<double> Corrections(const AlgorithmSpec& spec, const Batch& b) {
  std::vector<OffPolicyRow> rows;
  for (size_t i = 0; i < b.rows; ++i) {
    rows.push_back({b.Row(b.old, i), b.Row(b.rollout, i), b.Row(b.mask, i)});
  }
  const Correction correction = *CorrectOffPolicy(spec.offpolicy, rows);
  std::vector<double> out;
  out.reserve(b.mask.size());
  for (const std::vector<double>& row : correction.weight) {
    out.insert(out.end(), row.begin(), row.end());
  }
  return out;
}

void BM_OneBatch(benchmark::State& state) {
  const Batch b(static_cast<size_t>(state.range(0)), static_cast<size_t>(state.range(1)));
  const AlgorithmSpec spec = Dapo();
  for (auto _ : state) {
    Shape(spec, b);
    const std::vector<double> advantage = TokenAdvantages(spec, b);
    const std::vector<double> correction = Corrections(spec, b);
    std::vector<AggregationRow> counts(b.rows, {static_cast<int64_t>(b.tokens), 0, 0});
    const std::vector<double> row_weight = AggregationWeights(spec.agg, counts);
    const std::vector<double> weight(b.mask.size(), row_weight[0]);
    PolicyTokens x;
    x.logprob = b.logprob, x.old = b.old, x.advantage = advantage, x.weight = weight;
    x.correction = correction, x.reference = b.reference, x.mask = b.mask;
    x.row_offsets = b.offsets;
    benchmark::DoNotOptimize(ComputePolicyLoss(MakePolicyLossSpec(spec), x)->loss);
  }
  const double tokens = static_cast<double>(b.mask.size());
  state.counters["ns_per_token"] = benchmark::Counter(
      tokens * 1e-9, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}
BENCHMARK(BM_OneBatch)->Args({32, 24})->Args({256, 256})->Args({512, 1024});

}  // namespace
}  // namespace cohort

#include "tests/t0/enumeration.h"

#include <cmath>

#include "common/base/log.h"
#include "common/rl/advantage.h"
#include "common/rl/aggregation.h"
#include "common/rl/offpolicy.h"
#include "common/rl/policy_loss.h"
#include "tests/t0/tabular_world.h"

namespace cohort::t0 {
namespace {

// The arrays of a batch, token by token.
struct Arrays {
  std::vector<std::vector<uint8_t>> mask;
  std::vector<std::vector<double>> trainer, engine;  // log-probs
  std::vector<double> logprob, advantage, weight, correction;
  std::vector<int64_t> offsets{0};
};

// A response's probability is put on its first token: only the row's product matters here.
void AddRow(const Outcome& outcome, Arrays* arrays) {
  const size_t tokens = outcome.score.size();
  arrays->mask.emplace_back(tokens, 1);
  arrays->trainer.emplace_back(tokens, 0.0);
  arrays->engine.emplace_back(tokens, 0.0);
  arrays->trainer.back()[0] = std::log(outcome.probability);
  arrays->engine.back()[0] = std::log(outcome.SampledWith());
}

std::vector<double> CorrectionOf(const OffPolicySpec& spec, const Arrays& arrays) {
  std::vector<OffPolicyRow> rows;
  for (size_t i = 0; i < arrays.mask.size(); ++i) {
    rows.push_back({arrays.trainer[i], arrays.engine[i], arrays.mask[i]});
  }
  absl::StatusOr<Correction> correction = CorrectOffPolicy(spec, rows);
  COHORT_CHECK(correction.ok()) << correction.status().ToString();
  std::vector<double> flat;
  for (const std::vector<double>& row : correction->weight) {
    flat.insert(flat.end(), row.begin(), row.end());
  }
  return flat;
}

}  // namespace

std::vector<double> UpdateOf(const AlgorithmSpec& spec, const std::vector<BatchRow>& batch) {
  Arrays arrays;
  for (const BatchRow& row : batch) AddRow(*row.outcome, &arrays);
  std::vector<AdvantageRow> rows(batch.size());
  std::vector<AggregationRow> counts;
  for (size_t i = 0; i < batch.size(); ++i) {
    rows[i].group = batch[i].group;
    rows[i].reward = batch[i].outcome->reward;
    rows[i].greedy_reward = batch[i].greedy_reward;
    rows[i].mask = arrays.mask[i];
    counts.push_back({static_cast<int64_t>(arrays.mask[i].size()), batch[i].group, 0});
  }
  absl::StatusOr<Advantages> advantages = ComputeAdvantages(spec.advantage, rows);
  COHORT_CHECK(advantages.ok()) << advantages.status().ToString();
  const std::vector<double> row_weight = AggregationWeights(spec.agg, counts);
  for (size_t i = 0; i < batch.size(); ++i) {
    for (size_t t = 0; t < arrays.mask[i].size(); ++t) {
      arrays.logprob.push_back(arrays.trainer[i][t]);
      arrays.advantage.push_back(advantages->At(i, t));
      arrays.weight.push_back(row_weight[i]);
    }
    arrays.offsets.push_back(static_cast<int64_t>(arrays.logprob.size()));
  }
  arrays.correction = CorrectionOf(spec.offpolicy, arrays);
  PolicyTokens tokens;
  tokens.logprob = arrays.logprob, tokens.advantage = arrays.advantage;
  tokens.weight = arrays.weight, tokens.correction = arrays.correction;
  tokens.row_offsets = arrays.offsets;
  absl::StatusOr<PolicyLoss> loss = ComputePolicyLoss(MakePolicyLossSpec(spec), tokens);
  COHORT_CHECK(loss.ok()) << loss.status().ToString();

  std::vector<double> update(batch[0].outcome->score[0].size(), 0);
  size_t at = 0;
  for (const BatchRow& row : batch) {
    for (const std::vector<double>& score : row.outcome->score) {
      for (size_t j = 0; j < update.size(); ++j) update[j] -= loss->d_logprob[at] * score[j];
      ++at;
    }
  }
  return update;
}

std::vector<double> TrueGradient(const std::vector<Outcome>& outcomes) {
  std::vector<double> gradient(outcomes[0].score[0].size(), 0);
  for (const Outcome& outcome : outcomes) {
    for (const std::vector<double>& score : outcome.score) {
      for (size_t j = 0; j < gradient.size(); ++j) {
        gradient[j] += outcome.probability * outcome.reward * score[j];
      }
    }
  }
  return gradient;
}

namespace {

// Adds one batch of the given probability; `moments->variance` holds the mean square until Finish.
void Accumulate(double probability, const std::vector<double>& update, UpdateMoments* moments) {
  moments->mean.resize(update.size(), 0);
  for (size_t j = 0; j < update.size(); ++j) {
    moments->mean[j] += probability * update[j];
    moments->variance += probability * update[j] * update[j];
  }
}

void Finish(UpdateMoments* moments) {
  for (double m : moments->mean) moments->variance -= m * m;
}

}  // namespace

UpdateMoments ExpectedUpdate(const AlgorithmSpec& spec, const std::vector<Outcome>& outcomes, int n,
                             double greedy_reward) {
  UpdateMoments moments;
  std::vector<size_t> choice(static_cast<size_t>(n), 0);
  while (true) {
    double probability = 1;
    std::vector<BatchRow> batch;
    for (size_t c : choice) {
      probability *= outcomes[c].SampledWith();
      batch.push_back({&outcomes[c], 0, greedy_reward});
    }
    Accumulate(probability, UpdateOf(spec, batch), &moments);
    size_t digit = 0;
    while (digit < choice.size() && ++choice[digit] == outcomes.size()) choice[digit++] = 0;
    if (digit == choice.size()) break;
  }
  Finish(&moments);
  return moments;
}

UpdateMoments ExpectedUpdateByCounts(const AlgorithmSpec& spec, const Outcome& first,
                                     const Outcome& second, int n) {
  UpdateMoments moments;
  for (int k = 0; k <= n; ++k) {
    std::vector<BatchRow> batch(static_cast<size_t>(k), {&first, 0, 0});
    batch.resize(static_cast<size_t>(n), {&second, 0, 0});
    Accumulate(BinomialProbability(n, k, first.SampledWith()), UpdateOf(spec, batch), &moments);
  }
  Finish(&moments);
  return moments;
}

double Binomial(int n, int k) {
  double value = 1;
  for (int i = 1; i <= k; ++i) value *= static_cast<double>(n - k + i) / i;
  return value;
}

double BinomialProbability(int n, int k, double p) {
  return Binomial(n, k) * std::pow(p, k) * std::pow(1 - p, n - k);
}

std::vector<Outcome> RightOrWrong(double p) { return {{p, 1, {{1 - p}}}, {1 - p, 0, {{-p}}}}; }

std::vector<Outcome> SoftmaxOutcomes(const std::vector<double>& logits,
                                     const std::vector<double>& rewards) {
  const std::vector<double> p = Softmax(logits);
  std::vector<Outcome> outcomes;
  for (size_t v = 0; v < p.size(); ++v) {
    std::vector<double> score;
    for (size_t j = 0; j < p.size(); ++j) score.push_back((j == v ? 1 : 0) - p[j]);
    outcomes.push_back({p[v], rewards[v], {score}});
  }
  return outcomes;
}

AlgorithmSpec PolicyGradient(AdvantageBaseline baseline, AdvantageScale scale,
                             Aggregation aggregation) {
  AlgorithmSpec spec;
  spec.advantage.baseline = baseline;
  spec.advantage.scale = scale;
  spec.advantage.eps = 0;
  spec.ratio = Ratio::kNone;
  spec.agg.mode = aggregation;
  return spec;
}

}  // namespace cohort::t0

#include "tests/t0/tabular_world.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "common/base/log.h"
#include "common/rl/advantage.h"
#include "common/rl/aggregation.h"
#include "common/rl/policy_loss.h"

namespace cohort::t0 {

std::vector<double> Softmax(const std::vector<double>& logits) {
  const double top = *std::max_element(logits.begin(), logits.end());
  std::vector<double> p;
  double sum = 0;
  for (double z : logits) sum += p.emplace_back(std::exp(z - top));
  for (double& x : p) x /= sum;
  return p;
}

double EntropyOf(const std::vector<double>& probabilities) {
  double sum = 0;
  for (double p : probabilities) sum -= p > 0 ? p * std::log(p) : 0;
  return sum;
}

double Gaussian(CounterRng* rng) {
  const double radius = std::sqrt(-2 * std::log(rng->Uniform()));
  return radius * std::cos(2 * std::numbers::pi * rng->Uniform());
}

size_t TabularPolicy::Greedy(size_t prompt) const {
  const std::vector<double>& z = logits[prompt];
  return static_cast<size_t>(std::max_element(z.begin(), z.end()) - z.begin());
}

double TabularPolicy::PassAt1() const {
  double sum = 0;
  for (size_t q = 0; q < logits.size(); ++q) sum += Probabilities(q)[0];
  return sum / static_cast<double>(logits.size());
}

double TabularPolicy::GreedyAccuracy() const {
  double right = 0;
  for (size_t q = 0; q < logits.size(); ++q) right += Greedy(q) == 0 ? 1 : 0;
  return right / static_cast<double>(logits.size());
}

double TabularPolicy::MeanEntropy() const {
  double sum = 0;
  for (size_t q = 0; q < logits.size(); ++q) sum += EntropyOf(Probabilities(q));
  return sum / static_cast<double>(logits.size());
}

std::vector<Sampled> SampleGroups(const TabularPolicy& policy, absl::Span<const size_t> prompts,
                                  int64_t group_size, CounterRng* rng) {
  std::vector<Sampled> rows;
  rows.reserve(prompts.size() * static_cast<size_t>(group_size));
  for (size_t g = 0; g < prompts.size(); ++g) {
    const std::vector<double> p = policy.Probabilities(prompts[g]);
    for (int64_t i = 0; i < group_size; ++i) {
      double left = rng->Uniform();
      size_t answer = 0;
      while (answer + 1 < p.size() && left >= p[answer]) left -= p[answer++];
      rows.push_back({prompts[g], static_cast<int64_t>(g), answer, std::log(p[answer]), 0});
    }
  }
  return rows;
}

void ForEachGroup(absl::Span<Sampled> rows, const std::function<void(absl::Span<Sampled>)>& visit) {
  for (size_t begin = 0; begin < rows.size();) {
    size_t end = begin;
    while (end < rows.size() && rows[end].group == rows[begin].group) ++end;
    visit(rows.subspan(begin, end - begin));
    begin = end;
  }
}

void RewardRightAnswers(absl::Span<Sampled> rows) {
  for (Sampled& row : rows) row.reward = row.answer == 0 ? 1 : 0;
}

namespace {

std::vector<Answer> AnswersOf(absl::Span<const Sampled> group) {
  std::vector<Answer> answers;
  for (const Sampled& row : group) answers.emplace_back(std::to_string(row.answer));
  return answers;
}

void SetRewards(const std::vector<double>& rewards, absl::Span<Sampled> group) {
  for (size_t i = 0; i < group.size(); ++i) group[i].reward = rewards[i];
}

}  // namespace

void RewardMajority(absl::Span<Sampled> rows) {
  ForEachGroup(rows, [](absl::Span<Sampled> group) {
    const std::vector<Answer> answers = AnswersOf(group);
    SetRewards(LabelRewards(answers, MajorityVote(answers).label), group);
  });
}

void RewardSemanticFrequency(absl::Span<Sampled> rows) {
  GateSpec gate;
  gate.kind = Gate::kFewerClustersThanN;
  ForEachGroup(rows, [&](absl::Span<Sampled> group) {
    SetRewards(SemanticFrequencyRewards(AnswersOf(group), gate), group);
  });
}

void RewardLogprob(absl::Span<Sampled> rows) {
  const uint8_t valid = 1;
  for (Sampled& row : rows) {
    row.reward =
        SequenceLogprob(absl::MakeConstSpan(&row.logprob, 1), absl::MakeConstSpan(&valid, 1));
  }
}

namespace {

// One optimizer step on some rows of the batch. Returns the gradient's norm.
double Step(const TrainOptions& options, absl::Span<const Sampled> rows,
            absl::Span<const double> advantage, bool fresh, TabularPolicy* policy) {
  std::vector<double> logprob, old, weight;
  std::vector<int64_t> offsets{0};
  std::vector<AggregationRow> counts;
  std::vector<std::vector<double>> p(policy->logits.size());
  for (const Sampled& row : rows) {
    if (p[row.prompt].empty()) p[row.prompt] = policy->Probabilities(row.prompt);
    logprob.push_back(std::log(p[row.prompt][row.answer]));
    old.push_back(row.logprob);
    counts.push_back({1, row.group, 0});
    offsets.push_back(static_cast<int64_t>(logprob.size()));
  }
  weight = AggregationWeights(options.spec.agg, counts);
  const std::vector<uint8_t> mask(rows.size(), 1);
  const std::vector<uint8_t> selected =
      SelectByCovariance(options.spec.trust, old, old, advantage, mask, 1);
  PolicyTokens tokens;
  tokens.logprob = logprob, tokens.advantage = advantage, tokens.weight = weight;
  tokens.row_offsets = offsets, tokens.selected = selected;
  if (!fresh) tokens.old = old;
  absl::StatusOr<PolicyLoss> loss = ComputePolicyLoss(MakePolicyLossSpec(options.spec), tokens);
  COHORT_CHECK(loss.ok()) << loss.status().ToString();

  std::vector<std::vector<double>> gradient(policy->logits.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    const double d = loss->d_logprob[i];
    std::vector<double>& g = gradient[rows[i].prompt];
    const std::vector<double>& probability = p[rows[i].prompt];
    g.resize(probability.size(), 0);
    for (size_t j = 0; j < g.size(); ++j) g[j] -= d * probability[j];
    g[rows[i].answer] += d;
  }
  double squares = 0;
  for (size_t q = 0; q < gradient.size(); ++q) {
    for (size_t j = 0; j < gradient[q].size(); ++j) {
      squares += gradient[q][j] * gradient[q][j];
      policy->logits[q][j] -= options.lr * gradient[q][j];
    }
  }
  return std::sqrt(squares);
}

}  // namespace

double Learn(const TrainOptions& options, absl::Span<const Sampled> rows, TabularPolicy* policy) {
  const uint8_t valid = 1;
  std::vector<AdvantageRow> inputs(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    inputs[i].group = rows[i].group;
    inputs[i].reward = rows[i].reward;
    inputs[i].mask = absl::MakeConstSpan(&valid, 1);
  }
  absl::StatusOr<Advantages> advantages = ComputeAdvantages(options.spec.advantage, inputs);
  COHORT_CHECK(advantages.ok()) << advantages.status().ToString();
  std::vector<double> advantage;
  for (size_t i = 0; i < rows.size(); ++i) advantage.push_back(advantages->At(i, 0));

  double norm = 0;
  const size_t parts = static_cast<size_t>(options.mini_batches);
  for (int64_t epoch = 0; epoch < options.epochs; ++epoch) {
    for (size_t m = 0; m < parts; ++m) {
      const size_t begin = rows.size() * m / parts, end = rows.size() * (m + 1) / parts;
      norm = Step(options, rows.subspan(begin, end - begin),
                  absl::MakeConstSpan(advantage).subspan(begin, end - begin),
                  parts * static_cast<size_t>(options.epochs) == 1, policy);
    }
  }
  return norm;
}

double TrainStep(const TrainOptions& options, const Rewarder& rewarder,
                 absl::Span<const size_t> prompts, CounterRng* rng, TabularPolicy* policy) {
  std::vector<Sampled> rows = SampleGroups(*policy, prompts, options.group_size, rng);
  rewarder(absl::MakeSpan(rows));
  return Learn(options, rows, policy);
}

std::vector<size_t> AllPrompts(size_t count) {
  std::vector<size_t> prompts(count);
  std::iota(prompts.begin(), prompts.end(), size_t{0});
  return prompts;
}

TabularPolicy RandomBase(size_t prompts, size_t answers, double spread, double head_start,
                         CounterRng* rng) {
  TabularPolicy policy;
  for (size_t q = 0; q < prompts; ++q) {
    std::vector<double> z;
    for (size_t v = 0; v < answers; ++v) z.push_back(spread * Gaussian(rng));
    z[0] += head_start;
    policy.logits.push_back(std::move(z));
  }
  return policy;
}

AlgorithmSpec Grpo() {
  AlgorithmSpec spec;
  spec.trust.clip = ClipSpec{};
  spec.agg.mode = Aggregation::kTokenMean;
  return spec;
}

}  // namespace cohort::t0

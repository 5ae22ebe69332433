#include "common/objective/token_scores.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "common/objective/policy_loss.h"
#include "common/objective/softmax_rows.h"
#include "common/rl/aggregation.h"

namespace cohort {
namespace {

struct Case {
  at::Tensor hidden, head, targets;
};

Case MakeCase(int64_t n, int64_t width, int64_t vocab, at::ScalarType type, int64_t seed = 1) {
  at::manual_seed(static_cast<uint64_t>(seed));
  return {at::randn({n, width}, at::kDouble).to(type).requires_grad_(true),
          at::randn({vocab, width}, at::kDouble).to(type).requires_grad_(true),
          at::randint(vocab, {n}, at::kLong)};
}

// The same numbers from whole [n, vocab] matrices in fp64.
TokenScores Naive(const Case& c, double temperature) {
  const at::Tensor logits = at::mm(c.hidden.to(at::kDouble), c.head.to(at::kDouble).t());
  const at::Tensor logp = at::log_softmax(logits / temperature, 1);
  return {logp.gather(1, c.targets.unsqueeze(1)).squeeze(1), -(logp.exp() * logp).sum(1)};
}

double MaxDifference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

struct Gradients {
  at::Tensor hidden, head;
};

Gradients Backpropagate(const Case& c, const TokenScores& scores, bool entropy) {
  c.hidden.mutable_grad() = at::Tensor();
  c.head.mutable_grad() = at::Tensor();
  const auto g = at::arange(1, c.targets.size(0) + 1, at::kDouble).to(scores.logprob.scalar_type());
  at::Tensor loss = (scores.logprob * g).sum();
  if (entropy) loss = loss + (scores.entropy * g.flip(0)).sum();
  loss.backward();
  return {c.hidden.grad().clone(), c.head.grad().clone()};
}

TokenScores Score(const Case& c, double temperature, int64_t chunk, bool entropy) {
  TokenScoreOptions options;
  options.temperature = temperature;
  options.chunk_rows = chunk;
  options.entropy_gradient = entropy;
  return ScoreTokens(c.hidden, c.head, c.targets, options);
}

class TokenScoresOf : public testing::TestWithParam<std::tuple<at::ScalarType, double>> {};

TEST_P(TokenScoresOf, AgreeWithWholeMatricesInValueAndGradient) {
  const auto [type, tolerance] = GetParam();
  for (int64_t vocab : {5, 16, 37, 128}) {
    for (double temperature : {1.0, 0.7}) {
      const Case c = MakeCase(11, 8, vocab, type, vocab);
      const TokenScores got = Score(c, temperature, 4, true);
      const Gradients got_grad = Backpropagate(c, got, true);
      const TokenScores want = Naive(c, temperature);
      const Gradients want_grad = Backpropagate(c, want, true);
      EXPECT_LT(MaxDifference(got.logprob, want.logprob), tolerance);
      EXPECT_LT(MaxDifference(got.entropy, want.entropy), tolerance);
      const double scale = want_grad.hidden.abs().max().item<double>() + 1;
      EXPECT_LT(MaxDifference(got_grad.hidden, want_grad.hidden), tolerance * scale);
      const double head_scale = want_grad.head.abs().max().item<double>() + 1;
      EXPECT_LT(MaxDifference(got_grad.head, want_grad.head), tolerance * head_scale);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, TokenScoresOf,
                         testing::Values(std::make_tuple(at::kDouble, 1e-11),
                                         std::make_tuple(at::kFloat, 2e-5),
                                         std::make_tuple(at::kBFloat16, 6e-2),
                                         // No row kernel: the path that accelerators take.
                                         std::make_tuple(at::kHalf, 1e-2)));

TEST(TokenScores, DoNotDependOnTheChunkSize) {
  const Case c = MakeCase(23, 6, 50, at::kDouble);
  const TokenScores whole = Score(c, 0.9, 1000, true);
  const Gradients whole_grad = Backpropagate(c, whole, true);
  for (int64_t chunk : {1, 2, 5, 22}) {
    const TokenScores part = Score(c, 0.9, chunk, true);
    const Gradients part_grad = Backpropagate(c, part, true);
    EXPECT_LT(MaxDifference(whole.logprob, part.logprob), 1e-12);
    EXPECT_LT(MaxDifference(whole.entropy, part.entropy), 1e-12);
    EXPECT_LT(MaxDifference(whole_grad.hidden, part_grad.hidden), 1e-11);
    EXPECT_LT(MaxDifference(whole_grad.head, part_grad.head), 1e-11);
  }
}

TEST(TokenScores, GradientsAgreeWithFiniteDifferences) {
  const Case c = MakeCase(3, 4, 7, at::kDouble);
  const Gradients exact = Backpropagate(c, Score(c, 0.8, 2, true), true);
  const auto value = [&] {
    const TokenScores s = Score(c, 0.8, 2, true);
    const at::Tensor g = at::arange(1, 4, at::kDouble);
    return ((s.logprob * g).sum() + (s.entropy * g.flip(0)).sum()).item<double>();
  };
  for (const auto& [x, gradient] :
       {std::make_pair(c.hidden, exact.hidden), std::make_pair(c.head, exact.head)}) {
    double* data = x.data_ptr<double>();
    const double* g = gradient.const_data_ptr<double>();
    for (int64_t i = 0; i < x.numel(); ++i) {
      const double keep = data[i], h = 1e-6;
      data[i] = keep + h;
      const double up = value();
      data[i] = keep - h;
      const double down = value();
      data[i] = keep;
      EXPECT_NEAR(g[i], (up - down) / (2 * h), 1e-7);
    }
  }
}

TEST(TokenScores, RowsWithoutGradientAreLeftOutWithTheSameResult) {
  const Case c = MakeCase(9, 5, 30, at::kDouble);
  at::Tensor g = at::randn({9}, at::kDouble);
  g.index_put_({at::tensor({0, 3, 4, 8})}, at::zeros({4}, at::kDouble));
  (Score(c, 1, 4, false).logprob * g).sum().backward();
  const Gradients got{c.hidden.grad().clone(), c.head.grad().clone()};
  c.hidden.mutable_grad() = at::Tensor();
  c.head.mutable_grad() = at::Tensor();
  (Naive(c, 1).logprob * g).sum().backward();
  EXPECT_LT(MaxDifference(got.hidden, c.hidden.grad()), 1e-12);
  EXPECT_LT(MaxDifference(got.head, c.head.grad()), 1e-12);
}

TEST(TokenScores, TheEntropyCarriesNoGradientUnlessAskedFor) {
  const Case c = MakeCase(3, 4, 7, at::kFloat);
  const TokenScores scores = Score(c, 1, 8, false);
  EXPECT_TRUE(scores.logprob.requires_grad());
  EXPECT_FALSE(scores.entropy.requires_grad());
}

TEST(TokenScores, NoRowsGiveNoScores) {
  const Case c = MakeCase(0, 4, 7, at::kFloat);
  const TokenScores scores = Score(c, 1, 8, false);
  EXPECT_EQ(scores.logprob.size(0), 0);
  scores.logprob.sum().backward();
  EXPECT_EQ(c.head.grad().abs().sum().item<float>(), 0);
}

TEST(TokenScores, WrongShapesAndTargetsAreRefused) {
  const Case c = MakeCase(3, 4, 7, at::kFloat);
  EXPECT_THROW(ScoreTokens(c.hidden, c.head.narrow(1, 0, 3), c.targets), c10::Error);
  EXPECT_THROW(ScoreTokens(c.hidden, c.head, at::full({3}, 7, at::kLong)), c10::Error);
  EXPECT_THROW(ScoreTokens(c.hidden, c.head.to(at::kDouble), c.targets), c10::Error);
}

TEST(TokenScores, LogitsOfMinusInfinityAndLargeLogitsAreHarmless) {
  for (LogitType type : {LogitType::kFp32, LogitType::kFp64}) {
    std::vector<float> f = {1000, 1001, -HUGE_VALF, -1e30f, 999};
    std::vector<double> d(f.begin(), f.end());
    void* row = type == LogitType::kFp32 ? static_cast<void*>(f.data()) : d.data();
    const RowScore score = ScoreRow(type, row, 5, 1, 1);
    EXPECT_NEAR(score.logprob, -0.4076059644, 1e-6);
    EXPECT_NEAR(score.entropy, 0.8323955, 1e-6);
    RowBackward(type, row, 5, 1, 1, score, 1, 1);
    double sum = 0;
    for (size_t i = 0; i < 5; ++i) sum += type == LogitType::kFp32 ? double{f[i]} : d[i];
    EXPECT_NEAR(sum, 0, 1e-4);
  }
}

TEST(TokenScores, ANanLogitIsNotHidden) {
  std::vector<float> row(40, 0.5f);
  row[33] = std::nanf("");
  EXPECT_TRUE(std::isnan(ScoreRow(LogitType::kFp32, row.data(), 40, 1, 1).logprob));
}

// --- joined with the policy loss --------------------------------------------------------------

TEST(TotalLoss, BackpropagatesTheGradientsOfThePolicyLoss) {
  const Case c = MakeCase(6, 4, 9, at::kDouble);
  const TokenScores scores = Score(c, 1, 4, true);
  PolicyLossSpec spec;
  spec.trust.clip = ClipSpec{};
  spec.entropy_coef = 0.1;
  const std::vector<double> advantage = {1, 1, 1, -1, -1, -1}, weight(6, 1.0 / 6);
  const std::vector<int64_t> offsets = {0, 3, 6};
  PolicyTokens tokens;
  tokens.advantage = advantage;
  tokens.weight = weight;
  tokens.row_offsets = offsets;
  absl::StatusOr<TotalLoss> total = ComputeTotalLoss(spec, scores, tokens);
  ASSERT_TRUE(total.ok()) << total.status();
  total->loss.backward();
  const at::Tensor got = c.head.grad().clone();
  c.head.mutable_grad() = at::Tensor();
  const TokenScores naive = Naive(c, 1);
  const at::Tensor a = at::tensor(advantage, at::kDouble);
  const at::Tensor ratio = (naive.logprob - naive.logprob.detach()).exp();
  const at::Tensor loss = -(ratio * a).mean() - 0.1 * naive.entropy.mean();
  loss.backward();
  EXPECT_NEAR(total->loss.item<double>(), loss.item<double>(), 1e-12);
  EXPECT_LT(MaxDifference(got, c.head.grad()), 1e-12);
}

TEST(TotalLoss, ANanLogProbIsAnErrorThatNamesTheRow) {
  const std::vector<double> one = {1, 1};
  const std::vector<int64_t> offsets = {0, 1, 2};
  PolicyTokens tokens;
  tokens.advantage = one;
  tokens.weight = one;
  tokens.row_offsets = offsets;
  const TokenScores scores{at::tensor({-1.0, std::nan("")}, at::kDouble), at::Tensor()};
  const absl::StatusOr<TotalLoss> total = ComputeTotalLoss(PolicyLossSpec{}, scores, tokens);
  EXPECT_FALSE(total.ok());
  EXPECT_NE(total.status().message().find("row 1"), absl::string_view::npos);
}

TEST(EntropyLoss, ReductionsWeighTokensOrRows) {
  const TokenScores scores{at::tensor({-1.0, -1.0, -1.0}, at::kDouble),
                           at::tensor({1.0, 2.0, 6.0}, at::kDouble).requires_grad_(true)};
  const std::vector<int64_t> offsets = {0, 2, 3};
  const std::vector<double> none = {0, 0, 0};
  const auto loss = [&](EntropyReduction reduction) {
    AlgorithmSpec spec;
    spec.objective.kind = Objective::kEntropyDirect;
    spec.objective.reduction = reduction;
    const std::vector<double> rows = AggregationWeights(LossAggregation(spec), {{2}, {1}});
    const std::vector<double> weight = {rows[0], rows[0], rows[1]};
    PolicyTokens tokens;
    tokens.advantage = none;
    tokens.weight = weight;
    tokens.row_offsets = offsets;
    return ComputeTotalLoss(MakePolicyLossSpec(spec), scores, tokens)->loss;
  };
  EXPECT_DOUBLE_EQ(loss(EntropyReduction::kTokenMean).item<double>(), 3);
  const at::Tensor sums = loss(EntropyReduction::kSeqSum);
  EXPECT_DOUBLE_EQ(sums.item<double>(), 4.5);
  sums.backward();
  EXPECT_TRUE(at::equal(scores.entropy.grad(), at::full({3}, 0.5, at::kDouble)));
}

}  // namespace
}  // namespace cohort

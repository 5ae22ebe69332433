#include "common/generate/sharpen.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "common/generate/engine.h"
#include "common/generate/sampler.h"
#include "common/generate/test_models.h"

namespace cohort {
namespace {

at::Tensor SomeLogits(int64_t rows, int64_t vocab) {
  at::manual_seed(7);
  return at::randn({rows, vocab}, at::kDouble) * 2;
}

std::vector<double> EntropiesOf(const at::Tensor& logits) {
  const at::Tensor logp = at::log_softmax(logits.to(at::kDouble), -1);
  const at::Tensor h = -(logp.exp() * logp).sum(-1);
  return std::vector<double>(h.const_data_ptr<double>(), h.const_data_ptr<double>() + h.numel());
}

TEST(SharpenLogits, EveryRowIsSharpenedByItselfAndKeepsItsOrder) {
  const at::Tensor logits = SomeLogits(5, 40);
  const EmInfOptions options;
  const at::Tensor sharp = SharpenLogits(logits, options);
  const std::vector<double> before = EntropiesOf(logits), after = EntropiesOf(sharp);
  for (int64_t row = 0; row < 5; ++row) {
    EXPECT_LT(after[static_cast<size_t>(row)], before[static_cast<size_t>(row)]);
    EXPECT_EQ(sharp[row].argmax().item<int64_t>(), logits[row].argmax().item<int64_t>());
    const at::Tensor alone = SharpenLogits(logits.narrow(0, row, 1), options);
    EXPECT_TRUE(at::equal(alone[0], sharp[row]));
    const auto expected = MinimizeEntropy(
        absl::MakeConstSpan(logits[row].contiguous().const_data_ptr<double>(), 40), options);
    for (int64_t i = 0; i < 40; ++i) {
      EXPECT_EQ(sharp[row][i].item<double>(), expected.logits[static_cast<size_t>(i)]);
    }
  }
}

TEST(SharpenLogits, ACertainRowAndABrokenOneStayAsTheyAre) {
  at::Tensor logits = SomeLogits(3, 10);
  logits[0].zero_();
  logits[0][4] = 50;
  logits[1][2] = std::numeric_limits<double>::quiet_NaN();
  const at::Tensor sharp = SharpenLogits(logits, {});
  EXPECT_TRUE(at::equal(sharp[0], logits[0]));
  EXPECT_TRUE(at::equal(sharp[1].isnan(), logits[1].isnan()));
  EXPECT_FALSE(at::equal(sharp[2], logits[2]));
}

std::vector<Row> RowsOf(const std::optional<EmInfOptions>& em_inf, float temperature) {
  const auto model = TinyModel();
  EngineOptions options;
  options.em_inf = em_inf;
  GroupRequest request = MakeRequest(77, 4, 12, temperature);
  request.with_entropy = true;
  return Generate(*model, options, {request})[0].rows;
}

TEST(EmInf, GreedyOutputStaysAndSamplesBecomeLikelier) {
  const EmInfOptions strong{0.5, 10, 0.0, 0.01};
  const std::vector<Row> greedy = RowsOf(std::nullopt, 0);
  const std::vector<Row> greedy_sharp = RowsOf(strong, 0);
  ASSERT_EQ(greedy.size(), 4u);
  EXPECT_EQ(greedy_sharp[0].tokens, greedy[0].tokens);
  const std::vector<Row> plain = RowsOf(std::nullopt, 1);
  const std::vector<Row> sharp = RowsOf(strong, 1);
  // Rows may stop early, so means over their tokens.
  const auto mean_entropy = [](const std::vector<Row>& rows) {
    double sum = 0, tokens = 0;
    for (const Row& row : rows) {
      for (float h : row.entropy) sum += static_cast<double>(h), tokens += 1;
    }
    return sum / tokens;
  };
  EXPECT_LT(mean_entropy(sharp), mean_entropy(plain) / 2);
}

TEST(EmInf, TheLogprobIsThatOfTheSharpenedDistributionAtTheTemperature) {
  const at::Tensor sharp = SharpenLogits(SomeLogits(1, 20), {});
  SampleSpec spec;
  spec.temperature = 0.5f;
  spec.uniform = 0.3;
  const SampledToken token = SampleTokens(sharp, {spec})[0];
  const at::Tensor logp = at::log_softmax(sharp / 0.5, -1);
  EXPECT_NEAR(token.logprob, logp[0][token.token].item<double>(), 1e-6);
}

}  // namespace
}  // namespace cohort

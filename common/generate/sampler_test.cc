#include "common/generate/sampler.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "common/base/rng.h"
#include "common/base/status_matchers.h"
#include "common/generate/sampler_cpu.h"

namespace cohort {
namespace {

using testing::ElementsAre;

at::Tensor RandomLogits(int64_t rows, int64_t vocab, double scale, uint64_t seed) {
  CounterRng rng(seed);
  at::Tensor logits = at::empty({rows, vocab}, at::kFloat);
  float* data = logits.mutable_data_ptr<float>();
  for (int64_t i = 0; i < rows * vocab; ++i) {
    data[i] = static_cast<float>(scale * (rng.Uniform() + rng.Uniform() + rng.Uniform() - 1.5));
  }
  return logits;
}

// Draws with evenly spaced uniforms and returns which tokens appear.
std::set<int32_t> Support(const at::Tensor& row, SampleSpec spec, int draws) {
  std::vector<SampleSpec> specs(static_cast<size_t>(draws), spec);
  for (int i = 0; i < draws; ++i) {
    specs[static_cast<size_t>(i)].uniform = (i + 0.5) / draws;
  }
  std::set<int32_t> support;
  for (const SampledToken& s : SampleTokens(row.expand({draws, row.size(1)}), specs)) {
    support.insert(s.token);
  }
  return support;
}

TEST(SamplerTest, LogprobAndEntropyAreThoseOfLogSoftmax) {
  for (const int64_t vocab : {7, 512, 513, 49152}) {
    const at::Tensor logits = RandomLogits(3, vocab, 20, 5);
    for (const auto& typed : {logits, logits.to(at::kBFloat16), logits.to(at::kDouble)}) {
      std::vector<SampleSpec> specs(3);
      for (size_t i = 0; i < 3; ++i) {
        specs[i].temperature = 0.5f + 0.5f * static_cast<float>(i);
        specs[i].uniform = 0.2 + 0.3 * static_cast<double>(i);
        specs[i].entropy = true;
      }
      const auto sampled = SampleTokens(typed, specs);
      for (int64_t i = 0; i < 3; ++i) {
        const SampledToken& s = sampled[static_cast<size_t>(i)];
        const at::Tensor lp = at::log_softmax(
            typed[i].to(at::kDouble) / double{specs[static_cast<size_t>(i)].temperature}, -1);
        EXPECT_NEAR(s.logprob, lp[s.token].item<double>(), 2e-5) << vocab;
        EXPECT_NEAR(s.entropy, -(lp.exp() * lp).sum().item<double>(), 2e-5) << vocab;
        EXPECT_EQ(s.truncated_logprob, s.logprob);
      }
    }
  }
}

TEST(SamplerTest, TheTokenIsWhereTheCumulativeDistributionPassesTheUniform) {
  const at::Tensor logits = RandomLogits(1, 5000, 6, 9);
  const at::Tensor cumulative = at::softmax(logits[0].to(at::kDouble), -1).cumsum(-1);
  CounterRng rng(3);
  for (int i = 0; i < 200; ++i) {
    SampleSpec spec;
    spec.uniform = rng.Uniform();
    const int32_t token = SampleTokens(logits, {&spec, 1})[0].token;
    EXPECT_GE(cumulative[token].item<double>(), spec.uniform - 1e-5);
    if (token > 0) {
      EXPECT_LE(cumulative[token - 1].item<double>(), spec.uniform + 1e-5);
    }
  }
}

TEST(SamplerTest, DrawsFollowTheDistribution) {
  const int64_t vocab = 50;
  const int draws = 40000;
  const at::Tensor logits = RandomLogits(1, vocab, 3, 11);
  const at::Tensor probs = at::softmax(logits[0].to(at::kDouble), -1);
  std::vector<int> counts(static_cast<size_t>(vocab));
  for (int i = 0; i < draws; ++i) {
    SampleSpec spec;
    spec.uniform = UniformOpen(77, 3, static_cast<uint64_t>(i));
    ++counts[static_cast<size_t>(SampleTokens(logits, {&spec, 1})[0].token)];
  }
  double chi_square = 0;
  for (int64_t t = 0; t < vocab; ++t) {
    const double expected = probs[t].item<double>() * draws;
    chi_square += std::pow(counts[static_cast<size_t>(t)] - expected, 2) / expected;
  }
  EXPECT_LT(chi_square, 85.4);  // 0.1 % of samples with 49 degrees of freedom exceed it
}

TEST(SamplerTest, GreedyTakesTheLowestOfEqualsAndScoresAtTemperatureOne) {
  const at::Tensor logits = at::tensor({1.0f, 3.0f, 3.0f, 0.0f}).unsqueeze(0);
  SampleSpec spec;
  spec.temperature = 0;
  spec.top_k = 1;  // means nothing when greedy
  const SampledToken s = SampleTokens(logits, {&spec, 1})[0];
  EXPECT_EQ(s.token, 1);
  EXPECT_NEAR(s.logprob, at::log_softmax(logits, -1)[0][1].item<float>(), 1e-6);
}

TEST(SamplerTest, TopKKeepsExactlyKAndLowerIdsAmongEquals) {
  const at::Tensor logits = at::tensor({0.5f, 2.0f, 1.0f, 1.0f, 1.0f, -3.0f}).unsqueeze(0);
  SampleSpec spec;
  spec.top_k = 3;
  EXPECT_THAT(Support(logits, spec, 100), ElementsAre(1, 2, 3));
  spec.top_k = 6;
  EXPECT_EQ(Support(logits, spec, 1000).size(), 6u);
}

TEST(SamplerTest, TopPKeepsTheShortestRunThatReachesP) {
  // Probabilities 0.5, 0.25, 0.15, 0.1.
  const at::Tensor logits = at::tensor({0.1f, 0.5f, 0.15f, 0.25f}).unsqueeze(0).log();
  SampleSpec spec;
  spec.top_p = 0.45f;
  EXPECT_THAT(Support(logits, spec, 100), ElementsAre(1));
  spec.top_p = 0.7f;
  EXPECT_THAT(Support(logits, spec, 100), ElementsAre(1, 3));
  spec.top_p = 0.8f;
  EXPECT_THAT(Support(logits, spec, 100), ElementsAre(1, 2, 3));
  spec.top_p = 0.01f;
  EXPECT_THAT(Support(logits, spec, 100), ElementsAre(1));
  // Top-p works on what top-k left: 0.5 of 0.75 is two thirds.
  spec.top_k = 2;
  spec.top_p = 0.6f;
  EXPECT_THAT(Support(logits, spec, 100), ElementsAre(1));
  const SampledToken s = SampleTokens(logits, {&spec, 1})[0];
  EXPECT_NEAR(s.truncated_logprob, 0.0f, 1e-6);
  EXPECT_NEAR(s.logprob, std::log(0.5f), 1e-6);
}

TEST(SamplerTest, LogitsThatAreNotFiniteAreReportedAndNothingIsDrawn) {
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    for (const int64_t where : {0, 17, 99}) {
      at::Tensor logits = RandomLogits(2, 100, 3, 1);
      logits[1][where] = bad;
      const std::vector<SampleSpec> specs(2);
      for (const auto& sampled :
           {SampleTokens(logits, specs), SampleTokensPortable(logits, specs)}) {
        EXPECT_TRUE(sampled[0].finite);
        EXPECT_FALSE(sampled[1].finite);
      }
    }
  }
}

TEST(SamplerTest, TheKernelAndTheTensorOperationsAgree) {
  const at::Tensor logits = RandomLogits(64, 1000, 8, 21);
  std::vector<SampleSpec> specs(64);
  for (size_t i = 0; i < specs.size(); ++i) {
    specs[i].uniform = UniformOpen(5, 0, i);
    specs[i].temperature = i % 4 == 0 ? 0.0f : 0.25f * static_cast<float>(i % 8);
    specs[i].top_k = i % 3 == 0 ? 20 : 0;
    specs[i].top_p = i % 5 == 0 ? 0.8f : 1.0f;
    specs[i].forced = i % 11 == 0 ? 3 : -1;
    specs[i].entropy = true;
  }
  const auto kernel = SampleTokens(logits, specs);
  const auto portable = SampleTokensPortable(logits, specs);
  for (size_t i = 0; i < specs.size(); ++i) {
    EXPECT_EQ(kernel[i].token, portable[i].token) << i;
    EXPECT_NEAR(kernel[i].logprob, portable[i].logprob, 1e-5) << i;
    EXPECT_NEAR(kernel[i].truncated_logprob, portable[i].truncated_logprob, 1e-5) << i;
    EXPECT_NEAR(kernel[i].entropy, portable[i].entropy, 1e-5) << i;
  }
}

TEST(SamplerTest, ExtremeUniformsAndPeakedDistributionsStayInRange) {
  at::Tensor logits = at::full({1, 2000}, -500.0f);
  logits[0][1234] = 500.0f;
  for (const double uniform : {1e-16, 0.5, 1.0 - 1e-16}) {
    SampleSpec spec;
    spec.uniform = uniform;
    const SampledToken s = SampleTokens(logits, {&spec, 1})[0];
    EXPECT_EQ(s.token, 1234) << uniform;
    EXPECT_NEAR(s.logprob, 0.0f, 1e-6);
  }
}

}  // namespace
}  // namespace cohort

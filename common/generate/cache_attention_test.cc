#include "common/generate/cache_attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "common/generate/kv_cache.h"

namespace cohort {
namespace {

struct Shape {
  int64_t heads, kv_heads, dim;
};

ModelConfig OneLayer(const Shape& shape) {
  ModelConfig config;
  config.num_layers = 1;
  config.num_heads = shape.heads;
  config.num_kv_heads = shape.kv_heads;
  config.head_dim = shape.dim;
  return config;
}

// Plain softmax attention of one query row over keys [kv_heads, tokens, dim], in fp64.
at::Tensor Reference(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& values) {
  const int64_t shared = q.size(0) / keys.size(0);
  const at::Tensor k = keys.to(at::kDouble).repeat_interleave(shared, 0);
  const at::Tensor v = values.to(at::kDouble).repeat_interleave(shared, 0);
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(1)));
  const at::Tensor scores = at::matmul(k, q.to(at::kDouble).unsqueeze(-1)).squeeze(-1) * scale;
  return at::matmul(at::softmax(scores, -1).unsqueeze(1), v).squeeze(1);
}

class CacheAttentionTest : public testing::TestWithParam<std::tuple<Shape, at::ScalarType, bool>> {
};

TEST_P(CacheAttentionTest, DecodingStepsEqualPlainAttentionOverPromptAndSuffix) {
  const auto [shape, dtype, fused] = GetParam();
  at::manual_seed(1);
  const auto options = at::TensorOptions().dtype(dtype);
  SuffixCache cache(OneLayer(shape), 5, options);
  for (int slot = 0; slot < 5; ++slot) EXPECT_EQ(cache.Allocate(), slot);
  std::vector<PromptCache> prompts(2);
  for (PromptCache& prompt : prompts) {
    prompt.tokens = &prompt == prompts.data() ? 3 : 41;
    prompt.keys = at::randn({1, shape.kv_heads, prompt.tokens, shape.dim}, at::kFloat).to(dtype);
    prompt.values = at::randn_like(prompt.keys);
  }
  // Rows of both prompts, in slots that are not in order.
  const std::vector<const PromptCache*> of = {&prompts[0], &prompts[1], &prompts[1]};
  const std::vector<int> slots = {4, 0, 2};
  std::vector<at::Tensor> keys, values;
  for (const PromptCache* prompt : of) {
    keys.push_back(prompt->keys[0]);
    values.push_back(prompt->values[0]);
  }
  const double tolerance = dtype == at::kBFloat16 ? 2e-2 : 2e-6;
  for (int64_t step = 0; step < 40; ++step) {
    std::vector<DecodeRow> rows;
    for (size_t i = 0; i < of.size(); ++i) rows.push_back({of[i], slots[i], step});
    cache.Reserve(step + 1);
    const auto fresh = [&](int64_t heads) {
      return at::randn({3, heads, shape.dim}, at::kFloat).to(dtype);
    };
    const at::Tensor q = fresh(shape.heads), k = fresh(shape.kv_heads), v = fresh(shape.kv_heads);
    DecodeAttention attention(&cache, rows, at::kCPU, fused);
    const at::Tensor out = attention.Attend(0, q, k, v);
    ASSERT_EQ(out.scalar_type(), dtype);
    for (size_t i = 0; i < of.size(); ++i) {
      const auto row = static_cast<int64_t>(i);
      keys[i] = at::cat({keys[i], k[row].unsqueeze(1)}, 1);
      values[i] = at::cat({values[i], v[row].unsqueeze(1)}, 1);
      const at::Tensor expected = Reference(q[row], keys[i], values[i]);
      EXPECT_LT((out[row].to(at::kDouble) - expected).abs().max().item<double>(), tolerance)
          << "step " << step << " row " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, CacheAttentionTest,
                         testing::Combine(testing::Values(Shape{9, 3, 64}, Shape{4, 4, 128},
                                                          Shape{4, 2, 8}, Shape{2, 1, 80}),
                                          testing::Values(at::kFloat, at::kBFloat16),
                                          testing::Bool()));

TEST(SuffixCacheTest, GrowingKeepsWhatIsCachedAndSavedRowsCanBeContinued) {
  SuffixCache cache(OneLayer({2, 2, 16}), 3, at::kFloat);
  const int slot = cache.Allocate();
  cache.Reserve(20);
  cache.keys(0)[slot].narrow(1, 0, 20).fill_(3.0);
  cache.values(0)[slot].narrow(1, 0, 20).fill_(4.0);
  cache.Reserve(200);
  EXPECT_TRUE((cache.keys(0)[slot].narrow(1, 0, 20) == 3.0).all().item<bool>());
  const SavedSuffix saved = cache.Save(slot, 20);
  cache.Free(slot);
  cache.keys(0).zero_();
  const int other = cache.Allocate();
  EXPECT_EQ(other, slot);  // the lowest free one
  cache.Restore(other, saved, 15);
  EXPECT_TRUE((cache.values(0)[other].narrow(1, 0, 15) == 4.0).all().item<bool>());
}

}  // namespace
}  // namespace cohort

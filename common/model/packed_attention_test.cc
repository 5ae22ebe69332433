#include "common/model/packed_attention.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <torch/csrc/autograd/autograd.h>

#include "common/model/attention_parts.h"
#include "common/model/model_testing.h"

namespace cohort {
namespace {

// A prompt with siblings of different lengths, a lone sequence, and a branch inside a response.
PackedBatch SampleTree() {
  return MakeTree({9, 5, 7, 1, 6, 14, 4, 3, 8}, {-1, 0, 0, 0, -1, 4, 1, 1, 6},
                  {0, 9, 9, 9, 0, 6, 3, 5, 2}, 61);
}

struct Run {
  at::Tensor hidden;              // [packed tokens, hidden]
  std::vector<at::Tensor> grads;  // of every storage parameter
};

// Loss: a fixed random projection of the hidden states of the packed tokens through the head.
Run RunModel(const CausalLm& model, const PackedBatch& batch, const at::Tensor& own,
             bool checkpoint = false) {
  PackedAttention attention(batch.segments);
  CausalLm::ForwardOptions options;
  options.checkpoint_activations = checkpoint;
  at::Tensor hidden =
      model.Forward(batch.TokenTensor(), batch.PositionTensor(), attention, options);
  hidden = hidden.index_select(0, own);
  at::manual_seed(3);
  const at::Tensor logits = model.Logits(hidden);
  const at::Tensor weights = at::randn(logits.sizes(), at::kDouble).to(logits.scalar_type());
  std::vector<at::Tensor> parameters;
  for (const auto& parameter : model.StorageParameters()) parameters.push_back(parameter.tensor);
  return {hidden.detach(), torch::autograd::grad({(logits * weights).sum()}, parameters)};
}

double RelativeError(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).to(at::kDouble).norm() / (b.to(at::kDouble).norm() + 1e-300)).item<double>();
}

void ExpectSame(const CausalLm& model, const Run& a, const Run& b, double tolerance) {
  EXPECT_LE(RelativeError(a.hidden, b.hidden), tolerance);
  for (size_t i = 0; i < a.grads.size(); ++i) {
    EXPECT_LE(RelativeError(a.grads[i], b.grads[i]), tolerance)
        << model.StorageParameters()[i].name;
  }
}

at::Tensor Iota(size_t n) { return at::arange(static_cast<int64_t>(n), at::kLong); }

class PackedAttentionTest : public testing::TestWithParam<std::string> {};

TEST_P(PackedAttentionTest, SharedPrefixEqualsRepeatedPrefix) {
  for (const auto& [dtype, tolerance] :
       {std::pair(at::kDouble, 1e-12), std::pair(at::kFloat, 2e-5), {at::kBFloat16, 6e-2}}) {
    SCOPED_TRACE(c10::toString(dtype));
    const auto model = TinyModel(GetParam(), {at::kCPU, dtype, /*trainable=*/true});
    const PackedBatch packed = SampleTree();
    std::vector<int64_t> own;
    const PackedBatch naive = Unshare(packed, own);
    ExpectSame(*model, RunModel(*model, packed, Iota(packed.tokens.size())),
               RunModel(*model, naive, at::tensor(own, at::kLong)), tolerance);
  }
}

TEST_P(PackedAttentionTest, RecomputedActivationsGiveTheSameGradients) {
  const auto model = TinyModel(GetParam(), {at::kCPU, at::kDouble, /*trainable=*/true});
  const PackedBatch packed = SampleTree();
  const at::Tensor all = Iota(packed.tokens.size());
  ExpectSame(*model, RunModel(*model, packed, all, /*checkpoint=*/true),
             RunModel(*model, packed, all), 1e-15);
}

INSTANTIATE_TEST_SUITE_P(Architectures, PackedAttentionTest, testing::ValuesIn(TinyNames()),
                         [](const auto& tested) { return tested.param; });

TEST(AttentionPartsTest, ChunkedFallbackEqualsTheFlashKernel) {
  at::manual_seed(1);
  for (const bool causal : {true, false}) {
    const auto options = at::TensorOptions().dtype(at::kDouble);
    const at::Tensor q = at::randn({2, 3, 17, 8}, options), grad = at::randn_like(q);
    const int64_t keys = causal ? 17 : 23;
    const at::Tensor k = at::randn({2, 3, keys, 8}, options), v = at::randn_like(k);
    const AttentionPart flash = AttentionForward(q, k, v, causal);
    const AttentionPart chunked = ChunkedAttentionForward(q, k, v, causal);
    EXPECT_LE(RelativeError(chunked.out, flash.out), 1e-13);
    EXPECT_LE(RelativeError(chunked.lse, flash.lse), 1e-13);
    const AttentionGrads a = AttentionBackward(grad, q, k, v, flash, causal);
    const AttentionGrads b = ChunkedAttentionBackward(grad, q, k, v, flash, causal);
    EXPECT_LE(RelativeError(b.q, a.q), 1e-12);
    EXPECT_LE(RelativeError(b.k, a.k), 1e-12);
    EXPECT_LE(RelativeError(b.v, a.v), 1e-12);
  }
}

int64_t PeakMegabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024;
}

// One matrix of scores per sequence would take 16 * 4 * 1200 * 1200 floats: 370 MB.
TEST(PackedAttentionMemoryTest, AGroupOfLongResponsesNeedsMemoryLinearInTokens) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "AddressSanitizer keeps freed memory";
#endif
  std::vector<int64_t> lengths(17, 1000), parent_tokens(17, 200);
  std::vector<int> parents(17, 0);
  lengths[0] = 200;
  parents[0] = -1;
  const PackedBatch batch = MakeTree(lengths, parents, parent_tokens, 61);
  const auto n = static_cast<int64_t>(batch.tokens.size());
  const at::Tensor q = at::randn({n, 4, 16}).requires_grad_();
  const at::Tensor kv = at::randn({n, 2, 16}).requires_grad_();
  const int64_t before = PeakMegabytes();
  PackedAttention attention(batch.segments);
  const at::Tensor out = attention.Attend(0, q, kv, kv);
  const auto grads = torch::autograd::grad({out.square().sum()}, {q, kv});
  EXPECT_TRUE(grads[0].isfinite().all().item<bool>());
  EXPECT_LT(PeakMegabytes() - before, 150);
}

TEST(PackedAttentionTokensTest, NamesTheTokenCountsThatDiffer) {
  PackedAttention attention({{0, 3, -1, 0}});
  const at::Tensor q = at::zeros({4, 2, 8});
  EXPECT_THROW(attention.Attend(0, q, q, q), c10::Error);
}

}  // namespace
}  // namespace cohort

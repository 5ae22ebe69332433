#include "common/model/attention_parts.h"

#include <ATen/ATen.h>

#include <cmath>

namespace cohort {
namespace {

constexpr int64_t kChunkScores = int64_t{1} << 23;  // scores that exist at a time

bool UseCpuFlash(const at::Tensor& q) {
  const auto dtype = q.scalar_type();
  return q.is_cpu() && (dtype == at::kFloat || dtype == at::kDouble);
}

// Its bf16 form makes a library call with descriptors for every small block; short segments are
// faster through fp32, which is more exact as well.
bool WidenOnCpu(const at::Tensor& q) { return q.is_cpu() && q.scalar_type() == at::kBFloat16; }

bool UseCudaFlash(const at::Tensor& q) {
  const bool half = q.scalar_type() == at::kBFloat16 || q.scalar_type() == at::kHalf;
  return q.is_cuda() && half && q.size(3) % 8 == 0 && q.size(3) <= 256;
}

at::ScalarType WideType(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

int64_t ChunkRows(const at::Tensor& q, const at::Tensor& k) {
  return std::max<int64_t>(1,
                           kChunkScores / std::max<int64_t>(1, q.size(0) * q.size(1) * k.size(2)));
}

// Scores of queries [begin, begin + rows) in the wide type, future keys at -inf.
at::Tensor ChunkScores(const at::Tensor& q, const at::Tensor& k, int64_t begin, int64_t rows,
                       bool causal) {
  const auto wide = WideType(q);
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(3)));
  at::Tensor scores =
      at::matmul(q.narrow(2, begin, rows).to(wide) * scale, k.to(wide).transpose(2, 3));
  if (!causal) return scores;
  const at::Tensor query = at::arange(begin, begin + rows, scores.options().dtype(at::kLong));
  const at::Tensor key = at::arange(k.size(2), scores.options().dtype(at::kLong));
  return scores.masked_fill_(key.unsqueeze(0) > query.unsqueeze(1), -INFINITY);
}

}  // namespace

AttentionPart ChunkedAttentionForward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                      bool causal) {
  const auto wide = WideType(q);
  std::vector<at::Tensor> outs, lses;
  const int64_t step = ChunkRows(q, k);
  for (int64_t begin = 0; begin < q.size(2); begin += step) {
    const int64_t rows = std::min(step, q.size(2) - begin);
    at::Tensor scores = ChunkScores(q, k, begin, rows, causal);
    lses.push_back(scores.logsumexp(-1));
    scores.sub_(lses.back().unsqueeze(-1)).exp_();
    outs.push_back(at::matmul(scores, v.to(wide)).to(q.scalar_type()));
  }
  return {at::cat(outs, 2), at::cat(lses, 2)};
}

AttentionGrads ChunkedAttentionBackward(const at::Tensor& grad_out, const at::Tensor& q,
                                        const at::Tensor& k, const at::Tensor& v,
                                        const AttentionPart& merged, bool causal) {
  const auto wide = WideType(q);
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(3)));
  const at::Tensor wide_k = k.to(wide), wide_v = v.to(wide);
  at::Tensor grad_k = at::zeros(k.sizes(), wide_k.options());
  at::Tensor grad_v = at::zeros(v.sizes(), wide_v.options());
  std::vector<at::Tensor> grad_q;
  const int64_t step = ChunkRows(q, k);
  for (int64_t begin = 0; begin < q.size(2); begin += step) {
    const int64_t rows = std::min(step, q.size(2) - begin);
    const at::Tensor grad = grad_out.narrow(2, begin, rows).to(wide);
    const at::Tensor delta =
        (grad * merged.out.narrow(2, begin, rows).to(wide)).sum(-1, /*keepdim=*/true);
    const at::Tensor weights = ChunkScores(q, k, begin, rows, causal)
                                   .sub_(merged.lse.narrow(2, begin, rows).unsqueeze(-1))
                                   .exp_();
    grad_v += at::matmul(weights.transpose(2, 3), grad);
    const at::Tensor grad_scores =
        (at::matmul(grad, wide_v.transpose(2, 3)) - delta).mul_(weights).mul_(scale);
    grad_q.push_back(at::matmul(grad_scores, wide_k).to(q.scalar_type()));
    grad_k += at::matmul(grad_scores.transpose(2, 3), q.narrow(2, begin, rows).to(wide));
  }
  return {at::cat(grad_q, 2), grad_k.to(k.scalar_type()), grad_v.to(v.scalar_type())};
}

AttentionPart AttentionForward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               bool causal) {
  if (WidenOnCpu(q)) {
    const AttentionPart wide =
        AttentionForward(q.to(at::kFloat), k.to(at::kFloat), v.to(at::kFloat), causal);
    return {wide.out.to(q.scalar_type()), wide.lse};
  }
  if (UseCpuFlash(q)) {
    auto [out, lse] = at::_scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal);
    return {out, lse};
  }
  if (UseCudaFlash(q)) {
    auto result = at::_scaled_dot_product_flash_attention(q, k, v, 0.0, causal);
    return {std::get<0>(result), std::get<1>(result)};
  }
  return ChunkedAttentionForward(q, k, v, causal);
}

AttentionGrads AttentionBackward(const at::Tensor& grad_out, const at::Tensor& q,
                                 const at::Tensor& k, const at::Tensor& v,
                                 const AttentionPart& merged, bool causal) {
  if (WidenOnCpu(q)) {
    const AttentionGrads wide =
        AttentionBackward(grad_out.to(at::kFloat), q.to(at::kFloat), k.to(at::kFloat),
                          v.to(at::kFloat), {merged.out.to(at::kFloat), merged.lse}, causal);
    return wide;
  }
  if (UseCpuFlash(q)) {
    auto [grad_q, grad_k, grad_v] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        grad_out, q, k, v, merged.out, merged.lse, 0.0, causal);
    return {grad_q, grad_k, grad_v};
  }
  if (UseCudaFlash(q)) {
    // Without dropout the random state is not read.
    const at::Tensor seed = at::zeros({2}, q.options().dtype(at::kLong));
    auto [grad_q, grad_k, grad_v] = at::_scaled_dot_product_flash_attention_backward(
        grad_out, q, k, v, merged.out, merged.lse.contiguous(), {}, {}, q.size(2), k.size(2), 0.0,
        causal, seed, seed);
    return {grad_q, grad_k, grad_v};
  }
  return ChunkedAttentionBackward(grad_out, q, k, v, merged, causal);
}

}  // namespace cohort

#include "common/generate/sampler.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/cumsum.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/searchsorted.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <functional>

#include "common/base/log.h"
#include "common/generate/sampler_cpu.h"

namespace cohort {
namespace {

// One number per row as a [rows, 1] tensor beside the logits.
at::Tensor Column(absl::Span<const SampleSpec> specs, at::Device device,
                  const std::function<double(const SampleSpec&)>& value) {
  std::vector<double> values;
  values.reserve(specs.size());
  for (const SampleSpec& spec : specs) values.push_back(value(spec));
  return at::tensor(values, at::kDouble).to(device).unsqueeze(1);
}

bool Any(absl::Span<const SampleSpec> specs, const std::function<bool(const SampleSpec&)>& test) {
  return std::any_of(specs.begin(), specs.end(), test);
}

// probs: [rows, vocab] -> the same with 0 where top-k or top-p forbids a token. Not renormalised.
at::Tensor Truncated(const at::Tensor& probs, absl::Span<const SampleSpec> specs) {
  const auto [sorted, order] = probs.sort(/*stable=*/true, /*dim=*/-1, /*descending=*/true);
  const int64_t vocab = probs.size(1);
  const at::Tensor k = Column(specs, probs.device(), [&](const SampleSpec& s) {
    return s.truncated() && s.top_k > 0 ? static_cast<double>(s.top_k) : static_cast<double>(vocab);
  });
  const at::Tensor rank = at::arange(vocab, k.options()).unsqueeze(0);
  const at::Tensor in_k = at::where(rank < k, sorted, at::zeros_like(sorted));
  const at::Tensor p = Column(specs, probs.device(), [](const SampleSpec& s) {
    return s.truncated() ? static_cast<double>(s.top_p) : 1.0;
  });
  // Kept while what comes before has not reached p; p = 1 keeps all, whatever rounding does.
  const at::Tensor before = at::cumsum(in_k, -1) - in_k;
  const at::Tensor keep = (before < p * in_k.sum(-1, /*keepdim=*/true)).logical_or(p >= 1.0);
  const at::Tensor kept = at::where(keep, in_k, at::zeros_like(in_k));
  return at::zeros_like(probs).scatter(-1, order, kept);
}

// Where each row's cumulative distribution passes its uniform: [rows, 1].
at::Tensor Draw(const at::Tensor& probs, absl::Span<const SampleSpec> specs) {
  const at::Tensor uniform =
      Column(specs, probs.device(), [](const SampleSpec& s) { return s.uniform; });
  const at::Tensor cumulative = at::cumsum(probs, -1);
  const at::Tensor total = cumulative.narrow(1, probs.size(1) - 1, 1);
  const at::Tensor found =
      at::searchsorted(cumulative, uniform * total, /*out_int32=*/false, /*right=*/true);
  return found.clamp_max(probs.size(1) - 1);
}

}  // namespace

std::vector<SampledToken> SampleTokensPortable(const at::Tensor& logits,
                                               absl::Span<const SampleSpec> specs) {
  const at::Device device = logits.device();
  const auto column = [&](const std::function<double(const SampleSpec&)>& value) {
    return Column(specs, device, value);
  };
  const at::ScalarType wide = logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor temperature =
      column([](const SampleSpec& s) { return s.temperature > 0 ? double{s.temperature} : 1.0; });
  const at::Tensor z = logits.to(wide) / temperature.to(wide);
  const at::Tensor finite = at::isfinite(z).all(-1, /*keepdim=*/true);
  const at::Tensor logprobs = at::log_softmax(z, -1);
  const at::Tensor all = logprobs.to(at::kDouble).exp();
  const bool truncated = Any(specs, [](const SampleSpec& s) { return s.truncated(); });
  const at::Tensor probs = truncated ? Truncated(all, specs) : all;

  at::Tensor token = Draw(probs, specs);
  const at::Tensor greedy = column([](const SampleSpec& s) { return s.temperature > 0 ? 0 : 1; });
  token = at::where(greedy > 0, at::argmax(z, -1, /*keepdim=*/true), token);
  const at::Tensor forced = column([](const SampleSpec& s) { return s.forced; }).to(at::kLong);
  token = at::where(forced >= 0, forced, token);

  const at::Tensor logprob = logprobs.gather(1, token).to(at::kDouble);
  const at::Tensor entropy = -(all * logprobs).sum(-1, /*keepdim=*/true);
  // One copy to the host: ids are exact in fp64.
  const at::Tensor host =
      at::stack({token.to(at::kDouble), logprob, logprob - probs.sum(-1, /*keepdim=*/true).log(),
                 entropy, finite.to(at::kDouble)})
          .squeeze(-1)
          .transpose(0, 1)
          .contiguous()
          .cpu();
  std::vector<SampledToken> result(specs.size());
  const double* numbers = host.const_data_ptr<double>();
  for (size_t row = 0; row < specs.size(); ++row, numbers += 5) {
    SampledToken& out = result[row];
    out.finite = numbers[4] > 0;
    if (!out.finite) continue;
    out.token = static_cast<int32_t>(numbers[0]);
    out.logprob = static_cast<float>(numbers[1]);
    out.truncated_logprob = static_cast<float>(specs[row].truncated() ? numbers[2] : numbers[1]);
    if (specs[row].entropy) out.entropy = static_cast<float>(numbers[3]);
  }
  return result;
}

std::vector<SampledToken> SampleTokens(const at::Tensor& logits,
                                       absl::Span<const SampleSpec> specs) {
  COHORT_CHECK(logits.dim() == 2 && logits.size(0) == static_cast<int64_t>(specs.size()));
  return logits.is_cpu() ? SampleTokensCpu(logits, specs) : SampleTokensPortable(logits, specs);
}

}  // namespace cohort

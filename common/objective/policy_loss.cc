#include "common/objective/policy_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/scalar_tensor.h>
#include <torch/csrc/autograd/custom_function.h>

#include <exception>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/tensor/host_values.h"

namespace cohort {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor LikeTensor(const std::vector<double>& values, const at::Tensor& like) {
  if (values.empty()) return at::Tensor();
  const at::Tensor host =
      at::from_blob(const_cast<double*>(values.data()), {static_cast<int64_t>(values.size())},
                    at::TensorOptions().dtype(at::kDouble));
  return host.to(like.options(), /*non_blocking=*/false, /*copy=*/true);
}

// A known value with known derivatives.
class KnownGradient : public torch::autograd::Function<KnownGradient> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& logprob,
                            const at::Tensor& entropy, double value, const at::Tensor& d_logprob,
                            const at::Tensor& d_entropy) {
    (void)entropy;
    ctx->save_for_backward({d_logprob, d_entropy});
    return at::scalar_tensor(value, logprob.options());
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    at::Tensor d_entropy;
    if (saved[1].numel() > 0) d_entropy = saved[1] * grads[0];
    return {saved[0] * grads[0], d_entropy, {}, {}, {}};
  }
};

at::Tensor AttachGradient(const TokenScores& scores, const PolicyLoss& parts) {
  const at::Tensor d_logprob = LikeTensor(parts.d_logprob, scores.logprob);
  if (!d_logprob.defined()) return scores.logprob.sum();  // no tokens: 0, still on the graph
  // Arguments of a custom function must be defined: no entropy term is an empty gradient.
  const bool with_entropy = !parts.d_entropy.empty();
  const at::Tensor d_entropy = with_entropy ? LikeTensor(parts.d_entropy, scores.entropy)
                                            : at::empty({0}, scores.logprob.options());
  const at::Tensor entropy = with_entropy ? scores.entropy : d_entropy;
  return KnownGradient::apply(scores.logprob, entropy, parts.loss, d_logprob, d_entropy);
}

}  // namespace

absl::StatusOr<TotalLoss> ComputeTotalLoss(const PolicyLossSpec& spec, const TokenScores& scores,
                                           PolicyTokens tokens) {
  try {
    const std::vector<double> logprob = ToHost(scores.logprob);
    const std::vector<double> entropy = ToHost(scores.entropy);
    tokens.logprob = logprob;
    tokens.entropy = entropy;
    TotalLoss out;
    COHORT_ASSIGN_OR_RETURN(out.parts, ComputePolicyLoss(spec, tokens));
    out.loss = AttachGradient(scores, out.parts);
    return out;
  } catch (const std::exception& error) {
    const std::string text = error.what();
    return absl::InternalError(absl::StrCat("policy loss: ", text.substr(0, text.find('\n'))));
  }
}

}  // namespace cohort

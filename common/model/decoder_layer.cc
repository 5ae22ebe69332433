#include "common/model/decoder_layer.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

namespace cohort {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// What a checkpointed layer needs to run again; travels through the autograd graph as a capsule.
struct Rerun : torch::CustomClassHolder {
  Rerun(const DecoderLayer* l, ForwardContext c) : layer(l), context(std::move(c)) {}
  const DecoderLayer* layer;
  ForwardContext context;
};

// The parameters are inputs, so their gradients leave through the graph like any other: both
// backward() and grad() see them.
struct CheckpointFunction : Function<CheckpointFunction> {
  static at::Tensor forward(AutogradContext* ctx, const c10::intrusive_ptr<Rerun>& rerun,
                            const at::Tensor& hidden, at::TensorList parameters) {
    ctx->save_for_backward({hidden});
    ctx->saved_data["rerun"] = at::IValue::make_capsule(rerun);
    ctx->saved_data["parameters"] = static_cast<int64_t>(parameters.size());
    return rerun->layer->Forward(rerun->context, hidden);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto rerun =
        c10::static_intrusive_pointer_cast<Rerun>(ctx->saved_data["rerun"].toCapsule());
    variable_list inputs{ctx->get_saved_variables()[0].detach().requires_grad_()};
    for (const at::Tensor& parameter : rerun->layer->Parameters()) inputs.push_back(parameter);
    const at::AutoGradMode with_graph(true);
    const at::Tensor out = rerun->layer->Forward(rerun->context, inputs[0]);
    variable_list result = torch::autograd::grad({out}, inputs, {grads[0]});
    result.insert(result.begin(), at::Tensor());  // for `rerun`
    return result;
  }
};

}  // namespace

at::Tensor DecoderLayer::SelfAttention(const ForwardContext& context,
                                       const at::Tensor& normed) const {
  const ModelConfig& config = *context.config;
  at::Tensor qkv = Linear(normed, qkv_weight, qkv_bias);
  if (q_norm.defined()) {
    const at::Tensor heads =
        qkv.view({-1, config.num_heads + 2 * config.num_kv_heads, config.head_dim});
    const auto parts = heads.split_with_sizes(
        {config.num_heads, config.num_kv_heads, config.num_kv_heads}, /*dim=*/1);
    qkv = at::cat({RmsNorm(parts[0], q_norm, config.rms_norm_eps),
                   RmsNorm(parts[1], k_norm, config.rms_norm_eps), parts[2]},
                  1)
              .view_as(qkv);
  }
  const QkvHeads heads = SplitAndRotate(qkv, context.rope, config.num_heads, config.num_kv_heads);
  const at::Tensor mixed = context.attention->Attend(index, heads.q, heads.k, heads.v);
  return Linear(mixed.reshape({normed.size(0), config.q_size()}), o_weight, o_bias);
}

at::Tensor DecoderLayer::Forward(const ForwardContext& context, const at::Tensor& hidden) const {
  const double eps = context.config->rms_norm_eps;
  const at::Tensor attended = SelfAttention(context, RmsNorm(hidden, input_norm, eps));
  const auto [residual, normed] = AddRmsNorm(hidden, attended, post_norm, eps);
  return residual + Linear(SwiGlu(Linear(normed, gate_up)), down_weight);
}

at::Tensor DecoderLayer::ForwardCheckpointed(const ForwardContext& context,
                                             const at::Tensor& hidden) const {
  return CheckpointFunction::apply(c10::make_intrusive<Rerun>(this, context), hidden,
                                   at::TensorList(Parameters()));
}

std::vector<at::Tensor> DecoderLayer::Parameters() const {
  std::vector<at::Tensor> parameters;
  for (const at::Tensor* parameter : {&input_norm, &qkv_weight, &qkv_bias, &q_norm, &k_norm,
                                      &o_weight, &o_bias, &post_norm, &gate_up, &down_weight}) {
    if (parameter->defined()) parameters.push_back(*parameter);
  }
  return parameters;
}

}  // namespace cohort

#include "common/model/layer_ops.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "common/model/cpu_few_rows.h"
#include "common/model/cpu_kernels.h"

namespace cohort {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

bool NeedsGraph(const at::Tensor& a, const at::Tensor& b) {
  return at::GradMode::is_enabled() && (a.requires_grad() || b.requires_grad());
}

at::ScalarType WideType(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

// --- RMSNorm ---------------------------------------------------------------------------------

at::Tensor InverseRms(const at::Tensor& wide, double eps) {
  return at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + eps);
}

at::Tensor NormAten(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor wide = x.to(WideType(x));
  return weight * (wide * InverseRms(wide, eps)).to(x.scalar_type());
}

// delta may be undefined: then the sum is x itself.
std::pair<at::Tensor, at::Tensor> NormForward(const at::Tensor& x, const at::Tensor& delta,
                                              const at::Tensor& weight, double eps) {
  if (!cpu::Supports(x)) {
    const at::Tensor sum = delta.defined() ? x + delta : x;
    return {sum, NormAten(sum, weight, eps)};
  }
  const at::Tensor in = x.contiguous();
  at::Tensor out = at::empty_like(in);
  at::Tensor sum = delta.defined() ? at::empty_like(in) : at::Tensor();
  cpu::RmsNormForward(in, delta.defined() ? delta.contiguous() : delta, weight, eps, sum, out);
  return {delta.defined() ? sum : in, out};
}

// (grad of x, grad of weight); `skip`, the gradient that by-passes the norm, may be undefined.
std::pair<at::Tensor, at::Tensor> NormBackward(const at::Tensor& grad, const at::Tensor& skip,
                                               const at::Tensor& x, const at::Tensor& weight,
                                               double eps) {
  if (cpu::Supports(x)) {
    at::Tensor grad_x = at::empty_like(x);
    at::Tensor grad_weight = at::empty_like(weight);
    cpu::RmsNormBackward(grad.contiguous(), skip.defined() ? skip.contiguous() : skip, x, weight,
                         eps, grad_x, grad_weight);
    return {grad_x, grad_weight};
  }
  const auto wide_type = WideType(x);
  const at::Tensor wide = x.to(wide_type);
  const at::Tensor scale = InverseRms(wide, eps);
  const at::Tensor unit = wide * scale;
  const at::Tensor wide_grad = grad.to(wide_type);
  const at::Tensor weighted = wide_grad * weight.to(wide_type);
  at::Tensor grad_x = scale * (weighted - unit * (weighted * unit).mean(-1, true));
  if (skip.defined()) grad_x = grad_x + skip;
  const at::Tensor grad_weight = (wide_grad * unit).reshape({-1, weight.size(0)}).sum(0);
  return {grad_x.to(x.scalar_type()), grad_weight.to(weight.scalar_type())};
}

struct RmsNormFunction : Function<RmsNormFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            double eps) {
    auto [in, out] = NormForward(x, {}, weight, eps);
    ctx->save_for_backward({in, weight});
    ctx->saved_data["eps"] = eps;
    return out;
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    auto [grad_x, grad_weight] =
        NormBackward(grads[0], {}, saved[0], saved[1], ctx->saved_data["eps"].toDouble());
    return {grad_x, grad_weight, {}};
  }
};

struct AddRmsNormFunction : Function<AddRmsNormFunction> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& delta,
                               const at::Tensor& weight, double eps) {
    auto [sum, out] = NormForward(x, delta, weight, eps);
    ctx->save_for_backward({sum, weight});
    ctx->saved_data["eps"] = eps;
    ctx->set_materialize_grads(false);
    return {sum, out};
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    if (!grads[1].defined()) return {grads[0], grads[0], {}, {}};
    const auto saved = ctx->get_saved_variables();
    auto [grad_x, grad_weight] =
        NormBackward(grads[1], grads[0], saved[0], saved[1], ctx->saved_data["eps"].toDouble());
    return {grad_x, grad_x, grad_weight, {}};
  }
};

// --- Rotary embedding ------------------------------------------------------------------------

// x: [tokens, heads, head_dim]; direction 1 rotates, -1 rotates back.
at::Tensor RotateAten(const at::Tensor& x, const RopeTable& rope, double direction) {
  const auto halves = x.to(rope.cos.scalar_type()).chunk(2, -1);
  const at::Tensor cos = rope.cos.unsqueeze(1);
  const at::Tensor sin = rope.sin.unsqueeze(1) * direction;
  return at::cat({halves[0] * cos - halves[1] * sin, halves[1] * cos + halves[0] * sin}, -1)
      .to(x.scalar_type());
}

QkvHeads SplitForward(const at::Tensor& qkv, const RopeTable& rope, int64_t heads,
                      int64_t kv_heads) {
  const int64_t tokens = qkv.size(0), head_dim = 2 * rope.cos.size(1);
  if (cpu::Supports(qkv)) {
    QkvHeads out{at::empty({tokens, heads, head_dim}, qkv.options()),
                 at::empty({tokens, kv_heads, head_dim}, qkv.options()),
                 at::empty({tokens, kv_heads, head_dim}, qkv.options())};
    cpu::SplitAndRotateForward(qkv.contiguous(), rope, out);
    return out;
  }
  const at::Tensor all = qkv.view({tokens, heads + 2 * kv_heads, head_dim});
  return {RotateAten(all.narrow(1, 0, heads), rope, 1.0),
          RotateAten(all.narrow(1, heads, kv_heads), rope, 1.0),
          all.narrow(1, heads + kv_heads, kv_heads).contiguous()};
}

struct SplitAndRotateFunction : Function<SplitAndRotateFunction> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& qkv, const at::Tensor& cos,
                               const at::Tensor& sin, int64_t heads, int64_t kv_heads) {
    ctx->save_for_backward({cos, sin});
    QkvHeads out = SplitForward(qkv, {cos, sin}, heads, kv_heads);
    return {out.q, out.k, out.v};
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const RopeTable rope{saved[0], saved[1]};
    const int64_t tokens = grads[0].size(0);
    if (!cpu::Supports(grads[0])) {
      const at::Tensor joined = at::cat(
          {RotateAten(grads[0], rope, -1.0), RotateAten(grads[1], rope, -1.0), grads[2]}, 1);
      return {joined.view({tokens, -1}), {}, {}, {}, {}};
    }
    const int64_t width = grads[0].size(1) + grads[1].size(1) + grads[2].size(1);
    at::Tensor grad = at::empty({tokens, width * grads[0].size(2)}, grads[0].options());
    cpu::SplitAndRotateBackward(
        {grads[0].contiguous(), grads[1].contiguous(), grads[2].contiguous()}, rope, grad);
    return {grad, {}, {}, {}, {}};
  }
};

// --- SwiGLU ----------------------------------------------------------------------------------

at::Tensor GluForward(const at::Tensor& gate_up) {
  if (!cpu::Supports(gate_up)) {
    const auto halves = gate_up.chunk(2, -1);
    return at::silu(halves[0]) * halves[1];
  }
  at::Tensor out = at::empty({gate_up.size(0), gate_up.size(1) / 2}, gate_up.options());
  cpu::SwiGluForward(gate_up.contiguous(), out);
  return out;
}

struct SwiGluFunction : Function<SwiGluFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate_up) {
    ctx->save_for_backward({gate_up});
    return GluForward(gate_up);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const at::Tensor gate_up = ctx->get_saved_variables()[0].contiguous();
    if (cpu::Supports(gate_up)) {
      at::Tensor grad = at::empty_like(gate_up);
      cpu::SwiGluBackward(grads[0].contiguous(), gate_up, grad);
      return {grad};
    }
    const auto halves = gate_up.chunk(2, -1);
    return {at::cat(
        {at::silu_backward(grads[0] * halves[1], halves[0]), grads[0] * at::silu(halves[0])}, -1)};
  }
};

}  // namespace

at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  if (NeedsGraph(x, weight)) return RmsNormFunction::apply(x, weight, eps);
  return NormForward(x, {}, weight, eps).second;
}

std::pair<at::Tensor, at::Tensor> AddRmsNorm(const at::Tensor& x, const at::Tensor& delta,
                                             const at::Tensor& weight, double eps) {
  if (!NeedsGraph(x, delta) && !NeedsGraph(x, weight)) return NormForward(x, delta, weight, eps);
  auto out = AddRmsNormFunction::apply(x, delta, weight, eps);
  return {out[0], out[1]};
}

QkvHeads SplitAndRotate(const at::Tensor& qkv, const RopeTable& rope, int64_t num_heads,
                        int64_t num_kv_heads) {
  if (!NeedsGraph(qkv, qkv)) return SplitForward(qkv, rope, num_heads, num_kv_heads);
  auto out = SplitAndRotateFunction::apply(qkv, rope.cos, rope.sin, num_heads, num_kv_heads);
  return {out[0], out[1], out[2]};
}

at::Tensor Linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (!NeedsGraph(x, weight) && cpu::SupportsFewRows(x, weight)) {
    at::Tensor out = cpu::FewRowsLinear(x, weight);
    return bias.defined() ? out.add_(bias) : out;
  }
  return at::linear(x, weight, bias.defined() ? std::make_optional(bias) : std::nullopt);
}

at::Tensor SwiGlu(const at::Tensor& gate_up) {
  return NeedsGraph(gate_up, gate_up) ? SwiGluFunction::apply(gate_up) : GluForward(gate_up);
}

}  // namespace cohort

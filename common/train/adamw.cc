#include "common/train/adamw.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "common/train/adamw_kernel.h"

namespace cohort {
namespace {

constexpr int64_t kGrain = int64_t{1} << 16;

// Updates one tensor. `compute` is undefined where the master is the model's own parameter.
void UpdateOnCpu(const at::Tensor& p, const at::Tensor& m, const at::Tensor& v, const at::Tensor& g,
                 const at::Tensor& compute, const AdamWNumbers& numbers) {
  uint16_t* const out = compute.defined() ? static_cast<uint16_t*>(compute.data_ptr()) : nullptr;
  at::parallel_for(0, p.numel(), kGrain, [&](int64_t begin, int64_t end) {
    const int64_t size = end - begin;
    if (p.scalar_type() == at::kDouble) {
      AdamWUpdate(p.data_ptr<double>() + begin, m.data_ptr<double>() + begin,
                  v.data_ptr<double>() + begin, g.data_ptr<double>() + begin, size, numbers);
    } else {
      AdamWUpdate(p.data_ptr<float>() + begin, m.data_ptr<float>() + begin,
                  v.data_ptr<float>() + begin, g.data_ptr<float>() + begin,
                  out == nullptr ? nullptr : out + begin, size, numbers);
    }
  });
}

void UpdateOnDevice(at::Tensor p, at::Tensor m, at::Tensor v, const at::Tensor& gradient,
                    at::Tensor compute, const AdamWNumbers& numbers) {
  const at::Tensor g = gradient * numbers.gradient_scale;
  m.mul_(numbers.beta1).add_(g, 1 - numbers.beta1);
  v.mul_(numbers.beta2).addcmul_(g, g, 1 - numbers.beta2);
  const at::Tensor denominator = v.sqrt().mul_(numbers.inverse_sqrt_v).add_(numbers.eps);
  p.mul_(numbers.decay).addcdiv_(m, denominator, -numbers.step_size);
  if (compute.defined()) compute.copy_(p);
}

}  // namespace

AdamW::AdamW(CausalLm* model, const AdamWOptions& options)
    : model_(model), options_(options), separate_(model->options().dtype == at::kBFloat16) {
  const c10::NoGradGuard no_grad;
  for (const NamedTensor& parameter : model->StorageParameters()) {
    const at::Tensor own = parameter.tensor.detach();
    masters_.push_back(separate_ ? own.to(at::kFloat) : own);
    first_.push_back(at::zeros_like(masters_.back()));
    second_.push_back(at::zeros_like(masters_.back()));
  }
}

void AdamW::Step(const std::vector<at::Tensor>& gradients, double lr, double gradient_scale) {
  const c10::NoGradGuard no_grad;
  ++steps_;
  const double t = static_cast<double>(steps());
  AdamWNumbers numbers;
  numbers.beta1 = options_.beta1;
  numbers.beta2 = options_.beta2;
  numbers.eps = options_.eps;
  numbers.gradient_scale = gradient_scale;
  numbers.decay = 1 - lr * options_.weight_decay;
  numbers.step_size = lr / (1 - std::pow(options_.beta1, t));
  numbers.inverse_sqrt_v = 1 / std::sqrt(1 - std::pow(options_.beta2, t));
  for (size_t i = 0; i < masters_.size(); ++i) {
    at::Tensor compute;
    if (separate_) compute = model_->StorageParameters()[i].tensor.detach();
    if (masters_[i].is_cpu()) {
      UpdateOnCpu(masters_[i], first_[i], second_[i], gradients[i], compute, numbers);
    } else {
      UpdateOnDevice(masters_[i], first_[i], second_[i], gradients[i], compute, numbers);
    }
  }
}

void AdamW::Restored(int64_t steps) {
  const c10::NoGradGuard no_grad;
  steps_ = steps;
  if (!separate_) return;
  for (size_t i = 0; i < masters_.size(); ++i) {
    model_->StorageParameters()[i].tensor.detach().copy_(masters_[i]);
  }
}

}  // namespace cohort

// AdamW (Loshchilov and Hutter 2019; algorithms.md 2.8) on fp32 masters, in one pass over memory:
//   m = b1 m + (1 - b1) g        v = b2 v + (1 - b2) g^2        g = gradient_scale * gradient
//   p = p - lr wd p - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
// Weight decay applies to every parameter. The masters of a model that computes in fp32 (or fp64)
// are its own parameters; a bf16 model has masters beside it and is rewritten, rounded to nearest
// even, in the same pass.
#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <cstdint>
#include <vector>

#include "common/model/causal_lm.h"

namespace cohort {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.01;
};

// Owned by one thread. Throws c10::Error.
class AdamW {
 public:
  // `model` outlives this object and must not be changed beside it, except through Restored().
  AdamW(CausalLm* model, const AdamWOptions& options);

  // One update from gradients laid out like CausalLm::StorageParameters(), in the masters' type.
  void Step(const std::vector<at::Tensor>& gradients, double lr, double gradient_scale);

  // Grows before the first parameter of a step is changed; any thread may ask.
  int64_t steps() const { return steps_; }
  bool separate_masters() const { return separate_; }
  // Laid out like CausalLm::StorageParameters(); checkpoints read and fill them.
  const std::vector<at::Tensor>& masters() const { return masters_; }
  const std::vector<at::Tensor>& first_moments() const { return first_; }
  const std::vector<at::Tensor>& second_moments() const { return second_; }
  // After masters and moments were filled: sets the number of updates done and rewrites the
  // compute copy.
  void Restored(int64_t steps);

 private:
  CausalLm* const model_;
  const AdamWOptions options_;
  bool separate_ = false;
  std::vector<at::Tensor> masters_, first_, second_;
  std::atomic<int64_t> steps_{0};
};

}  // namespace cohort

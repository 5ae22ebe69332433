// The gradient of one optimizer step: a flat accumulator in fp32 (fp64 for fp64 models) over all of
// the model's parameters, summed over micro-batches and then over ranks.
//
// Where the model computes in the accumulator's type, autograd adds into it directly; a bf16
// model's gradient is added after each micro-batch and freed. Owned by one thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "common/collective/collective.h"
#include "common/model/causal_lm.h"

namespace cohort {

class GradientBuffer {
 public:
  // `model` is trainable and outlives this object, which takes over its parameters' .grad().
  explicit GradientBuffer(CausalLm* model);

  // Before the first micro-batch of an optimizer step.
  void Zero();
  // After each backward pass.
  void Collect();
  // Sums over ranks, in buckets of about `bucket_bytes`.
  absl::Status Reduce(Collective& collective, int64_t bucket_bytes);
  // Euclidean norm over all parameters, in fp64. The same on any number of threads.
  double Norm() const;

  // Laid out like CausalLm::StorageParameters().
  const std::vector<at::Tensor>& tensors() const { return views_; }

 private:
  CausalLm* const model_;
  at::Tensor flat_;                // [all parameters]
  std::vector<at::Tensor> views_;  // of flat_, in the parameters' shapes
  bool direct_ = false;            // autograd adds into the views
};

}  // namespace cohort

#include "common/train/gradients.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace cohort {
namespace {

at::ScalarType AccumulatorType(at::ScalarType compute) {
  return compute == at::kDouble ? at::kDouble : at::kFloat;
}

}  // namespace

GradientBuffer::GradientBuffer(CausalLm* model) : model_(model) {
  int64_t total = 0;
  for (const NamedTensor& parameter : model->StorageParameters()) total += parameter.tensor.numel();
  const at::ScalarType type = AccumulatorType(model->options().dtype);
  flat_ = at::zeros({total}, at::TensorOptions().dtype(type).device(model->options().device));
  direct_ = type == model->options().dtype;
  int64_t begin = 0;
  for (const NamedTensor& parameter : model->StorageParameters()) {
    const int64_t size = parameter.tensor.numel();
    views_.push_back(flat_.narrow(0, begin, size).view(parameter.tensor.sizes()));
    begin += size;
  }
}

void GradientBuffer::Zero() {
  flat_.zero_();
  for (size_t i = 0; i < views_.size(); ++i) {
    at::Tensor parameter = model_->StorageParameters()[i].tensor;
    parameter.mutable_grad() = direct_ ? views_[i] : at::Tensor();
  }
}

void GradientBuffer::Collect() {
  if (direct_) return;
  for (size_t i = 0; i < views_.size(); ++i) {
    at::Tensor parameter = model_->StorageParameters()[i].tensor;
    if (!parameter.grad().defined()) continue;
    views_[i].add_(parameter.grad());
    parameter.mutable_grad() = at::Tensor();
  }
}

absl::Status GradientBuffer::Reduce(Collective& collective, int64_t bucket_bytes) {
  if (collective.world_size() == 1) return absl::OkStatus();
  const int64_t step = std::max<int64_t>(1, bucket_bytes / flat_.element_size());
  for (int64_t begin = 0; begin < flat_.numel(); begin += step) {
    at::Tensor bucket = flat_.narrow(0, begin, std::min(step, flat_.numel() - begin));
    COHORT_RETURN_IF_ERROR(
        collective.AllReduceSum(bucket, absl::StrCat("gradients (bucket ", begin / step, ")")));
  }
  return absl::OkStatus();
}

double GradientBuffer::Norm() const {
  // Chunks of fixed size, so that neither the threads nor the tensors' sizes change the sum's
  // order.
  constexpr int64_t kChunk = int64_t{1} << 20;
  double squares = 0;
  for (int64_t begin = 0; begin < flat_.numel(); begin += kChunk) {
    const at::Tensor chunk = flat_.narrow(0, begin, std::min(kChunk, flat_.numel() - begin));
    const double norm = at::linalg_vector_norm(chunk, 2).item<double>();
    squares += norm * norm;
  }
  return std::sqrt(squares);
}

}  // namespace cohort

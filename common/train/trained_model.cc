#include "common/train/trained_model.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/train/non_finite.h"

namespace cohort {

TrainedModel::TrainedModel(std::string name, CausalLm* model, UpdateOptions options)
    : name_(std::move(name)),
      model_(model),
      options_(options),
      gradients_(model),
      optimizer_(model, options_.adamw) {}

absl::Status TrainedModel::Reduce(Collective& collective) {
  return gradients_.Reduce(collective, options_.bucket_bytes);
}

absl::StatusOr<TrainedModel::Applied> TrainedModel::Apply(int64_t planned,
                                                          const std::string& after) {
  Applied applied;
  applied.grad_norm = gradients_.Norm();
  if (!std::isfinite(applied.grad_norm)) {
    return NonFiniteError(
        absl::StatusCode::kInternal, NonFinite::kGradient,
        absl::StrCat("the norm of the ", name_, " is ", applied.grad_norm, " after ", after));
  }
  const double limit = options_.max_grad_norm;
  const double scale = limit > 0 ? std::min(1.0, limit / (applied.grad_norm + 1e-6)) : 1.0;
  applied.learning_rate = LearningRate(options_.lr, planned);
  optimizer_.Step(gradients_.tensors(), applied.learning_rate, scale);
  return applied;
}

absl::Status TrainedModel::Sync(Collective& collective) {
  if (collective.world_size() == 1) return absl::OkStatus();
  at::Tensor steps = at::full({1}, optimizer_.steps(), at::kLong);
  COHORT_RETURN_IF_ERROR(collective.Broadcast(steps, 0, absl::StrCat("updates of the ", name_)));
  std::vector<at::Tensor> state = optimizer_.masters();
  if (steps.item<int64_t>() > 0) {  // before the first one all moments are zero
    for (const auto* moments : {&optimizer_.first_moments(), &optimizer_.second_moments()}) {
      state.insert(state.end(), moments->begin(), moments->end());
    }
  }
  for (at::Tensor& tensor : state) {
    COHORT_RETURN_IF_ERROR(collective.Broadcast(tensor, 0, absl::StrCat("state of the ", name_)));
  }
  optimizer_.Restored(steps.item<int64_t>());
  return absl::OkStatus();
}

}  // namespace cohort

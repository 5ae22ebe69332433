// A model with what an optimizer step of it needs: accumulated gradients, AdamW, learning rate and
// clipping. The policy is one; a critic and a process model are others with rates of their own.
// Owned by one thread. Throws c10::Error.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/collective/collective.h"
#include "common/model/causal_lm.h"
#include "common/train/adamw.h"
#include "common/train/gradients.h"
#include "common/train/schedule.h"

namespace cohort {

struct UpdateOptions {
  AdamWOptions adamw;
  LrOptions lr;
  double max_grad_norm = 1;  // 0: no clipping
  int64_t bucket_bytes = int64_t{32} << 20;
};

class TrainedModel {
 public:
  // `model` is trainable and outlives this object. `name` is named in errors.
  TrainedModel(std::string name, CausalLm* model, UpdateOptions options);

  // An optimizer step: Begin, backward passes with Collect after each, Reduce over ranks, Apply.
  void Begin() { gradients_.Zero(); }
  void Collect() { gradients_.Collect(); }
  absl::Status Reduce(Collective& collective);
  struct Applied {
    double grad_norm = 0;  // before clipping
    double learning_rate = 0;
  };
  // `planned`: updates of the run before this one, made or skipped, for the learning rate.
  // InternalError "non-finite gradient" leaves the weights as they are; `after` says after what.
  absl::StatusOr<Applied> Apply(int64_t planned, const std::string& after);

  // Makes every rank's weights and optimizer state those of rank 0, which may have read a
  // checkpoint.
  absl::Status Sync(Collective& collective);

  CausalLm& model() const { return *model_; }
  AdamW& optimizer() { return optimizer_; }
  const AdamW& optimizer() const { return optimizer_; }
  const GradientBuffer& gradients() const { return gradients_; }

 private:
  const std::string name_;
  CausalLm* const model_;
  const UpdateOptions options_;
  GradientBuffer gradients_;
  AdamW optimizer_;
};

}  // namespace cohort

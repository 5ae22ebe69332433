// One optimizer batch: from groups of samples to new weights (algorithms.md sections 2 to 5,
// design.md section 8).
//
// Every rank calls Step with the same groups; the result is the same on every rank and, up to
// rounding, for any number of ranks and any split in micro-batches. Losses divide by counts of the
// whole mini-batch, gradients are summed. Nothing here is random except the choice of clip_cov,
// which is seeded by (seed, batch, update).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/collective/collective.h"
#include "common/model/causal_lm.h"
#include "common/rl/algorithm_spec.h"
#include "common/rl/group.h"
#include "common/rl/kl.h"
#include "common/train/adamw.h"
#include "common/train/gradients.h"
#include "common/train/packing.h"
#include "common/train/schedule.h"
#include "common/train/step_report.h"

namespace cohort {

struct TrainerOptions {
  AlgorithmSpec algorithm;
  int64_t mini_batches = 1;  // optimizer steps per pass over a batch
  int64_t epochs = 1;        // passes over a batch
  int64_t tokens_per_micro_batch = 4096;
  AdamWOptions adamw;
  LrOptions lr;
  double max_grad_norm = 1;  // 0: no clipping
  bool checkpoint_activations = false;
  bool share_prompts = true;  // false: the naive layout, for comparison
  int64_t bucket_bytes = int64_t{32} << 20;
  uint64_t seed = 0;
  // Asked between micro-batches: true abandons a batch that has made no update yet; Step then
  // returns Cancelled with the weights as they were. Empty: never.
  std::function<bool()> cancelled = nullptr;
};

// Owned by one thread.
class Trainer {
 public:
  // All outlive the trainer. `model` is trainable; `reference` (its frozen start) is needed where
  // the algorithm has a KL term and may be null otherwise.
  Trainer(TrainerOptions options, CausalLm* model, const CausalLm* reference,
          Collective* collective);

  // Trains on one batch. `version`: of the weights in the model now. After an error the weights may
  // have made part of the batch's updates, and must not be published or saved then; they are whole
  // while optimizer().steps() is what it was. A number that is not finite is such an error
  // (NonFiniteIn); its message names the rows.
  absl::StatusOr<StepReport> Step(absl::Span<const Group> groups, int64_t version);

  // Makes every rank's weights those of rank 0. Once, before the first step.
  absl::Status SyncWeights();

  // State that a checkpoint keeps.
  AdamW& optimizer() { return optimizer_; }
  const AdamW& optimizer() const { return optimizer_; }
  int64_t batches() const { return batches_; }
  double kl_coef() const { return kl_.coef(); }
  void Restore(int64_t batches, double kl_coef);

  // Of the last update, before clipping; for tests.
  const GradientBuffer& gradients() const { return gradients_; }

 private:
  struct Run;  // what one Step carries along

  absl::StatusOr<StepReport> RunStep(absl::Span<const Group> groups, int64_t version);
  absl::Status ScorePolicies(Run* run);
  absl::StatusOr<std::vector<double>> ScoreAll(const CausalLm& model, Run* run);
  void PlanUpdates(Run* run) const;
  absl::Status Update(int64_t mini_batch, int64_t epoch, Run* run);
  absl::Status RunMicroBatches(int64_t mini_batch, Run* run);
  absl::Status RunMicroBatch(const MicroBatch& micro, const std::vector<double>& row_weights,
                             Run* run);
  absl::Status ApplyGradients(Run* run);
  absl::Status GatherReport(int64_t version, Run* run);
  absl::Status AgreeOn(const absl::Status& status, absl::string_view what);
  PackingOptions Packing() const;
  std::vector<bool> RowsWithGradient(const TrainBatch& batch) const;
  absl::Span<const TrainRow> RowsOfMiniBatch(int64_t mini_batch, const TrainBatch& batch) const;
  std::vector<double> RowWeights(int64_t mini_batch, const Run& run) const;
  void SelectTokens(int64_t mini_batch, Run* run) const;

  const TrainerOptions options_;
  CausalLm* const model_;
  const CausalLm* const reference_;
  Collective* const collective_;
  GradientBuffer gradients_;
  AdamW optimizer_;
  KlController kl_;
  int64_t batches_ = 0;
};

}  // namespace cohort

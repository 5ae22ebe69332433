// Supervised fine-tuning: one optimizer step on written-out responses. The loss is the mean
// negative log-probability of the tokens with mask 1 over the whole batch of all ranks,
//   L = -(1 / T) sum_i sum_t m_it log p(y_it | x_i, y_i<t),
// on the same packing (sequences stay apart), gradients, optimizer and collective as Trainer.
//
// An example is a Group with one row: prompt, tokens and mask; the rest of it is not looked at.
// Every rank calls Step with the same examples; the result is the same on every rank and, up to
// rounding, for any number of ranks and any split in micro-batches.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/collective/collective.h"
#include "common/model/causal_lm.h"
#include "common/rl/group.h"
#include "common/train/adamw.h"
#include "common/train/gradients.h"
#include "common/train/packing.h"
#include "common/train/schedule.h"
#include "common/train/step_report.h"

namespace cohort {

struct SftOptions {
  int64_t tokens_per_micro_batch = 4096;  // packed
  AdamWOptions adamw;
  LrOptions lr;
  double max_grad_norm = 1;  // 0: no clipping
  bool checkpoint_activations = false;
  int64_t bucket_bytes = int64_t{32} << 20;
};

struct SftReport {
  double loss = 0;           // nats per learned token
  double entropy = 0;        // of the model at the learned tokens, nats per token
  double grad_norm = 0;      // before clipping
  double learning_rate = 0;  // of this step
  int64_t examples = 0;
  int64_t learned_tokens = 0;
  int64_t packed_tokens = 0;  // over all ranks
  PhaseSeconds seconds;
};

// Owned by one thread.
class SftTrainer {
 public:
  // Both outlive the trainer; `model` is trainable.
  SftTrainer(SftOptions options, CausalLm* model, Collective* collective);

  // One optimizer step. After an error the weights must not be saved. A loss or gradient that is
  // not finite is an error.
  absl::StatusOr<SftReport> Step(absl::Span<const Group> examples);
  // The loss alone (no gradient, no step), for held-out examples. On every rank, as Step.
  absl::StatusOr<SftReport> Score(absl::Span<const Group> examples);

  // Makes every rank's weights those of rank 0. Once, before the first step.
  absl::Status SyncWeights();

  AdamW& optimizer() { return optimizer_; }
  const AdamW& optimizer() const { return optimizer_; }
  int64_t steps() const { return optimizer_.steps(); }
  // Of the last step, before clipping; for tests.
  const GradientBuffer& gradients() const { return gradients_; }

 private:
  absl::StatusOr<SftReport> Run(absl::Span<const Group> examples, bool train);
  absl::Status RunMicroBatch(const TrainBatch& batch, const MicroBatch& micro, SftReport* report);
  absl::Status ApplyGradients(SftReport* report);
  PackingOptions Packing() const;

  const SftOptions options_;
  CausalLm* const model_;
  Collective* const collective_;
  GradientBuffer gradients_;
  AdamW optimizer_;
};

}  // namespace cohort

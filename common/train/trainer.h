// One optimizer batch: from groups of samples to new weights (algorithms.md sections 2 to 5,
// design.md section 8).
//
// Every rank calls Step with the same groups; the result is the same on every rank and, up to
// rounding, for any number of ranks and any split in micro-batches. Losses divide by counts of the
// whole mini-batch, gradients are summed. Nothing here is random except the choice of clip_cov,
// which is seeded by (seed, batch, update).
//
// A critic or a process model is scored and trained here, too (critic.h, process_model.h).
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
#include "common/train/checkpoint.h"
#include "common/train/critic.h"
#include "common/train/packing.h"
#include "common/train/process_model.h"
#include "common/train/step_report.h"
#include "common/train/trained_model.h"

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
  CriticOptions critic;         // adv.baseline critic_gae
  ProcessModelOptions process;  // adv.baseline prime_loo
};

// Models beside the policy, as the algorithm needs them; null otherwise. All outlive the trainer.
struct BesideModels {
  const CausalLm* reference = nullptr;          // the policy's frozen start: a KL term
  CausalLm* critic = nullptr;                   // with a scalar head: adv.baseline critic_gae
  CausalLm* process = nullptr;                  // adv.baseline prime_loo
  const CausalLm* process_reference = nullptr;  // the process model's frozen start
};

// Owned by one thread.
class Trainer {
 public:
  // All outlive the trainer. `model` is trainable.
  Trainer(TrainerOptions options, CausalLm* model, const BesideModels& beside,
          Collective* collective);
  Trainer(TrainerOptions options, CausalLm* model, const CausalLm* reference,
          Collective* collective);

  // Trains on one batch. `version`: of the weights in the model now. After an error the weights may
  // have made part of the batch's updates, and must not be published or saved then; they are whole
  // while updates() is what it was. A number that is not finite is such an error
  // (NonFiniteIn); its message names the rows.
  absl::StatusOr<StepReport> Step(absl::Span<const Group> groups, int64_t version);

  // Makes every rank's weights, optimizers and progress those of rank 0, which alone reads
  // checkpoints. Once, before the first step.
  absl::Status SyncWeights();

  // State that a checkpoint keeps.
  int64_t updates() const;  // optimizer steps of the policy and of the models beside it
  AdamW& optimizer() { return policy_.optimizer(); }
  const AdamW& optimizer() const { return policy_.optimizer(); }
  // The other models that are trained, by name.
  std::vector<CheckpointPart> Beside();
  int64_t batches() const { return batches_; }
  double kl_coef() const { return kl_.coef(); }
  void Restore(int64_t batches, double kl_coef);

  // Of the last update, before clipping; for tests.
  const GradientBuffer& gradients() const { return policy_.gradients(); }

 private:
  struct Run;  // what one Step carries along

  absl::StatusOr<StepReport> RunStep(absl::Span<const Group> groups, int64_t version);
  absl::Status ScorePolicies(Run* run);
  absl::StatusOr<std::vector<double>> ScoreAll(const CausalLm& model, Run* run);
  absl::Status ScoreBeside(Run* run);
  absl::Status JudgeRows(Run* run) const;  // advantages and corrections
  absl::Status TrainCritic(Run* run);
  void PlanUpdates(Run* run) const;
  absl::Status Update(int64_t mini_batch, int64_t epoch, Run* run);
  absl::Status RunMicroBatches(int64_t mini_batch, Run* run);
  absl::Status RunMicroBatch(const MicroBatch& micro, const std::vector<double>& row_weights,
                             Run* run);
  absl::Status ApplyGradients(Run* run);
  absl::Status GatherReport(int64_t version, Run* run);
  PassOptions Pass(const Run& run) const;
  std::vector<bool> RowsWithGradient(const TrainBatch& batch) const;
  absl::Span<const TrainRow> RowsOfMiniBatch(int64_t mini_batch, const TrainBatch& batch) const;
  std::vector<double> RowWeights(int64_t mini_batch, const Run& run) const;
  void SelectTokens(int64_t mini_batch, Run* run) const;

  const TrainerOptions options_;
  CausalLm* const model_;
  const CausalLm* const reference_;
  Collective* const collective_;
  TrainedModel policy_;
  std::unique_ptr<Critic> critic_;
  std::unique_ptr<ProcessModel> process_;
  KlController kl_;
  int64_t batches_ = 0;
};

}  // namespace cohort

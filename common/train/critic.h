// PPO's critic (algorithms.md 3.9): a model of its own with a scalar head that says, before each
// response token, what return is still to come. Scored at the start of a batch for the advantages,
// then trained on the returns that those gave, with a clipped squared error, averaged over the
// tokens of each mini-batch. Owned by one thread; every rank calls the same functions.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/train/passes.h"
#include "common/train/step_report.h"
#include "common/train/trained_model.h"

namespace cohort {

struct CriticOptions {
  UpdateOptions update;
  double value_clip = 0.5;   // how far a value may move from its start within a batch; 0: no limit
  int64_t mini_batches = 1;  // optimizer steps per pass over a batch
  int64_t epochs = 1;        // passes over a batch
  int64_t warmup_batches = 0;  // first batches, in which the policy is left as it is
};

class Critic {
 public:
  // Both outlive the critic; `model` has one label (ModelHead::kNewScore or kScore).
  Critic(const CriticOptions& options, CausalLm* model, Collective* collective);

  // Fills batch->value.
  absl::Status Score(const PassOptions& pass, TrainBatch* batch) const;
  // Updates the model from batch.value and batch.returns.
  absl::StatusOr<CriticReport> Train(const PassOptions& pass, const TrainBatch& batch);

  TrainedModel& trained() { return trained_; }

 private:
  struct Sums {
    double loss = 0, clipped = 0, tokens = 0;
  };
  absl::Status Update(int64_t mini_batch, const PassOptions& pass, const TrainBatch& batch,
                      CriticReport* report, Sums* sums);
  absl::Status RunMicroBatch(const MicroBatch& micro, double weight, const PassOptions& pass,
                             const TrainBatch& batch, Sums* sums);

  const CriticOptions options_;
  Collective* const collective_;
  TrainedModel trained_;
};

}  // namespace cohort

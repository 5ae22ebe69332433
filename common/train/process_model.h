// PRIME's implicit process reward model (algorithms.md section 9): a language model phi whose
// log-ratio to its frozen start, q = log phi(token) - log phi_ref(token), is the reward of each
// token. It is trained on the verifier's outcomes while the policy is: one update per batch,
// BCE(sigmoid(beta * sum of q), accuracy), mean over rows. Owned by one thread; every rank calls
// the same functions.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/rl/algorithm_spec.h"
#include "common/train/passes.h"
#include "common/train/step_report.h"
#include "common/train/trained_model.h"

namespace cohort {

struct ProcessModelOptions {
  UpdateOptions update;  // lr 1e-6 and max_grad_norm 10 in the paper
  double beta = 0.05;
  bool update_first = false;  // `before`: rewards of the updated model, at the cost of a pass
  bool batch_norm = true;     // rewards divided by the batch's largest |reverse cumulative sum|
};

class ProcessModel {
 public:
  // All outlive this object. `reference` is the frozen start of `model`.
  ProcessModel(const ProcessModelOptions& options, CausalLm* model, const CausalLm* reference,
               Collective* collective);

  // Updates the model and fills batch->process: with the rewards of the training step's own forward
  // pass, or, with update_first, with those of the updated model.
  absl::StatusOr<ProcessReport> Judge(const PassOptions& pass, const RewardScaleSpec& scale,
                                      TrainBatch* batch);

  TrainedModel& trained() { return trained_; }

 private:
  absl::StatusOr<std::vector<double>> LogprobsOf(const CausalLm& model, const PassOptions& pass,
                                                 const TrainBatch& batch) const;
  absl::StatusOr<std::vector<double>> TrainingPass(const PassOptions& pass, const TrainBatch& batch,
                                                   const std::vector<double>& reference,
                                                   const std::vector<double>& accuracy);

  const ProcessModelOptions options_;
  const CausalLm* const reference_;
  Collective* const collective_;
  TrainedModel trained_;
};

}  // namespace cohort

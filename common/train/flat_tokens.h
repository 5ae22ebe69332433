// Between a packed micro-batch and the token arrays of its batch: scoring, gathering, scattering,
// and the sums that ranks exchange. Details of trainer.cc, apart so that the step stays on one
// screen.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/collective/collective.h"
#include "common/model/causal_lm.h"
#include "common/objective/token_scores.h"
#include "common/rl/kl.h"
#include "common/rl/policy_loss.h"
#include "common/train/non_finite.h"
#include "common/train/packing.h"
#include "common/train/step_report.h"

namespace cohort {

// The hidden states that `packed.predict` names, [entries, hidden]. Throws c10::Error.
at::Tensor PredictingStates(const CausalLm& model, const PackedMicroBatch& packed,
                            bool checkpoint_activations);

// Scores of the entries of `packed` ([entries] each). Throws c10::Error.
TokenScores ScorePacked(const CausalLm& model, const PackedMicroBatch& packed,
                        const TokenScoreOptions& options, bool checkpoint_activations);

// InternalError "non-finite WHERE: ..." naming the rows.
absl::Status CheckFinite(const TrainBatch& batch, const PackedMicroBatch& packed,
                         const std::vector<double>& values, NonFinite where = NonFinite::kLogprob);

// Writes the entries' values into a flat fp64 tensor and returns them.
std::vector<double> ScatterEntries(const PackedMicroBatch& packed, const at::Tensor& values,
                                   at::Tensor* flat);
// The entries' values from an array of the batch's tokens.
std::vector<double> GatherEntries(const std::vector<double>& flat, const PackedMicroBatch& packed);
// The same into an array, where it holds nothing (NaN) yet.
void Remember(const PackedMicroBatch& packed, const std::vector<double>& logprob,
              std::vector<double>* flat);

// What the loss reads per entry. Empty: as PolicyTokens says.
struct FlatTokens {
  std::vector<double> old, advantage, weight, correction, reference;
  std::vector<uint8_t> selected;
  PolicyTokens View(const PackedMicroBatch& packed) const;
};
FlatTokens GatherTokens(const TrainBatch& batch, const PackedMicroBatch& packed,
                        const std::vector<double>& row_weights,
                        const std::vector<uint8_t>& selected);

// Corrections that only the forward pass makes known: those of a batch that is its own old policy,
// and the negative-sequence mask, which looks at the current policy.
absl::Status AddRowCorrections(const OffPolicySpec& spec, const TrainBatch& batch,
                               const PackedMicroBatch& packed, const std::vector<double>& logprob,
                               FlatTokens* tokens);
double CorrectionSum(const FlatTokens& tokens);

// Sums what ranks counted apart.
absl::Status SumOverRanks(Collective& collective, StepReport* report, double* correction_sum);
// Every rank gets the entries that some rank scored.
absl::Status MergeStart(Collective& collective, std::vector<double>* start);
// Sampler against learner, over the tokens that were scored at the start of the batch.
absl::Status DescribeMismatch(const TrainBatch& batch, StepReport* report);
// Mean estimate between `old` and `reference` over valid tokens.
double MeanKl(const KlSpec& spec, const TrainBatch& batch);

}  // namespace cohort

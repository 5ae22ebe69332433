#include "common/train/sft.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "common/objective/token_scores.h"
#include "common/tensor/host_values.h"
#include "common/train/batch.h"
#include "common/train/flat_tokens.h"

namespace cohort {
namespace {

absl::Status CheckExample(const Group& example) {
  if (example.prompt.empty() || example.rows.size() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("example ", example.ordinal, ": expected a prompt and one response, found ",
                     example.prompt.size(), " prompt tokens and ", example.rows.size(), " rows"));
  }
  const Row& row = example.rows[0];
  if (row.mask.size() == row.tokens.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("example ", example.ordinal,
                                                 ": expected one mask entry per token (",
                                                 row.tokens.size(), "), found ", row.mask.size()));
}

// The examples as rows and token arrays; there are no rewards and no advantages.
absl::StatusOr<TrainBatch> MakeBatch(absl::Span<const Group> examples) {
  TrainBatch batch;
  batch.groups = examples;
  batch.group_rows.push_back(0);
  for (size_t g = 0; g < examples.size(); ++g) {
    COHORT_RETURN_IF_ERROR(CheckExample(examples[g]));
    TrainRow row;
    row.group = static_cast<int64_t>(g);
    row.begin = batch.tokens();
    const std::vector<uint8_t>& mask = examples[g].rows[0].mask;
    row.length = static_cast<int64_t>(mask.size());
    batch.mask.insert(batch.mask.end(), mask.begin(), mask.end());
    batch.rows.push_back(row);
    batch.group_rows.push_back(static_cast<int64_t>(batch.rows.size()));
  }
  return batch;
}

double Since(absl::Time start) { return absl::ToDoubleSeconds(absl::Now() - start); }

// A rank that failed must not leave the others waiting in the next all-reduce.
absl::Status AgreeOn(Collective& collective, const absl::Status& status) {
  if (collective.world_size() == 1) return status;
  at::Tensor failed = at::full({1}, status.ok() ? 0 : 1, at::kLong);
  const absl::Status reduced = collective.AllReduceSum(failed, "status of the passes");
  if (!status.ok()) return status;
  COHORT_RETURN_IF_ERROR(reduced);
  if (failed.item<int64_t>() == 0) return absl::OkStatus();
  return absl::AbortedError("another rank failed in the forward and backward passes");
}

absl::Status SumOverRanks(Collective& collective, SftReport* report) {
  if (collective.world_size() == 1) return absl::OkStatus();
  at::Tensor sums = at::zeros({2}, at::kDouble);
  double* data = sums.data_ptr<double>();
  data[0] = report->loss;
  data[1] = report->entropy;
  COHORT_RETURN_IF_ERROR(collective.AllReduceSum(sums, "metrics"));
  report->loss = data[0];
  report->entropy = data[1];
  return absl::OkStatus();
}

template <typename Call>
absl::StatusOr<SftReport> Guarded(const Call& call) try {
  return call();
} catch (const std::exception& error) {
  const std::string text = error.what();
  return absl::InternalError(absl::StrCat("sft step: ", text.substr(0, text.find('\n'))));
}

}  // namespace

SftTrainer::SftTrainer(SftOptions options, CausalLm* model, Collective* collective)
    : options_(options),
      model_(model),
      collective_(collective),
      gradients_(model),
      optimizer_(model, options_.adamw) {}

absl::Status SftTrainer::SyncWeights() try {
  if (collective_->world_size() == 1) return absl::OkStatus();
  for (at::Tensor master : optimizer_.masters()) {
    COHORT_RETURN_IF_ERROR(collective_->Broadcast(master, 0, "initial weights"));
  }
  optimizer_.Restored(optimizer_.steps());
  return absl::OkStatus();
} catch (const std::exception& error) {
  return absl::InternalError(absl::StrCat("initial weights: ", error.what()));
}

absl::StatusOr<SftReport> SftTrainer::Step(absl::Span<const Group> examples) {
  return Guarded([&]() -> absl::StatusOr<SftReport> {
    gradients_.Zero();
    COHORT_ASSIGN_OR_RETURN(SftReport report, Run(examples, true));
    const absl::Time start = absl::Now();
    COHORT_RETURN_IF_ERROR(gradients_.Reduce(*collective_, options_.bucket_bytes));
    report.seconds.allreduce = Since(start);
    COHORT_RETURN_IF_ERROR(ApplyGradients(&report));
    return report;
  });
}

absl::StatusOr<SftReport> SftTrainer::Score(absl::Span<const Group> examples) {
  return Guarded([&] { return Run(examples, false); });
}

absl::StatusOr<SftReport> SftTrainer::Run(absl::Span<const Group> examples, bool train) {
  SftReport report;
  const absl::Time start = absl::Now();
  COHORT_ASSIGN_OR_RETURN(const TrainBatch batch, MakeBatch(examples));
  report.examples = batch.num_groups();
  report.learned_tokens = std::count(batch.mask.begin(), batch.mask.end(), uint8_t{1});
  if (report.learned_tokens == 0) {
    return absl::InvalidArgumentError("the batch has no token to learn");
  }
  const std::vector<bool> needs_gradient(batch.rows.size(), train);
  const auto plan = PlanMicroBatches(batch, 0, batch.num_groups(), needs_gradient, Packing());
  report.seconds.prepare = Since(start);
  absl::Status status;
  for (const MicroBatch& micro : plan[static_cast<size_t>(collective_->rank())]) {
    status.Update(RunMicroBatch(batch, micro, &report));
  }
  COHORT_RETURN_IF_ERROR(AgreeOn(*collective_, status));
  for (const auto& rank : plan) {
    for (const MicroBatch& micro : rank) report.packed_tokens += micro.tokens;
  }
  COHORT_RETURN_IF_ERROR(SumOverRanks(*collective_, &report));
  return report;
}

absl::Status SftTrainer::RunMicroBatch(const TrainBatch& batch, const MicroBatch& micro,
                                       SftReport* report) {
  const c10::AutoGradMode grad_mode(micro.with_gradient);
  const double weight = 1.0 / static_cast<double>(report->learned_tokens);
  absl::Time start = absl::Now();
  const PackedMicroBatch packed = PackMicroBatch(batch, micro, /*share_prompts=*/false);
  const TokenScores scores = ScorePacked(*model_, packed, {}, options_.checkpoint_activations);
  COHORT_RETURN_IF_ERROR(CheckFinite(batch, packed, ToHost(scores.logprob)));
  const at::Tensor loss = scores.logprob.sum() * -weight;
  report->loss += loss.item<double>();
  report->entropy += scores.entropy.sum().item<double>() * weight;
  report->seconds.forward += Since(start);
  if (!micro.with_gradient) return absl::OkStatus();
  start = absl::Now();
  loss.backward();
  gradients_.Collect();
  report->seconds.backward += Since(start);
  return absl::OkStatus();
}

absl::Status SftTrainer::ApplyGradients(SftReport* report) {
  const absl::Time start = absl::Now();
  const double norm = gradients_.Norm();
  if (!std::isfinite(norm)) {
    return absl::InternalError(absl::StrCat("non-finite gradient: the norm is ", norm, " at step ",
                                            optimizer_.steps() + 1,
                                            "; continue from the last checkpoint with a lower lr"));
  }
  const double limit = options_.max_grad_norm;
  const double scale = limit > 0 ? std::min(1.0, limit / (norm + 1e-6)) : 1.0;
  report->learning_rate = LearningRate(options_.lr, optimizer_.steps());
  report->grad_norm = norm;
  optimizer_.Step(gradients_.tensors(), report->learning_rate, scale);
  report->seconds.optimizer = Since(start);
  return absl::OkStatus();
}

PackingOptions SftTrainer::Packing() const {
  PackingOptions packing;
  packing.token_budget = options_.tokens_per_micro_batch;
  packing.ranks = collective_->world_size();
  packing.share_prompts = false;  // a prompt has one response: nothing to share
  packing.pair_cost = 1.0 / (6.0 * static_cast<double>(model_->config().hidden_size));
  return packing;
}

}  // namespace cohort

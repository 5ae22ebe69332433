#include "common/train/critic.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "common/base/status_macros.h"
#include "common/rl/value_loss.h"
#include "common/tensor/host_values.h"
#include "common/train/flat_tokens.h"

namespace cohort {
namespace {

// [entries], fp32 (fp64 for fp64 models); differentiable.
at::Tensor ValuesOf(const CausalLm& model, const PackedMicroBatch& packed, bool checkpoint) {
  const at::Tensor states = PredictingStates(model, packed, checkpoint);
  const auto type = states.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return at::linear(states.to(type), model.head_weight().to(type)).squeeze(1);
}

int64_t TokensOfPart(const TrainBatch& batch, int64_t part, int64_t parts) {
  const auto row_at = [&](int64_t p) {
    return batch.group_rows[static_cast<size_t>(batch.num_groups() * p / parts)];
  };
  int64_t tokens = 0;
  for (int64_t row = row_at(part); row < row_at(part + 1); ++row) {
    tokens += batch.ValidTokens(batch.rows[static_cast<size_t>(row)]);
  }
  return tokens;
}

// What the values of the batch's start were worth.
void Describe(const TrainBatch& batch, CriticReport* report) {
  std::vector<double> value, returns;
  for (size_t i = 0; i < batch.mask.size(); ++i) {
    if (batch.mask[i] == 0) continue;
    value.push_back(batch.value[i]);
    returns.push_back(batch.returns[i]);
    report->value_mean += batch.value[i];
    report->return_mean += batch.returns[i];
  }
  const double tokens = static_cast<double>(std::max<size_t>(1, value.size()));
  report->value_mean /= tokens;
  report->return_mean /= tokens;
  report->explained_variance = ExplainedVariance(value, returns);
}

}  // namespace

Critic::Critic(const CriticOptions& options, CausalLm* model, Collective* collective)
    : options_(options), collective_(collective), trained_("critic", model, options.update) {}

absl::Status Critic::Score(const PassOptions& pass, TrainBatch* batch) const {
  const auto score = [this](const PackedMicroBatch& packed) {
    return ValuesOf(trained_.model(), packed, false);
  };
  COHORT_ASSIGN_OR_RETURN(
      batch->value, ScoreEntries(*batch, pass, *collective_, NonFinite::kValue, "value", score));
  return absl::OkStatus();
}

absl::StatusOr<CriticReport> Critic::Train(const PassOptions& pass, const TrainBatch& batch) {
  CriticReport report;
  Sums sums;
  Describe(batch, &report);
  PassOptions now = pass;
  for (int64_t epoch = 0; epoch < options_.epochs; ++epoch) {
    for (int64_t mini_batch = 0; mini_batch < options_.mini_batches; ++mini_batch) {
      COHORT_RETURN_IF_ERROR(Update(mini_batch, now, batch, &report, &sums));
      if (report.updates > 0) now.cancelled = nullptr;
    }
  }
  at::Tensor total = at::tensor({sums.loss, sums.clipped, sums.tokens}, at::kDouble);
  COHORT_RETURN_IF_ERROR(collective_->AllReduceSum(total, "metrics of the critic"));
  const double updates = static_cast<double>(std::max<int64_t>(1, report.updates));
  const double* sum = total.const_data_ptr<double>();
  report.loss = sum[0] / updates;
  report.clip_fraction = sum[2] > 0 ? sum[1] / sum[2] : 0;
  report.grad_norm /= updates;
  return report;
}

absl::Status Critic::Update(int64_t mini_batch, const PassOptions& pass, const TrainBatch& batch,
                            CriticReport* report, Sums* sums) {
  const int64_t tokens = TokensOfPart(batch, mini_batch, options_.mini_batches);
  if (tokens == 0) return absl::OkStatus();
  const auto plan = PlanAllRows(batch, mini_batch, options_.mini_batches, pass.packing);
  trained_.Begin();
  absl::Status status;
  for (const MicroBatch& micro : plan[static_cast<size_t>(collective_->rank())]) {
    status = CheckCancelled(pass);
    if (status.ok()) {
      status = RunMicroBatch(micro, 1 / static_cast<double>(tokens), pass, batch, sums);
    }
    if (!status.ok()) break;
  }
  COHORT_RETURN_IF_ERROR(AgreeOn(*collective_, status, "passes of the critic"));
  COHORT_RETURN_IF_ERROR(trained_.Reduce(*collective_));
  COHORT_ASSIGN_OR_RETURN(const TrainedModel::Applied applied,
                          trained_.Apply(trained_.optimizer().steps(), "a mini-batch"));
  report->grad_norm += applied.grad_norm;
  report->learning_rate = applied.learning_rate;
  ++report->updates;
  return absl::OkStatus();
}

absl::Status Critic::RunMicroBatch(const MicroBatch& micro, double weight, const PassOptions& pass,
                                   const TrainBatch& batch, Sums* sums) {
  const PackedMicroBatch packed = PackMicroBatch(batch, micro, pass.packing);
  const at::Tensor values = ValuesOf(trained_.model(), packed, pass.checkpoint_activations);
  const std::vector<double> value = ToHost(values);
  COHORT_RETURN_IF_ERROR(CheckFinite(batch, packed, value, NonFinite::kValue));
  const std::vector<double> weights(value.size(), weight);
  const ValueLoss loss =
      ComputeValueLoss(value, GatherEntries(batch.value, packed),
                       GatherEntries(batch.returns, packed), weights, options_.value_clip);
  sums->loss += loss.loss;
  sums->clipped += loss.clipped;
  sums->tokens += static_cast<double>(value.size());
  if (value.empty()) return absl::OkStatus();
  values.backward(at::tensor(loss.gradient, at::kDouble).to(values.options()));
  trained_.Collect();
  return absl::OkStatus();
}

}  // namespace cohort

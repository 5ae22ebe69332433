#include "common/train/process_model.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

#include "common/base/status_macros.h"
#include "common/rl/advantage.h"
#include "common/tensor/host_values.h"
#include "common/train/flat_tokens.h"

namespace cohort {
namespace {

TokenScoreOptions Scoring() {
  TokenScoreOptions options;  // of the model itself: temperature 1
  options.with_entropy = false;
  return options;
}

std::vector<double> Accuracies(const TrainBatch& batch, const RewardScaleSpec& scale) {
  std::vector<double> out;
  for (const TrainRow& row : batch.rows) {
    const Group& group = batch.groups[static_cast<size_t>(row.group)];
    out.push_back(RowAccuracy(group, batch.SourceRow(row), scale));
  }
  return out;
}

double RowsWithTokens(const TrainBatch& batch) {
  return static_cast<double>(
      std::count_if(batch.rows.begin(), batch.rows.end(),
                    [&](const TrainRow& row) { return batch.ValidTokens(row) > 0; }));
}

// Masks and token arrays by row, as common/rl takes them.
template <typename T>
std::vector<std::vector<T>> ByRow(const std::vector<T>& flat, const TrainBatch& batch) {
  std::vector<std::vector<T>> rows;
  for (const TrainRow& row : batch.rows) {
    const auto begin = flat.begin() + row.begin;
    rows.emplace_back(begin, begin + row.length);
  }
  return rows;
}

// Derivative of the loss with respect to each entry's q: the same for all of a row.
std::vector<double> Slopes(const PackedMicroBatch& packed, const std::vector<double>& q,
                           const std::vector<double>& accuracy, double beta, double rows) {
  std::vector<double> slopes;
  for (size_t i = 0; i < packed.rows.size(); ++i) {
    const auto begin = q.begin() + packed.row_offsets[i];
    const auto end = q.begin() + packed.row_offsets[i + 1];
    const double target = accuracy[static_cast<size_t>(packed.rows[i])];
    const double slope = ProcessRowGradient(std::accumulate(begin, end, 0.0), target, beta) / rows;
    slopes.insert(slopes.end(), static_cast<size_t>(end - begin), slope);
  }
  return slopes;
}

// What the rewards of the start of the batch said about the outcomes.
void Describe(const TrainBatch& batch, const std::vector<double>& process,
              const std::vector<double>& accuracy, double beta, ProcessReport* report) {
  const auto masks = ByRow(batch.mask, batch);
  const auto rewards = ByRow(process, batch);
  report->loss = ProcessModelLoss(masks, rewards, accuracy, beta);
  double rows = 0, right = 0, tokens = 0, sum = 0;
  for (size_t i = 0; i < masks.size(); ++i) {
    double row_sum = 0;
    const double before = tokens;
    for (size_t t = 0; t < masks[i].size(); ++t) {
      if (masks[i][t] != 0) row_sum += rewards[i][t], tokens += 1;
    }
    sum += row_sum;
    if (tokens == before) continue;
    rows += 1;
    right += (row_sum > 0) == (accuracy[i] > 0.5) ? 1 : 0;
  }
  report->accuracy = rows > 0 ? right / rows : 0;
  report->reward_mean = tokens > 0 ? beta * sum / tokens : 0;
}

}  // namespace

ProcessModel::ProcessModel(const ProcessModelOptions& options, CausalLm* model,
                           const CausalLm* reference, Collective* collective)
    : options_(options),
      reference_(reference),
      collective_(collective),
      trained_("process model", model, options.update) {}

absl::StatusOr<ProcessReport> ProcessModel::Judge(const PassOptions& pass,
                                                  const RewardScaleSpec& scale, TrainBatch* batch) {
  ProcessReport report;
  const std::vector<double> accuracy = Accuracies(*batch, scale);
  COHORT_ASSIGN_OR_RETURN(const std::vector<double> reference,
                          LogprobsOf(*reference_, pass, *batch));
  COHORT_ASSIGN_OR_RETURN(std::vector<double> process,
                          TrainingPass(pass, *batch, reference, accuracy));
  Describe(*batch, process, accuracy, options_.beta, &report);
  COHORT_RETURN_IF_ERROR(trained_.Reduce(*collective_));
  COHORT_ASSIGN_OR_RETURN(const TrainedModel::Applied applied,
                          trained_.Apply(trained_.optimizer().steps(), "a batch"));
  report.grad_norm = applied.grad_norm;
  report.learning_rate = applied.learning_rate;
  if (options_.update_first) {
    COHORT_ASSIGN_OR_RETURN(process, LogprobsOf(trained_.model(), pass, *batch));
    for (size_t i = 0; i < process.size(); ++i) process[i] -= reference[i];
  }
  if (options_.batch_norm) {
    auto rows = ByRow(process, *batch);
    NormalizeProcessRewards(ByRow(batch->mask, *batch), &rows);
    process.clear();
    for (const auto& row : rows) process.insert(process.end(), row.begin(), row.end());
  }
  batch->process = std::move(process);
  return report;
}

absl::StatusOr<std::vector<double>> ProcessModel::LogprobsOf(const CausalLm& model,
                                                             const PassOptions& pass,
                                                             const TrainBatch& batch) const {
  return ScoreEntries(batch, pass, *collective_, NonFinite::kLogprob, "logprob",
                      [&](const PackedMicroBatch& packed) {
                        return ScorePacked(model, packed, Scoring(), false).logprob;
                      });
}

// Gradients of the batch's loss on this rank; the rewards q of all ranks, before the update.
absl::StatusOr<std::vector<double>> ProcessModel::TrainingPass(
    const PassOptions& pass, const TrainBatch& batch, const std::vector<double>& reference,
    const std::vector<double>& accuracy) {
  trained_.Begin();
  at::Tensor flat = at::zeros({batch.tokens()}, at::kDouble);
  const double rows = std::max(1.0, RowsWithTokens(batch));
  absl::Status status;
  const auto plan = PlanAllRows(batch, 0, 1, pass.packing);
  for (const MicroBatch& micro : plan[static_cast<size_t>(collective_->rank())]) {
    status = CheckCancelled(pass);
    if (!status.ok()) break;
    const PackedMicroBatch packed = PackMicroBatch(batch, micro, pass.packing);
    const at::Tensor logprob =
        ScorePacked(trained_.model(), packed, Scoring(), pass.checkpoint_activations).logprob;
    std::vector<double> q = ToHost(logprob);
    status = CheckFinite(batch, packed, q);
    if (!status.ok()) break;
    if (q.empty()) continue;
    for (size_t j = 0; j < q.size(); ++j) {
      q[j] -= reference[static_cast<size_t>(packed.flat[j])];
      flat.data_ptr<double>()[packed.flat[j]] = q[j];
    }
    const std::vector<double> gradient = Slopes(packed, q, accuracy, options_.beta, rows);
    logprob.backward(at::tensor(gradient, at::kDouble).to(logprob.options()));
    trained_.Collect();
  }
  COHORT_RETURN_IF_ERROR(AgreeOn(*collective_, status, "passes of the process model"));
  COHORT_RETURN_IF_ERROR(collective_->AllReduceSum(flat, "process rewards"));
  const double* data = flat.const_data_ptr<double>();
  return std::vector<double>(data, data + flat.numel());
}

}  // namespace cohort

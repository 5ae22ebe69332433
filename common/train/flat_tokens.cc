#include "common/train/flat_tokens.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/rl/offpolicy.h"
#include "common/tensor/host_values.h"
#include "common/train/non_finite.h"

namespace cohort {
namespace {

template <typename T>
std::vector<T> Gather(const std::vector<T>& flat, const PackedMicroBatch& packed) {
  std::vector<T> out;
  if (flat.empty()) return out;
  out.reserve(packed.flat.size());
  for (int64_t i : packed.flat) out.push_back(flat[static_cast<size_t>(i)]);
  return out;
}

size_t RowBegin(const PackedMicroBatch& packed, size_t row) {
  return static_cast<size_t>(packed.row_offsets[row]);
}

size_t RowSize(const PackedMicroBatch& packed, size_t row) {
  return RowBegin(packed, row + 1) - RowBegin(packed, row);
}

// Corrections against this forward pass: the batch is its own old policy.
absl::Status CorrectAgainst(const OffPolicySpec& spec, const TrainBatch& batch,
                            const PackedMicroBatch& packed, const std::vector<double>& logprob,
                            FlatTokens* tokens) {
  const std::vector<double> rollout = Gather(batch.rollout, packed);
  const std::vector<uint8_t> mask(rollout.size(), 1);
  std::vector<OffPolicyRow> rows;
  for (size_t i = 0; i < packed.rows.size(); ++i) {
    const size_t begin = RowBegin(packed, i), size = RowSize(packed, i);
    rows.push_back({absl::MakeConstSpan(logprob).subspan(begin, size),
                    absl::MakeConstSpan(rollout).subspan(begin, size),
                    absl::MakeConstSpan(mask).subspan(begin, size)});
  }
  COHORT_ASSIGN_OR_RETURN(const Correction correction, CorrectOffPolicy(spec, rows));
  tokens->correction.clear();
  for (const std::vector<double>& row : correction.weight) {
    tokens->correction.insert(tokens->correction.end(), row.begin(), row.end());
  }
  return absl::OkStatus();
}

void MaskNegativeSequences(double delta, const TrainBatch& batch, const PackedMicroBatch& packed,
                           const std::vector<double>& logprob, FlatTokens* tokens) {
  const std::vector<double> rollout = Gather(batch.rollout, packed);
  const std::vector<uint8_t> mask(rollout.size(), 1);
  if (tokens->correction.empty()) tokens->correction.assign(rollout.size(), 1);
  for (size_t i = 0; i < packed.rows.size(); ++i) {
    const size_t begin = RowBegin(packed, i), size = RowSize(packed, i);
    const bool keep = KeepNegativeSequence(tokens->advantage[begin],
                                           absl::MakeConstSpan(rollout).subspan(begin, size),
                                           absl::MakeConstSpan(logprob).subspan(begin, size),
                                           absl::MakeConstSpan(mask).subspan(begin, size), delta);
    if (!keep)
      std::fill_n(tokens->correction.begin() + static_cast<std::ptrdiff_t>(begin), size, 0);
  }
}

}  // namespace

at::Tensor PredictingStates(const CausalLm& model, const PackedMicroBatch& packed,
                            bool checkpoint_activations) {
  const at::Device device = model.options().device;
  PackedAttention attention(packed.segments);
  CausalLm::ForwardOptions forward;
  forward.checkpoint_activations = checkpoint_activations;
  const at::Tensor hidden =
      model.Forward(packed.tokens.to(device), packed.positions.to(device), attention, forward);
  return hidden.index_select(0, packed.predict.to(device));
}

TokenScores ScorePacked(const CausalLm& model, const PackedMicroBatch& packed,
                        const TokenScoreOptions& options, bool checkpoint_activations) {
  const at::Tensor states = PredictingStates(model, packed, checkpoint_activations);
  return ScoreTokens(states, model.head_weight(), packed.targets.to(states.device()), options);
}

absl::Status CheckFinite(const TrainBatch& batch, const PackedMicroBatch& packed,
                         const std::vector<double>& values, NonFinite where) {
  std::string rows;
  int bad = 0;
  for (size_t i = 0; i < packed.rows.size(); ++i) {
    const auto begin = values.begin() + packed.row_offsets[i];
    const auto end = values.begin() + packed.row_offsets[i + 1];
    if (std::all_of(begin, end, [](double x) { return std::isfinite(x); })) continue;
    if (++bad > 4) continue;  // a few names are enough
    absl::StrAppend(&rows, rows.empty() ? "" : "; ",
                    batch.Describe(batch.rows[static_cast<size_t>(packed.rows[i])]));
  }
  if (bad == 0) return absl::OkStatus();
  return NonFiniteError(absl::StatusCode::kInternal, where,
                        absl::StrCat(bad, " rows, ", rows,
                                     ". The weights are damaged or the loss diverged: "
                                     "continue from the last checkpoint with a lower lr"));
}

std::vector<double> ScatterEntries(const PackedMicroBatch& packed, const at::Tensor& values,
                                   at::Tensor* flat) {
  std::vector<double> entries = ToHost(values);
  double* out = flat->data_ptr<double>();
  for (size_t i = 0; i < entries.size(); ++i) out[packed.flat[i]] = entries[i];
  return entries;
}

std::vector<double> GatherEntries(const std::vector<double>& flat, const PackedMicroBatch& packed) {
  return Gather(flat, packed);
}

void Remember(const PackedMicroBatch& packed, const std::vector<double>& logprob,
              std::vector<double>* flat) {
  for (size_t i = 0; i < logprob.size(); ++i) {
    double& entry = (*flat)[static_cast<size_t>(packed.flat[i])];
    if (std::isnan(entry)) entry = logprob[i];
  }
}

PolicyTokens FlatTokens::View(const PackedMicroBatch& packed) const {
  PolicyTokens view;
  view.old = old;
  view.advantage = advantage;
  view.weight = weight;
  view.correction = correction;
  view.reference = reference;
  view.selected = selected;
  view.row_offsets = packed.row_offsets;
  return view;
}

FlatTokens GatherTokens(const TrainBatch& batch, const PackedMicroBatch& packed,
                        const std::vector<double>& row_weights,
                        const std::vector<uint8_t>& selected) {
  FlatTokens tokens;
  tokens.old = Gather(batch.old, packed);
  tokens.advantage = Gather(batch.advantage, packed);
  tokens.correction = Gather(batch.correction, packed);
  tokens.reference = Gather(batch.reference, packed);
  tokens.selected = Gather(selected, packed);
  for (size_t i = 0; i < packed.rows.size(); ++i) {
    const double weight = row_weights[static_cast<size_t>(packed.rows[i])];
    tokens.weight.insert(tokens.weight.end(), RowSize(packed, i), weight);
  }
  return tokens;
}

absl::Status AddRowCorrections(const OffPolicySpec& spec, const TrainBatch& batch,
                               const PackedMicroBatch& packed, const std::vector<double>& logprob,
                               FlatTokens* tokens) {
  const bool corrects = spec.kind != OffPolicy::kNone && spec.kind != OffPolicy::kBypass;
  if (corrects && batch.old.empty()) {
    COHORT_RETURN_IF_ERROR(CorrectAgainst(spec, batch, packed, logprob, tokens));
  }
  if (spec.neg_seq_mask_delta) {
    MaskNegativeSequences(*spec.neg_seq_mask_delta, batch, packed, logprob, tokens);
  }
  return absl::OkStatus();
}

double CorrectionSum(const FlatTokens& tokens) {
  if (tokens.correction.empty()) return static_cast<double>(tokens.weight.size());
  double sum = 0;
  for (double c : tokens.correction) sum += c;
  return sum;
}

absl::Status SumOverRanks(Collective& collective, StepReport* report, double* correction_sum) {
  if (collective.world_size() == 1) return absl::OkStatus();
  PolicyStats& stats = report->stats;
  const std::vector<double*> sums = {
      &report->loss, &report->policy_loss, &report->kl_loss,    &report->entropy_loss,
      &stats.tokens, &stats.clipped_low,   &stats.clipped_high, &stats.clipped_dual,
      &stats.ppo_kl, &stats.ratio,         &stats.kl,           &stats.entropy,
      correction_sum};
  const int64_t world = collective.world_size();
  const int64_t size = static_cast<int64_t>(sums.size());
  at::Tensor values = at::zeros({size + world}, at::kDouble);  // a maximum has a slot per rank
  double* data = values.data_ptr<double>();
  for (size_t i = 0; i < sums.size(); ++i) data[i] = *sums[i];
  data[size + collective.rank()] = stats.ratio_max;
  COHORT_RETURN_IF_ERROR(collective.AllReduceSum(values, "metrics"));
  for (size_t i = 0; i < sums.size(); ++i) *sums[i] = data[i];
  stats.ratio_max = *std::max_element(data + size, data + size + world);
  return absl::OkStatus();
}

absl::Status MergeStart(Collective& collective, std::vector<double>* start) {
  if (collective.world_size() == 1) return absl::OkStatus();
  const int64_t size = static_cast<int64_t>(start->size());
  at::Tensor values = at::zeros({2, size}, at::kDouble);
  double* value = values.data_ptr<double>();
  double* known = value + size;
  for (size_t i = 0; i < start->size(); ++i) {
    if (std::isnan((*start)[i])) continue;
    value[i] = (*start)[i];
    known[i] = 1;
  }
  COHORT_RETURN_IF_ERROR(collective.AllReduceSum(values, "log-probs"));
  for (size_t i = 0; i < start->size(); ++i) {
    if (known[i] > 0) (*start)[i] = value[i] / known[i];
  }
  return absl::OkStatus();
}

absl::Status DescribeMismatch(const TrainBatch& batch, StepReport* report) {
  std::vector<uint8_t> scored(batch.mask.size(), 0);
  double difference = 0, tokens = 0;
  for (size_t i = 0; i < scored.size(); ++i) {
    if (batch.mask[i] == 0 || std::isnan(batch.start[i])) continue;
    scored[i] = 1;
    difference += std::abs(batch.start[i] - batch.rollout[i]);
    tokens += 1;
  }
  std::vector<OffPolicyRow> rows = OffPolicyRows(batch, batch.start);
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].mask = absl::MakeConstSpan(scored).subspan(static_cast<size_t>(batch.rows[i].begin),
                                                       static_cast<size_t>(batch.rows[i].length));
  }
  COHORT_ASSIGN_OR_RETURN(report->mismatch, MeasureMismatch(rows));
  report->mean_log_difference = tokens > 0 ? difference / tokens : 0;
  return absl::OkStatus();
}

double MeanKl(const KlSpec& spec, const TrainBatch& batch) {
  double sum = 0, tokens = 0;
  for (size_t i = 0; i < batch.mask.size(); ++i) {
    if (batch.mask[i] == 0) continue;
    sum += EstimateKl(spec, batch.old[i], batch.reference[i]).value;
    tokens += 1;
  }
  return tokens > 0 ? sum / tokens : 0;
}

}  // namespace cohort

#include "common/train/trainer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "common/base/rng.h"
#include "common/base/status_macros.h"
#include "common/objective/policy_loss.h"
#include "common/objective/token_scores.h"
#include "common/rl/aggregation.h"
#include "common/rl/offpolicy.h"
#include "common/tensor/host_values.h"
#include "common/train/flat_tokens.h"
#include "common/train/non_finite.h"

namespace cohort {
namespace {

// Adds the time of a scope to a counter.
class ScopedSeconds {
 public:
  explicit ScopedSeconds(double* seconds) : seconds_(seconds), start_(absl::Now()) {}
  ~ScopedSeconds() { *seconds_ += absl::ToDoubleSeconds(absl::Now() - start_); }
  ScopedSeconds(const ScopedSeconds&) = delete;
  ScopedSeconds& operator=(const ScopedSeconds&) = delete;

 private:
  double* const seconds_;
  const absl::Time start_;
};

bool NeedsReference(const AlgorithmSpec& spec) { return spec.kl.placement != KlPlacement::kNone; }

// A batch that makes one update is its own old policy: sg[lp] of the same forward pass. What looks
// at the whole batch before the update, or at a policy that has moved on, needs a pass of its own.
bool NeedsOldPass(const TrainerOptions& options) {
  const AlgorithmSpec& spec = options.algorithm;
  if (spec.offpolicy.kind == OffPolicy::kBypass) return false;
  const bool several = options.mini_batches * options.epochs > 1;
  const bool whole_batch =
      spec.offpolicy.kind == OffPolicy::kReject || spec.offpolicy.batch_normalize;
  return several || whole_batch || spec.kl.placement == KlPlacement::kReward ||
         spec.trust.clip_cov || spec.trust.kl_cov;
}

bool HasCorrection(const OffPolicySpec& spec) {
  return spec.kind != OffPolicy::kNone && spec.kind != OffPolicy::kBypass;
}

double GroupTemperature(absl::Span<const Group> groups) {
  return groups.empty() ? 1.0 : static_cast<double>(groups[0].temperature);
}

absl::Status CheckGroups(absl::Span<const Group> groups) {
  if (groups.empty()) return absl::InvalidArgumentError("the batch has no groups");
  for (const Group& group : groups) {
    if (group.prompt.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("group ", group.ordinal, " has an empty prompt"));
    }
    if (group.temperature == groups[0].temperature) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "groups of one batch have one temperature: group ", group.ordinal, " has ",
        group.temperature, ", group ", groups[0].ordinal, " has ", groups[0].temperature));
  }
  return absl::OkStatus();
}

}  // namespace

struct Trainer::Run {
  TrainBatch batch;
  StepReport report;
  int64_t update = 0;  // of this batch, from 0
  double temperature = 1;
  bool frozen = false;  // no token has an advantage: measure, but make no update
  std::vector<std::vector<std::vector<MicroBatch>>> plans;  // [mini-batch][rank][micro-batch]
  std::vector<uint8_t> selected;                            // clip_cov, kl_cov; token arrays
  double correction_sum = 0;
};

Trainer::Trainer(TrainerOptions options, CausalLm* model, const CausalLm* reference,
                 Collective* collective)
    : options_(std::move(options)),
      model_(model),
      reference_(reference),
      collective_(collective),
      gradients_(model),
      optimizer_(model, options_.adamw),
      kl_(options_.algorithm.kl) {}

void Trainer::Restore(int64_t batches, double kl_coef) {
  batches_ = batches;
  kl_.Restore(kl_coef);
}

absl::Status Trainer::SyncWeights() try {
  if (collective_->world_size() == 1) return absl::OkStatus();
  for (at::Tensor master : optimizer_.masters()) {
    COHORT_RETURN_IF_ERROR(collective_->Broadcast(master, 0, "initial weights"));
  }
  optimizer_.Restored(optimizer_.steps());
  return absl::OkStatus();
} catch (const std::exception& error) {
  return absl::InternalError(absl::StrCat("initial weights: ", error.what()));
}

absl::StatusOr<StepReport> Trainer::Step(absl::Span<const Group> groups, int64_t version) try {
  return RunStep(groups, version);
} catch (const std::exception& error) {
  const std::string text = error.what();
  return absl::InternalError(absl::StrCat("train step: ", text.substr(0, text.find('\n'))));
}

// The step on one screen.
absl::StatusOr<StepReport> Trainer::RunStep(absl::Span<const Group> groups, int64_t version) {
  const AlgorithmSpec& spec = options_.algorithm;
  Run run;
  COHORT_RETURN_IF_ERROR(CheckGroups(groups));
  run.temperature = GroupTemperature(groups);
  COHORT_ASSIGN_OR_RETURN(run.batch, PrepareBatch(groups, spec, batches_));
  COHORT_RETURN_IF_ERROR(ScorePolicies(&run));
  COHORT_RETURN_IF_ERROR(AddAdvantages(spec, kl_.coef(), &run.batch));
  if (HasCorrection(spec.offpolicy) && !run.batch.old.empty()) {
    COHORT_RETURN_IF_ERROR(AddCorrection(spec.offpolicy, &run.batch));
  }
  PlanUpdates(&run);
  for (int64_t epoch = 0; epoch < options_.epochs; ++epoch) {
    for (int64_t mini_batch = 0; mini_batch < options_.mini_batches; ++mini_batch) {
      COHORT_RETURN_IF_ERROR(Update(mini_batch, epoch, &run));
    }
  }
  COHORT_RETURN_IF_ERROR(GatherReport(version, &run));
  ++batches_;
  return std::move(run.report);
}

// `old` and `reference`, where the algorithm needs them before the first update.
absl::Status Trainer::ScorePolicies(Run* run) {
  TrainBatch& batch = run->batch;
  if (options_.algorithm.offpolicy.kind == OffPolicy::kBypass) batch.old = batch.rollout;
  if (NeedsOldPass(options_)) {
    COHORT_ASSIGN_OR_RETURN(batch.old, ScoreAll(*model_, run));
    batch.start = batch.old;
  }
  if (!NeedsReference(options_.algorithm)) return absl::OkStatus();
  if (reference_ == nullptr) {
    return absl::FailedPreconditionError("algorithm.kl needs a reference policy and none is there");
  }
  COHORT_ASSIGN_OR_RETURN(batch.reference, ScoreAll(*reference_, run));
  run->report.has_reference = true;
  return absl::OkStatus();
}

// Log-probs of all valid tokens under `model`, in the layout of the token arrays.
absl::StatusOr<std::vector<double>> Trainer::ScoreAll(const CausalLm& model, Run* run) {
  const ScopedSeconds timer(&run->report.seconds.forward);
  const c10::NoGradGuard no_grad;
  const TrainBatch& batch = run->batch;
  const std::vector<bool> all(batch.rows.size(), true);
  const auto plan = PlanMicroBatches(batch, 0, batch.num_groups(), all, Packing());
  at::Tensor flat = at::zeros({batch.tokens()}, at::kDouble);
  TokenScoreOptions scoring;
  scoring.temperature = run->temperature;
  scoring.with_entropy = false;
  absl::Status status;
  for (const MicroBatch& micro : plan[static_cast<size_t>(collective_->rank())]) {
    const PackedMicroBatch packed = PackMicroBatch(batch, micro, options_.share_prompts);
    const TokenScores scores = ScorePacked(model, packed, scoring, false);
    status.Update(CheckFinite(batch, packed, ScatterLogprobs(packed, scores.logprob, &flat)));
  }
  COHORT_RETURN_IF_ERROR(AgreeOn(status, "scoring"));
  COHORT_RETURN_IF_ERROR(collective_->AllReduceSum(flat, "log-probs"));
  const double* data = flat.const_data_ptr<double>();
  return std::vector<double>(data, data + flat.numel());
}

PackingOptions Trainer::Packing() const {
  PackingOptions packing;
  packing.token_budget = options_.tokens_per_micro_batch;
  packing.ranks = collective_->world_size();
  packing.share_prompts = options_.share_prompts;
  packing.pair_cost = 1.0 / (6.0 * static_cast<double>(model_->config().hidden_size));
  return packing;
}

std::vector<bool> Trainer::RowsWithGradient(const TrainBatch& batch) const {
  const AlgorithmSpec& spec = options_.algorithm;
  const bool always = spec.kl.placement == KlPlacement::kLoss || spec.entropy_coef != 0 ||
                      spec.trust.kl_cov || spec.trust.quadratic;
  std::vector<bool> needs(batch.rows.size(), always);
  for (size_t i = 0; i < needs.size() && !always; ++i) {
    const auto begin = batch.advantage.begin() + batch.rows[i].begin;
    needs[i] = std::any_of(begin, begin + batch.rows[i].length, [](double a) { return a != 0; });
  }
  return needs;
}

void Trainer::PlanUpdates(Run* run) const {
  const ScopedSeconds timer(&run->report.seconds.prepare);
  TrainBatch& batch = run->batch;
  const bool empty =
      std::all_of(batch.advantage.begin(), batch.advantage.end(), [](double a) { return a == 0; });
  run->frozen = empty && !options_.algorithm.step_on_empty;
  const std::vector<bool> needs =
      run->frozen ? std::vector<bool>(batch.rows.size(), false) : RowsWithGradient(batch);
  for (int64_t m = 0; m < options_.mini_batches; ++m) {
    const int64_t first = batch.num_groups() * m / options_.mini_batches;
    const int64_t last = batch.num_groups() * (m + 1) / options_.mini_batches;
    run->plans.push_back(PlanMicroBatches(batch, first, last, needs, Packing()));
  }
  run->report.kl_coef = kl_.coef();
}

absl::Status Trainer::Update(int64_t mini_batch, int64_t epoch, Run* run) {
  if (run->frozen && epoch > 0) {
    ++run->report.skipped_updates;
    return absl::OkStatus();
  }
  SelectTokens(mini_batch, run);
  gradients_.Zero();
  COHORT_RETURN_IF_ERROR(AgreeOn(RunMicroBatches(mini_batch, run), "forward and backward passes"));
  ++run->update;
  if (run->frozen) {
    ++run->report.skipped_updates;
    return absl::OkStatus();
  }
  {
    const ScopedSeconds timer(&run->report.seconds.allreduce);
    COHORT_RETURN_IF_ERROR(gradients_.Reduce(*collective_, options_.bucket_bytes));
  }
  return ApplyGradients(run);
}

// clip_cov and kl_cov choose among the tokens of the whole mini-batch, by the old policy.
void Trainer::SelectTokens(int64_t mini_batch, Run* run) const {
  const AlgorithmSpec& spec = options_.algorithm;
  if (!spec.trust.clip_cov && !spec.trust.kl_cov) return;
  const TrainBatch& batch = run->batch;
  std::vector<uint8_t> mask(batch.mask.size(), 0);
  for (const TrainRow& row : RowsOfMiniBatch(mini_batch, batch)) {
    std::copy_n(batch.mask.begin() + row.begin, row.length, mask.begin() + row.begin);
  }
  const uint64_t seed =
      Philox(options_.seed, static_cast<uint64_t>(batches_), static_cast<uint64_t>(run->update))[0];
  run->selected = SelectByCovariance(spec.trust, batch.old, batch.old, batch.advantage, mask, seed);
}

absl::Span<const TrainRow> Trainer::RowsOfMiniBatch(int64_t mini_batch,
                                                    const TrainBatch& batch) const {
  const auto row_at = [&](int64_t m) {
    return batch.group_rows[static_cast<size_t>(batch.num_groups() * m / options_.mini_batches)];
  };
  const int64_t begin = row_at(mini_batch);
  return absl::MakeConstSpan(batch.rows)
      .subspan(static_cast<size_t>(begin), static_cast<size_t>(row_at(mini_batch + 1) - begin));
}

// Weight of a valid token of each row of the batch, from counts of the whole mini-batch.
std::vector<double> Trainer::RowWeights(int64_t mini_batch, const Run& run) const {
  const TrainBatch& batch = run.batch;
  std::vector<int64_t> micro_of(batch.rows.size(), -1);
  int64_t micro = 0;
  for (const auto& rank : run.plans[static_cast<size_t>(mini_batch)]) {
    for (const MicroBatch& one : rank) {
      for (const Piece& piece : one.pieces) {
        for (int64_t row : piece.rows) micro_of[static_cast<size_t>(row)] = micro;
      }
      ++micro;
    }
  }
  std::vector<AggregationRow> rows;
  const absl::Span<const TrainRow> mine = RowsOfMiniBatch(mini_batch, batch);
  const size_t first = static_cast<size_t>(mine.data() - batch.rows.data());
  for (size_t i = 0; i < mine.size(); ++i) {
    rows.push_back({batch.ValidTokens(mine[i]), mine[i].group, micro_of[first + i]});
  }
  const std::vector<double> weights = AggregationWeights(options_.algorithm.agg, rows);
  std::vector<double> out(batch.rows.size(), 0);
  std::copy(weights.begin(), weights.end(), out.begin() + static_cast<std::ptrdiff_t>(first));
  return out;
}

absl::Status Trainer::RunMicroBatches(int64_t mini_batch, Run* run) {
  const std::vector<double> weights = RowWeights(mini_batch, *run);
  const auto& plan = run->plans[static_cast<size_t>(mini_batch)];
  for (const MicroBatch& micro : plan[static_cast<size_t>(collective_->rank())]) {
    if (run->report.updates == 0 && options_.cancelled && options_.cancelled()) {
      return absl::CancelledError("the step was abandoned before its first update");
    }
    COHORT_RETURN_IF_ERROR(RunMicroBatch(micro, weights, run));
  }
  for (const auto& rank : plan) {
    for (const MicroBatch& micro : rank) run->report.trained_tokens += micro.tokens;
  }
  return absl::OkStatus();
}

absl::Status Trainer::RunMicroBatch(const MicroBatch& micro, const std::vector<double>& row_weights,
                                    Run* run) {
  const AlgorithmSpec& spec = options_.algorithm;
  StepReport& report = run->report;
  const c10::AutoGradMode grad_mode(micro.with_gradient);
  FlatTokens tokens;
  TokenScores scores;
  TotalLoss total;
  {
    const ScopedSeconds timer(&report.seconds.forward);
    const PackedMicroBatch packed = PackMicroBatch(run->batch, micro, options_.share_prompts);
    TokenScoreOptions scoring;
    scoring.temperature = run->temperature;
    scoring.entropy_gradient = spec.entropy_coef != 0;
    scores = ScorePacked(*model_, packed, scoring, options_.checkpoint_activations);
    const std::vector<double> logprob = ToHost(scores.logprob);
    COHORT_RETURN_IF_ERROR(CheckFinite(run->batch, packed, logprob));
    if (run->batch.old.empty() || run->update == 0) Remember(packed, logprob, &run->batch.start);
    tokens = GatherTokens(run->batch, packed, row_weights, run->selected);
    COHORT_RETURN_IF_ERROR(AddRowCorrections(spec.offpolicy, run->batch, packed, logprob, &tokens));
    run->correction_sum += CorrectionSum(tokens);
    PolicyLossSpec loss_spec = MakePolicyLossSpec(spec);
    loss_spec.kl_coef = kl_.coef();
    COHORT_ASSIGN_OR_RETURN(total, ComputeTotalLoss(loss_spec, scores, tokens.View(packed)));
  }
  report.loss += total.parts.loss;
  report.policy_loss += total.parts.policy;
  report.kl_loss += total.parts.kl;
  report.entropy_loss += total.parts.entropy;
  report.stats += total.parts.stats;
  if (!micro.with_gradient) return absl::OkStatus();
  const ScopedSeconds timer(&report.seconds.backward);
  total.loss.backward();
  gradients_.Collect();
  return absl::OkStatus();
}

absl::Status Trainer::ApplyGradients(Run* run) {
  const ScopedSeconds timer(&run->report.seconds.optimizer);
  const double norm = gradients_.Norm();
  if (!std::isfinite(norm)) {
    const std::string rows = absl::StrJoin(
        run->batch.groups, ", ",
        [](std::string* out, const Group& group) { absl::StrAppend(out, group.ordinal); });
    return NonFiniteError(absl::StatusCode::kInternal, NonFinite::kGradient,
                          absl::StrCat("the norm is ", norm, " after the groups ", rows));
  }
  const double limit = options_.max_grad_norm;
  const double scale = limit > 0 ? std::min(1.0, limit / (norm + 1e-6)) : 1.0;
  // By the batch, not by the steps made: a skipped update must not stretch the schedule.
  const int64_t planned = batches_ * options_.mini_batches * options_.epochs + run->update - 1;
  const double lr = LearningRate(options_.lr, planned);
  optimizer_.Step(gradients_.tensors(), lr, scale);
  run->report.grad_norm += norm;
  run->report.learning_rate = lr;
  ++run->report.updates;
  return absl::OkStatus();
}

// A rank that failed must not leave the others waiting in the next all-reduce.
absl::Status Trainer::AgreeOn(const absl::Status& status, absl::string_view what) {
  if (collective_->world_size() == 1) return status;
  at::Tensor failed = at::full({1}, status.ok() ? 0 : 1, at::kLong);
  const absl::Status reduced = collective_->AllReduceSum(failed, absl::StrCat("status of ", what));
  if (!status.ok()) return status;
  COHORT_RETURN_IF_ERROR(reduced);
  if (failed.item<int64_t>() == 0) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat("another rank failed in the ", what));
}

absl::Status Trainer::GatherReport(int64_t version, Run* run) {
  StepReport& report = run->report;
  COHORT_RETURN_IF_ERROR(SumOverRanks(*collective_, &report, &run->correction_sum));
  COHORT_RETURN_IF_ERROR(MergeStart(*collective_, &run->batch.start));
  DescribeGroups(run->batch, options_.algorithm.reward_scale, version, &report);
  COHORT_RETURN_IF_ERROR(DescribeMismatch(run->batch, &report));
  const double updates = static_cast<double>(std::max<int64_t>(1, run->update));
  for (double* sum : {&report.loss, &report.policy_loss, &report.kl_loss, &report.entropy_loss,
                      &report.grad_norm}) {
    *sum /= updates;
  }
  if (report.stats.tokens > 0) {
    report.correction_mean = run->correction_sum / report.stats.tokens;
    report.kl_reference = report.stats.kl / report.stats.tokens;
  }
  if (options_.algorithm.kl.placement == KlPlacement::kReward) {
    report.kl_reference = MeanKl(options_.algorithm.kl, run->batch);
    kl_.Update(report.kl_reference, static_cast<double>(run->batch.rows.size()));
  }
  return absl::OkStatus();
}

}  // namespace cohort

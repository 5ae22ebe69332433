#include "common/train/trainer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/rng.h"
#include "common/base/status_macros.h"
#include "common/objective/policy_loss.h"
#include "common/objective/token_scores.h"
#include "common/rl/aggregation.h"
#include "common/rl/offpolicy.h"
#include "common/tensor/host_values.h"
#include "common/train/flat_tokens.h"
#include "common/train/non_finite.h"
#include "common/train/passes.h"

namespace cohort {
namespace {

bool NeedsReference(const AlgorithmSpec& spec) { return spec.kl.placement != KlPlacement::kNone; }

// A batch that makes one update is its own old policy: sg[lp] of the same forward pass. What looks
// at the whole batch before the update, or at a policy that has moved on, needs a pass of its own.
bool NeedsOldPass(const TrainerOptions& options) {
  const AlgorithmSpec& spec = options.algorithm;
  if (spec.offpolicy.kind == OffPolicy::kBypass) return false;
  const bool several = options.mini_batches * options.epochs > 1;
  const bool whole_batch =
      spec.offpolicy.kind == OffPolicy::kReject || spec.offpolicy.batch_normalize;
  if (spec.objective.kind != Objective::kPolicyGradient) return false;
  return several || whole_batch || spec.kl.placement == KlPlacement::kReward ||
         spec.trust.clip_cov || spec.trust.kl_cov;
}

bool HasCorrection(const OffPolicySpec& spec) {
  return spec.kind != OffPolicy::kNone && spec.kind != OffPolicy::kBypass;
}

// Of the distributions whose log-probs and entropies the losses are made of.
double LossTemperature(const ObjectiveSpec& objective, const Group& group) {
  return objective.kind == Objective::kEntropyDirect ? objective.temperature
                                                     : static_cast<double>(group.temperature);
}

UpdateOptions PolicyUpdate(const TrainerOptions& options) {
  return {options.adamw, options.lr, options.max_grad_norm, options.bucket_bytes};
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
  bool frozen = false;   // measure, but make no update of the policy
  bool changed = false;  // a model beside the policy has been updated
  std::vector<std::vector<std::vector<MicroBatch>>> plans;  // [mini-batch][rank][micro-batch]
  std::vector<uint8_t> selected;                            // clip_cov, kl_cov; token arrays
  double correction_sum = 0;
};

Trainer::Trainer(TrainerOptions options, CausalLm* model, const BesideModels& beside,
                 Collective* collective)
    : options_(std::move(options)),
      model_(model),
      reference_(beside.reference),
      collective_(collective),
      policy_("policy", model, PolicyUpdate(options_)),
      kl_(options_.algorithm.kl) {
  if (beside.critic != nullptr) {
    critic_ = std::make_unique<Critic>(options_.critic, beside.critic, collective);
  }
  if (beside.process != nullptr) {
    process_ = std::make_unique<ProcessModel>(options_.process, beside.process,
                                              beside.process_reference, collective);
  }
}

Trainer::Trainer(TrainerOptions options, CausalLm* model, const CausalLm* reference,
                 Collective* collective)
    : Trainer(std::move(options), model, BesideModels{.reference = reference}, collective) {}

std::vector<CheckpointPart> Trainer::Beside() {
  std::vector<CheckpointPart> parts;
  if (critic_ != nullptr) {
    parts.push_back({"critic", &critic_->trained().model(), &critic_->trained().optimizer()});
  }
  if (process_ != nullptr) {
    parts.push_back(
        {"process_model", &process_->trained().model(), &process_->trained().optimizer()});
  }
  return parts;
}

int64_t Trainer::updates() const {
  int64_t steps = policy_.optimizer().steps();
  if (critic_ != nullptr) steps += critic_->trained().optimizer().steps();
  if (process_ != nullptr) steps += process_->trained().optimizer().steps();
  return steps;
}

void Trainer::Restore(int64_t batches, double kl_coef) {
  batches_ = batches;
  kl_.Restore(kl_coef);
}

absl::Status Trainer::SyncWeights() try {
  if (collective_->world_size() > 1) {
    at::Tensor progress = at::zeros({2}, at::kDouble);  // whole numbers up to 2^53
    progress[0] = static_cast<double>(batches_);
    progress[1] = kl_.coef();
    COHORT_RETURN_IF_ERROR(collective_->Broadcast(progress, 0, "progress of the run"));
    Restore(static_cast<int64_t>(progress[0].item<double>()), progress[1].item<double>());
  }
  COHORT_RETURN_IF_ERROR(policy_.Sync(*collective_));
  if (critic_ != nullptr) COHORT_RETURN_IF_ERROR(critic_->trained().Sync(*collective_));
  return process_ != nullptr ? process_->trained().Sync(*collective_) : absl::OkStatus();
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
  run.temperature = LossTemperature(spec.objective, groups[0]);
  {
    const ScopedSeconds timer(&run.report.seconds.prepare);
    COHORT_ASSIGN_OR_RETURN(run.batch, PrepareBatch(groups, spec, batches_));
  }
  COHORT_RETURN_IF_ERROR(ScorePolicies(&run));
  COHORT_RETURN_IF_ERROR(ScoreBeside(&run));
  COHORT_RETURN_IF_ERROR(JudgeRows(&run));
  COHORT_RETURN_IF_ERROR(TrainCritic(&run));
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

absl::Status Trainer::JudgeRows(Run* run) const {
  const AlgorithmSpec& spec = options_.algorithm;
  const ScopedSeconds timer(&run->report.seconds.prepare);
  COHORT_RETURN_IF_ERROR(AddAdvantages(spec, kl_.coef(), &run->batch));
  if (!HasCorrection(spec.offpolicy) || run->batch.old.empty()) return absl::OkStatus();
  return AddCorrection(spec.offpolicy, &run->batch);
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
  TokenScoreOptions scoring;
  scoring.temperature = run->temperature;
  scoring.with_entropy = false;
  return ScoreEntries(run->batch, Pass(*run), *collective_, NonFinite::kLogprob, "logprob",
                      [&](const PackedMicroBatch& packed) {
                        return ScorePacked(model, packed, scoring, false).logprob;
                      });
}

// Values and process rewards, where the baseline needs them.
absl::Status Trainer::ScoreBeside(Run* run) {
  const ScopedSeconds timer(&run->report.seconds.beside);
  const AdvantageBaseline baseline = options_.algorithm.advantage.baseline;
  if ((baseline == AdvantageBaseline::kCriticGae && critic_ == nullptr) ||
      (baseline == AdvantageBaseline::kPrimeLoo && process_ == nullptr)) {
    return absl::FailedPreconditionError(
        "algorithm.adv.baseline: critic_gae needs a critic and prime_loo a process model, and none "
        "is there");
  }
  if (process_ != nullptr) {
    COHORT_ASSIGN_OR_RETURN(
        run->report.process,
        process_->Judge(Pass(*run), options_.algorithm.reward_scale, &run->batch));
    run->changed = true;
  }
  return critic_ != nullptr ? critic_->Score(Pass(*run), &run->batch) : absl::OkStatus();
}

absl::Status Trainer::TrainCritic(Run* run) {
  if (critic_ == nullptr) return absl::OkStatus();
  const ScopedSeconds timer(&run->report.seconds.beside);
  COHORT_ASSIGN_OR_RETURN(run->report.critic, critic_->Train(Pass(*run), run->batch));
  run->changed = true;
  return absl::OkStatus();
}

PassOptions Trainer::Pass(const Run& run) const {
  PassOptions pass;
  pass.packing.token_budget = options_.tokens_per_micro_batch;
  pass.packing.ranks = collective_->world_size();
  pass.packing.share_prompts = options_.share_prompts;
  pass.packing.pair_cost = 1.0 / (6.0 * static_cast<double>(model_->config().hidden_size));
  const ObjectiveSpec& objective = options_.algorithm.objective;
  pass.packing.own_states =
      objective.kind == Objective::kEntropyDirect && objective.align == EntropyAlign::kReference;
  pass.checkpoint_activations = options_.checkpoint_activations;
  if (!run.changed && run.report.updates == 0) pass.cancelled = options_.cancelled;
  return pass;
}

std::vector<bool> Trainer::RowsWithGradient(const TrainBatch& batch) const {
  const AlgorithmSpec& spec = options_.algorithm;
  const bool always = spec.kl.placement == KlPlacement::kLoss || spec.entropy_coef != 0 ||
                      spec.trust.kl_cov || spec.trust.quadratic ||
                      spec.objective.kind == Objective::kEntropyDirect;
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
  const Objective objective = options_.algorithm.objective.kind;
  run->frozen =
      objective == Objective::kInferenceEntropy ||
      (objective == Objective::kPolicyGradient && empty && !options_.algorithm.step_on_empty) ||
      (critic_ != nullptr && batches_ < options_.critic.warmup_batches);
  const std::vector<bool> needs =
      run->frozen ? std::vector<bool>(batch.rows.size(), false) : RowsWithGradient(batch);
  for (int64_t m = 0; m < options_.mini_batches; ++m) {
    const int64_t first = batch.num_groups() * m / options_.mini_batches;
    const int64_t last = batch.num_groups() * (m + 1) / options_.mini_batches;
    run->plans.push_back(PlanMicroBatches(batch, first, last, needs, Pass(*run).packing));
  }
  run->report.kl_coef = kl_.coef();
}

absl::Status Trainer::Update(int64_t mini_batch, int64_t epoch, Run* run) {
  if (run->frozen && epoch > 0) {
    ++run->report.skipped_updates;
    return absl::OkStatus();
  }
  SelectTokens(mini_batch, run);
  policy_.Begin();
  COHORT_RETURN_IF_ERROR(
      AgreeOn(*collective_, RunMicroBatches(mini_batch, run), "forward and backward passes"));
  ++run->update;
  if (run->frozen) {
    ++run->report.skipped_updates;
    return absl::OkStatus();
  }
  {
    const ScopedSeconds timer(&run->report.seconds.allreduce);
    COHORT_RETURN_IF_ERROR(policy_.Reduce(*collective_));
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
  const std::vector<double> weights = AggregationWeights(LossAggregation(options_.algorithm), rows);
  std::vector<double> out(batch.rows.size(), 0);
  std::copy(weights.begin(), weights.end(), out.begin() + static_cast<std::ptrdiff_t>(first));
  return out;
}

absl::Status Trainer::RunMicroBatches(int64_t mini_batch, Run* run) {
  const std::vector<double> weights = RowWeights(mini_batch, *run);
  const auto& plan = run->plans[static_cast<size_t>(mini_batch)];
  for (const MicroBatch& micro : plan[static_cast<size_t>(collective_->rank())]) {
    COHORT_RETURN_IF_ERROR(CheckCancelled(Pass(*run)));
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
  PolicyLossSpec loss_spec = MakePolicyLossSpec(spec);
  loss_spec.kl_coef = kl_.coef();
  const c10::AutoGradMode grad_mode(micro.with_gradient);
  FlatTokens tokens;
  TokenScores scores;
  TotalLoss total;
  {
    const ScopedSeconds timer(&report.seconds.forward);
    const PackedMicroBatch packed = PackMicroBatch(run->batch, micro, Pass(*run).packing);
    TokenScoreOptions scoring;
    scoring.temperature = run->temperature;
    scoring.entropy_gradient = loss_spec.entropy_coef != 0;
    scores = ScorePacked(*model_, packed, scoring, options_.checkpoint_activations);
    const std::vector<double> logprob = ToHost(scores.logprob);
    COHORT_RETURN_IF_ERROR(CheckFinite(run->batch, packed, logprob));
    const bool first = run->batch.old.empty() || run->update == 0;
    if (first && spec.objective.kind != Objective::kEntropyDirect) {
      Remember(packed, logprob, &run->batch.start);
    }
    tokens = GatherTokens(run->batch, packed, row_weights, run->selected);
    COHORT_RETURN_IF_ERROR(AddRowCorrections(spec.offpolicy, run->batch, packed, logprob, &tokens));
    run->correction_sum += CorrectionSum(tokens);
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
  policy_.Collect();
  return absl::OkStatus();
}

absl::Status Trainer::ApplyGradients(Run* run) {
  const ScopedSeconds timer(&run->report.seconds.optimizer);
  // By the batch, not by the steps made: a skipped update must not stretch the schedule.
  const int64_t planned = batches_ * options_.mini_batches * options_.epochs + run->update - 1;
  const std::string groups = absl::StrJoin(
      run->batch.groups, ", ",
      [](std::string* out, const Group& group) { absl::StrAppend(out, group.ordinal); });
  COHORT_ASSIGN_OR_RETURN(const TrainedModel::Applied applied,
                          policy_.Apply(planned, absl::StrCat("the groups ", groups)));
  run->report.grad_norm += applied.grad_norm;
  run->report.learning_rate = applied.learning_rate;
  ++run->report.updates;
  return absl::OkStatus();
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

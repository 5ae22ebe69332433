#include "services/learner/training_config.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/config/algorithm.h"
#include "common/rl/filter.h"
#include "common/rl/signals.h"
#include "common/train/batch.h"

namespace cohort {
namespace {

LrSchedule MapSchedule(v1::Schedule schedule) {
  switch (schedule) {
    case v1::SCHEDULE_CONSTANT:
      return LrSchedule::kConstant;
    case v1::SCHEDULE_LINEAR:
      return LrSchedule::kLinear;
    case v1::SCHEDULE_COSINE:
      return LrSchedule::kCosine;
  }
  return LrSchedule::kConstant;
}

LrOptions MakeLr(const v1::RunConfig& config) {
  LrOptions lr;
  lr.lr = config.optimizer().lr();
  lr.schedule = MapSchedule(config.optimizer().schedule());
  lr.warmup_steps = config.optimizer().warmup_steps();
  lr.total_steps = config.run().steps() * UpdatesPerBatch(config);
  lr.min_lr_ratio = config.optimizer().min_lr_ratio();
  return lr;
}

// A model beside the policy: the policy's AdamW and warm-up with its own rate. `updates` per batch.
UpdateOptions MakeUpdate(const v1::RunConfig& config, const TrainerOptions& policy, double lr,
                         double max_grad_norm, int64_t updates) {
  UpdateOptions update;
  update.adamw = policy.adamw;
  update.lr = policy.lr;
  update.lr.lr = lr;
  update.lr.total_steps = config.run().steps() * updates;
  update.max_grad_norm = max_grad_norm;
  return update;
}

CriticOptions MakeCritic(const v1::RunConfig& config, const TrainerOptions& policy) {
  const v1::CriticSection& section = config.critic();
  CriticOptions critic;
  critic.mini_batches = section.mini_batches();
  critic.epochs = section.epochs();
  critic.value_clip = section.value_clip();
  critic.warmup_batches = section.warmup_batches();
  critic.update = MakeUpdate(config, policy, section.lr(), section.max_grad_norm(),
                             critic.mini_batches * critic.epochs);
  return critic;
}

ProcessModelOptions MakeProcess(const v1::RunConfig& config, const TrainerOptions& policy) {
  const v1::ProcessModelSection& section = config.process_model();
  ProcessModelOptions process;
  process.beta = section.beta();
  process.update_first = section.update() == v1::PROCESS_UPDATE_BEFORE;
  process.batch_norm = section.norm() == v1::PROCESS_NORM_BATCH;
  process.update = MakeUpdate(config, policy, section.lr(), section.max_grad_norm(), 1);
  return process;
}

std::optional<OrdinalEnd> EndOf(PromptVerdict verdict) {
  switch (verdict) {
    case PromptVerdict::kKeep:
      return std::nullopt;
    case PromptVerdict::kAllRight:
      return OrdinalEnd::kAllRight;
    case PromptVerdict::kAllWrong:
      return OrdinalEnd::kAllWrong;
    case PromptVerdict::kOutOfBand:
      return OrdinalEnd::kBand;
  }
  return std::nullopt;
}

bool Scorable(const Row& row) { return !row.unscorable && row.finish != FinishReason::kAborted; }

// Without a verdict on the greedy row no row of the group has an advantage.
bool HasBaseline(const AlgorithmSpec& spec, const Group& group) {
  if (spec.advantage.baseline != AdvantageBaseline::kGreedy) return true;
  return std::any_of(group.rows.begin(), group.rows.end(), [](const Row& row) {
    return row.role == RowRole::kBaseline && Scorable(row);
  });
}

// algorithms.md 7.2, by the clusters that the worker found. A group without them does not pass.
bool GateOpen(const GateSpec& gate, const Group& group) {
  if (gate.kind == Gate::kNone) return true;
  const auto clusters = group.signals.find(kSemanticClusters);
  const auto entropy = group.signals.find(kSemanticEntropy);
  if (clusters == group.signals.end() || entropy == group.signals.end()) return false;
  const auto rows = std::count_if(group.rows.begin(), group.rows.end(),
                                  [](const Row& row) { return row.role == RowRole::kTrain; });
  return gate.kind == Gate::kFewerClustersThanN
             ? clusters->second < static_cast<double>(rows)
             : entropy->second > gate.entropy_low && entropy->second < gate.entropy_high;
}

// How many batches' worth of prompts are tried for one batch, and which field says so.
struct SamplingLimit {
  int64_t rounds = 0;
  std::string field;
};

SamplingLimit LimitOf(const v1::Filter& filter) {
  const v1::PromptFilter& prompts = filter.prompts();
  if (prompts.has_dynamic()) {
    return {prompts.dynamic().max_rounds(), "algorithm.filter.prompts.dynamic.max_rounds"};
  }
  if (prompts.has_band()) {
    return {prompts.band().max_rounds(), "algorithm.filter.prompts.band.max_rounds"};
  }
  if (prompts.has_min_valid()) {
    return {prompts.min_valid().max_tries(), "algorithm.filter.prompts.min_valid.max_tries"};
  }
  return {filter.max_rounds(), "algorithm.filter.max_rounds"};
}

// A group whose rewards are all equal, by how right its rows are (algorithms.md 3.8).
std::optional<OrdinalEnd> EndOfDegenerate(const Group& group, const RewardScaleSpec& scale) {
  double low = HUGE_VAL, high = -HUGE_VAL, accuracy = 0, rows = 0;
  for (const Row& row : group.rows) {
    if (row.role != RowRole::kTrain || !Scorable(row)) continue;
    low = std::min(low, row.reward);
    high = std::max(high, row.reward);
    accuracy += RowAccuracy(group, row, scale);
    rows += 1;
  }
  if (low < high) return std::nullopt;
  if (accuracy >= rows) return OrdinalEnd::kAllRight;
  return accuracy <= 0 ? OrdinalEnd::kAllWrong : OrdinalEnd::kBand;
}

void AddMinValid(const v1::RunConfig& config, Dispatcher::Options* options) {
  const double frac = config.algorithm().filter().prompts().min_valid().frac();
  const auto groups = static_cast<double>(options->groups_per_step);
  options->max_degenerate = static_cast<int64_t>(std::floor(groups - frac * groups + 1e-9));
  const v1::RewardScale& scale = config.algorithm().reward().scale();
  const RewardScaleSpec spec{scale.correct(), scale.wrong(), scale.unparsable()};
  options->degenerate = [spec](const Group& group) { return EndOfDegenerate(group, spec); };
}

}  // namespace

absl::StatusOr<TrainerOptions> MakeTrainerOptions(const v1::RunConfig& config) {
  TrainerOptions options;
  COHORT_ASSIGN_OR_RETURN(options.algorithm, ToAlgorithmSpec(config));
  options.mini_batches = config.learner().mini_batches();
  options.epochs = config.learner().epochs();
  options.tokens_per_micro_batch = config.learner().tokens_per_micro_batch();
  options.adamw.beta1 = config.optimizer().beta1();
  options.adamw.beta2 = config.optimizer().beta2();
  options.adamw.eps = config.optimizer().eps();
  options.adamw.weight_decay = config.optimizer().weight_decay();
  options.lr = MakeLr(config);
  options.max_grad_norm = config.optimizer().max_grad_norm();
  options.checkpoint_activations = config.model().checkpoint_activations();
  options.seed = config.run().seed();
  options.critic = MakeCritic(config, options);
  options.process = MakeProcess(config, options);
  return options;
}

absl::Status CheckContext(const v1::RunConfig& config, int64_t max_context) {
  const int64_t asked = config.model().max_context();
  const int64_t context = asked > 0 ? std::min(asked, max_context) : max_context;
  const auto check = [&](const char* field, int64_t new_tokens) -> absl::Status {
    if (new_tokens < context) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(
        field, ": ", new_tokens, " new tokens leave no room for a prompt in a context of ", context,
        " tokens (the model holds ", max_context, ", model.max_context is ", asked,
        "); set it below ", context));
  };
  COHORT_RETURN_IF_ERROR(check("rollout.max_new_tokens", config.rollout().max_new_tokens()));
  if (config.eval().samples() <= 0) return absl::OkStatus();
  return check("eval.max_new_tokens", config.eval().max_new_tokens());
}

Dispatcher::Options MakeDispatcherOptions(const v1::RunConfig& config) {
  Dispatcher::Options options;
  options.run_seed = config.run().seed();
  options.groups_per_step = config.learner().prompts_per_step();
  options.max_staleness = config.rollout().max_staleness();
  options.consume_in_order = config.rollout().consume() == v1::CONSUME_ORDINAL;
  options.lease_duration = absl::Seconds(config.rollout().lease_seconds());
  options.last_step = config.run().steps();
  const SamplingLimit limit = LimitOf(config.algorithm().filter());
  options.max_prompts_per_batch = limit.rounds * options.groups_per_step;
  options.limit_field = limit.field;
  if (config.algorithm().filter().prompts().has_min_valid()) AddMinValid(config, &options);
  if (!config.rollout().length_schedule().empty()) {
    options.max_new_tokens = [rollout = config.rollout()](int64_t step) {
      return LengthLimitAt(rollout, step);
    };
  }
  return options;
}

int32_t LengthLimitAt(const v1::RolloutSection& rollout, int64_t step) {
  int32_t limit = rollout.max_new_tokens();
  for (const v1::LengthLimit& entry : rollout.length_schedule()) {
    if (step + 1 >= entry.from_step()) limit = entry.max_new_tokens();
  }
  return limit;
}

GroupFilter MakeGroupFilter(const AlgorithmSpec& spec) {
  return [spec](const Group& group) -> std::optional<OrdinalEnd> {
    std::vector<double> accuracy;
    bool row_left = false;
    if (!HasBaseline(spec, group)) return OrdinalEnd::kUnscorable;
    for (const Row& row : group.rows) {
      if (row.role != RowRole::kTrain || !Scorable(row)) continue;
      accuracy.push_back(RowAccuracy(group, row, spec.reward_scale));
      const bool dropped =
          spec.row_filter.kind == RowFilter::kDropTruncated && row.finish == FinishReason::kLength;
      row_left = row_left || !dropped;
    }
    if (accuracy.empty()) return OrdinalEnd::kUnscorable;
    if (!row_left) return OrdinalEnd::kNoRows;
    if (!GateOpen(spec.gate, group)) return OrdinalEnd::kGate;
    if (spec.prompt_filter.kind == PromptFilter::kNone) return std::nullopt;
    return EndOf(JudgePrompt(spec.prompt_filter, accuracy));
  };
}

}  // namespace cohort

#include "common/run_rewards/run_rewards.h"

#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "common/config/config.h"
#include "common/reward_service/service_scorer.h"
#include "common/scoring/reward_model.h"
#include "common/tensor/device.h"

namespace cohort {
namespace {

CodeOptions CodeLimits(const v1::CodeRewardSection& section) {
  CodeOptions code;
  code.interpreter = {section.interpreter().begin(), section.interpreter().end()};
  code.seconds = absl::Seconds(section.seconds());
  code.memory_bytes = int64_t{section.memory_mib()} << 20;
  code.output_bytes = int64_t{section.output_kib()} << 10;
  code.readable = {section.readable().begin(), section.readable().end()};
  return code;
}

RewardComponent MakeComponent(const v1::RewardComponent& source, const v1::RunConfig& config) {
  const v1::RewardScale& scale = config.algorithm().reward().scale();
  RewardComponent component;
  component.name = source.name();
  component.weight = source.weight();
  component.label = source.label();
  component.options.probability = source.p();
  component.options.text = source.text();
  component.options.column = source.column();
  component.inverse = source.inverse();
  component.options.pattern = source.pattern();
  component.options.after_thinking = source.after_thinking();
  component.options.compat_string = source.compat() == "string";
  component.options.code = CodeLimits(config.reward().code());
  component.options.scale = RewardScale{
      .correct = scale.correct(), .wrong = scale.wrong(), .unparsable = scale.unparsable()};
  return component;
}

absl::StatusOr<std::shared_ptr<BatchScorer>> MakeService(
    const v1::RewardComponent& source, const v1::RunConfig& config,
    const std::shared_ptr<const Security>& security) {
  const v1::ServiceRewardSection& section = config.reward().service();
  ServiceScorerOptions options;
  options.address = source.address();
  options.security = security;
  if (source.command_size() > 0) {
    COHORT_ASSIGN_OR_RETURN(
        options.process, ServiceProcess::Start("algorithm.reward.sources: service.command",
                                               {source.command().begin(), source.command().end()},
                                               absl::Seconds(section.start_seconds())));
    options.address = options.process->address();
  } else if (security != nullptr) {
    COHORT_RETURN_IF_ERROR(security->CheckDial(source.address()));
  }
  options.run = config.run().name();
  options.parts = {source.components().begin(), source.components().end()};
  options.timeout = absl::Seconds(source.has_timeout_seconds() ? source.timeout_seconds()
                                                               : section.timeout_seconds());
  options.batch = section.batch();
  options.circuit.failures = section.failures();
  options.circuit.pause = absl::Seconds(section.pause_seconds());
  options.seed = static_cast<uint64_t>(getpid());  // workers do not come back all at once
  std::shared_ptr<BatchScorer> service = std::make_shared<ServiceScorer>(options);
  return service;
}

absl::StatusOr<std::shared_ptr<BatchScorer>> LoadRewardModel(const v1::RewardComponent& source,
                                                             const v1::RunConfig& config) {
  RewardModelOptions options;
  options.path = source.path();
  options.policy_path = config.model().path();
  COHORT_ASSIGN_OR_RETURN(options.model.device, ResolveDevice(RolloutDevice(config)));
  COHORT_ASSIGN_OR_RETURN(options.model.dtype,
                          ResolveDtype(config.model().dtype(), options.model.device));
  if (source.has_timeout_seconds()) options.timeout = absl::Seconds(source.timeout_seconds());
  COHORT_ASSIGN_OR_RETURN(std::shared_ptr<BatchScorer> model, RewardModel::Load(options));
  return model;
}

// The data sources' own rewards.
template <typename Sources>
void AddRequired(const Sources& sources, std::vector<std::string>* required) {
  for (const auto& source : sources) {
    if (source.has_reward()) required->push_back(source.reward());
  }
}

VoteTie MapTie(v1::VoteTie tie) {
  switch (tie) {
    case v1::TIE_FIRST:
      return VoteTie::kFirst;
    case v1::TIE_RANDOM:
      return VoteTie::kRandom;
    case v1::TIE_NONE:
      return VoteTie::kNone;
  }
  return VoteTie::kFirst;
}

EntropySpan MapSpan(v1::EntropySpan span) {
  switch (span) {
    case v1::SPAN_ALL:
      return EntropySpan::kAll;
    case v1::SPAN_LAST_CHUNK:
      return EntropySpan::kLastChunk;
    case v1::SPAN_ANSWER:
      return EntropySpan::kAnswer;
  }
  return EntropySpan::kAll;
}

GateSpec MapGate(const v1::Gate& gate) {
  if (gate.has_fewer_clusters_than_n()) return {.kind = Gate::kFewerClustersThanN};
  if (gate.has_entropy_band()) {
    return {Gate::kEntropyBand, gate.entropy_band().lo(), gate.entropy_band().hi()};
  }
  return {};
}

// nullopt: a source that looks at one row at a time.
std::optional<GroupSourceOptions> MakeGroupSource(const v1::RewardComponent& source,
                                                  const v1::RunConfig& config) {
  const std::optional<GroupSource> kind = GroupSourceOf(source.name());
  if (!kind) return std::nullopt;
  GroupSourceOptions options;
  options.source = *kind;
  options.n_votes = source.n_votes();
  options.merge_equivalent = source.merge() == v1::MERGE_EQUIVALENCE;
  options.tie = MapTie(source.tie());
  options.gate = MapGate(config.algorithm().filter().gate());
  options.span = MapSpan(source.span());
  return options;
}

}  // namespace

absl::StatusOr<RewardPlan> PlanRewards(const v1::RunConfig& config,
                                       const std::shared_ptr<const Security>& security) {
  RewardPlan plan;
  std::vector<ScoredComponent>& components = plan.components;
  for (const v1::RewardComponent& source : config.algorithm().reward().sources()) {
    if (source.name() == "implicit_prm") continue;  // the learner's own, algorithms.md section 9
    components.push_back({MakeComponent(source, config), MakeGroupSource(source, config)});
    if (source.name() == "service") {
      COHORT_ASSIGN_OR_RETURN(components.back().row.scorer, MakeService(source, config, security));
    }
    if (source.name() == "reward_model") {
      COHORT_ASSIGN_OR_RETURN(components.back().row.scorer, LoadRewardModel(source, config));
    }
  }
  plan.options.run_seed = config.run().seed();
  plan.options.cluster = MapGate(config.algorithm().filter().gate()).kind != Gate::kNone;
  RewardSetOptions& options = plan.options.rewards;
  options.timeout = absl::Seconds(config.reward().timeout_seconds());
  options.threads = config.reward().threads();
  options.code = CodeLimits(config.reward().code());
  AddRequired(config.data().sources(), &options.required);
  AddRequired(config.eval().sources(), &options.required);
  return plan;
}

absl::StatusOr<std::unique_ptr<GroupScorer>> MakeRewards(
    const v1::RunConfig& config, const std::shared_ptr<const Security>& security) {
  COHORT_ASSIGN_OR_RETURN(RewardPlan plan, PlanRewards(config, security));
  return GroupScorer::Create(std::move(plan.components), plan.options);
}

}  // namespace cohort

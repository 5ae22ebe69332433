#include "common/config/algorithm.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/reward_sources.h"
#include "common/base/status_macros.h"
#include "common/config/schema.h"
#include "common/rl/algorithm_names.h"

namespace cohort {
namespace {

// The value of `field` in the enumeration of common/rl that has the same name.
template <typename E>
absl::StatusOr<E> Same(const std::string& field,
                       const google::protobuf::EnumValueDescriptor& value) {
  return ParseName<E>(field, EnumValueText(value));
}

// The chosen part's name in the enumeration of common/rl.
template <typename E>
absl::StatusOr<E> Chosen(const std::string& field, const google::protobuf::Message& message) {
  const auto* choice = ChoiceOf(*message.GetDescriptor());
  const auto* part = message.GetReflection()->GetOneofFieldDescriptor(message, choice);
  if (part == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(field, ": not resolved; call ResolveConfig"));
  }
  return ParseName<E>(field, part->name());
}

// Outcome rewards that algorithms.md has no name for are one thing to common/rl.
bool StandsAsRuleMath(const std::string& name) {
  const RewardSourceRow* row = FindRewardSource(name);
  return row != nullptr && (row->kind == RewardKind::kTask || row->kind == RewardKind::kRule ||
                            row->kind == RewardKind::kService);
}

absl::Status MapReward(const v1::RewardChoice& in, AlgorithmSpec* out) {
  out->sources.clear();
  for (const v1::RewardComponent& component : in.sources()) {
    RewardSourceSpec source;
    const auto name = ParseName<RewardSource>("algorithm.reward.sources[].name", component.name());
    if (name.ok()) {
      source.name = *name;
    } else if (!StandsAsRuleMath(component.name())) {
      return name.status();
    }
    source.weight = component.weight();
    source.inverse = component.inverse();
    out->sources.push_back(source);
  }
  out->reward_scale = {in.scale().correct(), in.scale().wrong(), in.scale().unparsable()};
  return absl::OkStatus();
}

void MapL1(const v1::L1& in, ShapingSpec* out) {
  out->alpha = in.alpha();
  out->code_slope = in.code_slope();
}

void MapCosine(const v1::Cosine& in, ShapingSpec* out) {
  out->max_length = in.max_len();
  out->min_correct = in.min_correct();
  out->max_correct = in.max_correct();
  out->min_wrong = in.min_wrong();
  out->max_wrong = in.max_wrong();
}

TruncatedAction MapTruncated(v1::TruncatedMode in) {
  switch (in) {
    case v1::TRUNCATED_ZERO:
      return TruncatedAction::kZero;
    case v1::TRUNCATED_SCALE:
      return TruncatedAction::kScale;
    case v1::TRUNCATED_SET:
      return TruncatedAction::kSet;
    case v1::TRUNCATED_MASK:
      return TruncatedAction::kMask;
  }
  return TruncatedAction::kZero;
}

absl::StatusOr<ShapingSpec> MapShaping(const v1::Shaping& in, int64_t max_new_tokens) {
  ShapingSpec out;
  COHORT_ASSIGN_OR_RETURN(out.kind, Chosen<Shaping>("algorithm.reward.shaping[]", in));
  switch (in.kind_case()) {
    case v1::Shaping::kOverlongSoft:
      out.max_length = in.overlong_soft().max_len();
      out.cache_length = in.overlong_soft().cache();
      break;
    case v1::Shaping::kTruncated:
      out.truncated = MapTruncated(in.truncated().mode());
      out.value = in.truncated().value();
      break;
    case v1::Shaping::kKimiLength:
      out.weight = in.kimi_length().weight();
      out.warmup_steps = in.kimi_length().warmup_steps();
      break;
    case v1::Shaping::kL1Exact:
      MapL1(in.l1_exact(), &out);
      break;
    case v1::Shaping::kL1Max:
      MapL1(in.l1_max(), &out);
      break;
    case v1::Shaping::kDast:
      out.max_length = max_new_tokens;
      break;
    case v1::Shaping::kCosine:
      MapCosine(in.cosine(), &out);
      break;
    case v1::Shaping::kRepetition:
      out.ngram = in.repetition().n();
      out.max_penalty = in.repetition().max_penalty();
      break;
    case v1::Shaping::kFormatFloor:
      out.value = in.format_floor().value();
      break;
    case v1::Shaping::kClip:
      out.low = in.clip().low();
      out.high = in.clip().high();
      break;
    case v1::Shaping::kSerialDecay:
    case v1::Shaping::KIND_NOT_SET:
      break;
  }
  return out;
}

absl::Status MapPromptFilter(const v1::PromptFilter& in, PromptFilterSpec* out) {
  COHORT_ASSIGN_OR_RETURN(out->kind, Chosen<PromptFilter>("algorithm.filter.prompts", in));
  if (in.has_dynamic()) {
    out->low = in.dynamic().lo();
    out->high = in.dynamic().hi();
    out->strict = in.dynamic().strict();
    out->max_rounds = in.dynamic().max_rounds();
  } else if (in.has_band()) {
    out->low = in.band().lo();
    out->high = in.band().hi();
    out->max_rounds = in.band().max_rounds();
  } else if (in.has_min_valid()) {
    out->min_fraction = in.min_valid().frac();
    out->max_tries = in.min_valid().max_tries();
  }
  return absl::OkStatus();
}

absl::Status MapRowFilter(const v1::RowFilter& in, RowFilterSpec* out) {
  COHORT_ASSIGN_OR_RETURN(out->kind, Chosen<RowFilter>("algorithm.filter.rows", in));
  if (!in.has_topk()) return absl::OkStatus();
  out->k = in.topk().k();
  out->metric = in.topk().metric() == v1::TOPK_METRIC_SHORTEST ? RowMetric::kShortest
                                                               : RowMetric::kTokenEfficiency;
  out->denominator = in.topk().denominator() == v1::TOPK_DENOMINATOR_ALL ? RowDenominator::kAll
                                                                         : RowDenominator::kKept;
  return absl::OkStatus();
}

absl::Status MapFilters(const v1::AlgorithmSection& in, AlgorithmSpec* out) {
  COHORT_RETURN_IF_ERROR(MapPromptFilter(in.filter().prompts(), &out->prompt_filter));
  COHORT_RETURN_IF_ERROR(MapRowFilter(in.filter().rows(), &out->row_filter));
  COHORT_ASSIGN_OR_RETURN(out->gate.kind,
                          Chosen<Gate>("algorithm.filter.gate", in.filter().gate()));
  out->gate.entropy_low = in.filter().gate().entropy_band().lo();
  out->gate.entropy_high = in.filter().gate().entropy_band().hi();
  const v1::DataSelect& select = in.data().select();
  COHORT_ASSIGN_OR_RETURN(out->select.kind, Chosen<DataSelect>("algorithm.data.select", select));
  out->select.k = select.variance_topk().k();
  out->select.threshold = select.lim().theta();
  return absl::OkStatus();
}

absl::Status MapAdvantage(const v1::Advantage& in, AdvantageSpec* out) {
  COHORT_ASSIGN_OR_RETURN(
      out->baseline,
      Same<AdvantageBaseline>("algorithm.adv.baseline",
                              *v1::Baseline_descriptor()->FindValueByNumber(in.baseline())));
  COHORT_ASSIGN_OR_RETURN(out->scale, Chosen<AdvantageScale>("algorithm.adv.scale", in.scale()));
  COHORT_ASSIGN_OR_RETURN(out->level, Chosen<AdvantageLevel>("algorithm.adv.level", in.level()));
  out->eps = in.eps();
  out->ddof = in.ddof();
  out->n1 = in.n1() == v1::N1_RAW ? SingleRowGroup::kRaw : SingleRowGroup::kZero;
  out->gamma = in.level().returns().gamma();
  out->lam = in.level().returns().lam();
  out->process_coef = in.process_coef();
  out->outcome_coef = in.outcome_coef();
  if (in.scale().token_whiten().variance() == v1::WHITEN_BESSEL) {
    out->whiten = WhitenVariance::kBessel;
    out->whiten_floor = VarianceFloor::kAdd;
  }
  return absl::OkStatus();
}

ClipSpec MapClip(const v1::Clip& in) {
  ClipSpec out{in.low(), in.high(), {}, {}};
  if (in.has_dual_c()) out.dual_c = in.dual_c();
  if (in.has_delta()) out.delta = in.delta();
  return out;
}

DetachClipSpec MapDetachClip(const v1::DetachClip& in) {
  DetachClipSpec out{in.min(), in.max(), {}};
  if (in.has_mask()) out.mask = ClipSpec{in.mask().low(), in.mask().high(), {}, {}};
  return out;
}

TrustSpec MapTrust(const v1::Trust& in) {
  TrustSpec out;
  switch (in.kind_case()) {
    case v1::Trust::kClip:
      out.clip = MapClip(in.clip());
      break;
    case v1::Trust::kDetachClip:
      out.detach_clip = MapDetachClip(in.detach_clip());
      break;
    case v1::Trust::kSoftGate:
      out.soft_gate = SoftGateSpec{in.soft_gate().tau_pos(), in.soft_gate().tau_neg()};
      break;
    case v1::Trust::kLogClip:
      out.log_clip = LogClipSpec{in.log_clip().eps(), in.log_clip().eps()};
      break;
    case v1::Trust::kClipCov:
      out.clip_cov = ClipCovSpec{in.clip_cov().frac(), in.clip_cov().lb(), in.clip_cov().ub()};
      out.clip = ClipSpec{in.clip_cov().low(), in.clip_cov().high(), {}, {}};
      break;
    case v1::Trust::kKlCov:
      out.kl_cov = KlCovSpec{in.kl_cov().frac(), in.kl_cov().coef()};
      break;
    case v1::Trust::kQuadratic:
      out.quadratic = QuadraticSpec{in.quadratic().beta()};
      break;
    case v1::Trust::kNone:
    case v1::Trust::KIND_NOT_SET:
      break;
  }
  return out;
}

KlEstimator MapEstimator(v1::KlEstimator in) {
  switch (in) {
    case v1::KL_EST_K1:
      return KlEstimator::kK1;
    case v1::KL_EST_K2:
      return KlEstimator::kK2;
    case v1::KL_EST_K3:
      return KlEstimator::kK3;
    case v1::KL_EST_ABS:
      return KlEstimator::kAbs;
    case v1::KL_EST_K3_PLUS:
      return KlEstimator::kK3K2grad;
  }
  return KlEstimator::kK3;
}

KlSpec MapKl(const v1::Kl& in) {
  KlSpec out;
  if (in.has_loss()) {
    out.placement = KlPlacement::kLoss;
    out.estimator = MapEstimator(in.loss().est());
    out.coef = in.loss().coef();
  } else if (in.has_reward()) {
    out.placement = KlPlacement::kReward;
    out.estimator = MapEstimator(in.reward().est());
    out.coef = in.reward().coef();
    if (in.reward().has_controller()) {
      out.controller = KlControllerKind::kAdaptive;
      out.target = in.reward().controller().target();
      out.horizon = static_cast<double>(in.reward().controller().horizon());
    }
  }
  return out;
}

absl::Status MapAggregation(const v1::Aggregation& in, AggregationSpec* out) {
  COHORT_ASSIGN_OR_RETURN(
      out->mode,
      Same<Aggregation>("algorithm.agg.mode",
                        *v1::AggregationMode_descriptor()->FindValueByNumber(in.mode())));
  out->constant = in.constant();
  out->empty_rows = in.empty_rows() == v1::EMPTY_ROWS_AUTO      ? EmptyRows::kAuto
                    : in.empty_rows() == v1::EMPTY_ROWS_EXCLUDE ? EmptyRows::kExclude
                                                                : EmptyRows::kCount;
  return absl::OkStatus();
}

absl::Status MapOffPolicy(const v1::OffPolicy& in, OffPolicySpec* out) {
  COHORT_ASSIGN_OR_RETURN(out->kind, Chosen<OffPolicy>("algorithm.offpolicy", in));
  if (in.has_tis()) {
    out->level =
        in.tis().level() == v1::LEVEL_TOKEN ? OffPolicyLevel::kToken : OffPolicyLevel::kSequence;
    out->cap = in.tis().cap();
  } else if (in.has_icepop()) {
    out->low = in.icepop().lo();
    out->high = in.icepop().hi();
  } else if (in.has_seq_mask()) {
    COHORT_ASSIGN_OR_RETURN(out->stat, ParseName<OffPolicyStat>("algorithm.offpolicy.seq_mask.stat",
                                                                in.seq_mask().stat()));
    out->low = in.seq_mask().lo();
    out->high = in.seq_mask().hi();
  } else if (in.has_reject()) {
    COHORT_ASSIGN_OR_RETURN(
        out->stat, ParseName<OffPolicyStat>("algorithm.offpolicy.reject.stat", in.reject().stat()));
    if (in.reject().has_lo()) out->low = in.reject().lo();
    if (in.reject().has_hi()) out->high = in.reject().hi();
  }
  out->batch_normalize = in.batch_normalize();
  if (in.has_neg_seq_mask()) out->neg_seq_mask_delta = in.neg_seq_mask().delta();
  return absl::OkStatus();
}

absl::Status MapObjective(const v1::Objective& in, ObjectiveSpec* out) {
  COHORT_ASSIGN_OR_RETURN(out->kind, Chosen<Objective>("algorithm.objective", in));
  if (!in.has_entropy_direct()) return absl::OkStatus();
  const v1::EntropyDirect& direct = in.entropy_direct();
  out->temperature = direct.temperature();
  out->align =
      direct.align() == v1::ALIGN_PREDICT ? EntropyAlign::kPredict : EntropyAlign::kReference;
  out->reduction = direct.reduction() == v1::REDUCTION_TOKEN_MEAN ? EntropyReduction::kTokenMean
                                                                  : EntropyReduction::kSeqSum;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<AlgorithmSpec> ToAlgorithmSpec(const v1::RunConfig& config) {
  const v1::AlgorithmSection& in = config.algorithm();
  AlgorithmSpec out;
  COHORT_RETURN_IF_ERROR(MapReward(in.reward(), &out));
  for (const v1::Shaping& shaping : in.reward().shaping()) {
    COHORT_ASSIGN_OR_RETURN(ShapingSpec spec,
                            MapShaping(shaping, config.rollout().max_new_tokens()));
    out.shaping.push_back(spec);
  }
  COHORT_RETURN_IF_ERROR(MapFilters(in, &out));
  COHORT_RETURN_IF_ERROR(MapAdvantage(in.adv(), &out.advantage));
  for (const RewardSourceSpec& source : out.sources) {
    if (source.name == RewardSource::kImplicitPrm) out.advantage.process_coef *= source.weight;
  }
  COHORT_ASSIGN_OR_RETURN(
      out.ratio,
      Same<Ratio>("algorithm.ratio", *v1::RatioKind_descriptor()->FindValueByNumber(in.ratio())));
  out.trust = MapTrust(in.trust());
  out.kl = MapKl(in.kl());
  COHORT_RETURN_IF_ERROR(MapAggregation(in.agg(), &out.agg));
  COHORT_RETURN_IF_ERROR(MapOffPolicy(in.offpolicy(), &out.offpolicy));
  COHORT_RETURN_IF_ERROR(MapObjective(in.objective(), &out.objective));
  out.entropy_coef = in.entropy_coef();
  out.step_on_empty = in.step_on_empty();
  out.train_prefix = config.rollout().has_serial() && config.rollout().serial().train_prefix();
  return out;
}

std::optional<EmInfOptions> LogitSharpening(const v1::RunConfig& config) {
  const v1::Objective& objective = config.algorithm().objective();
  if (!objective.has_inference_entropy()) return std::nullopt;
  const v1::InferenceEntropy& section = objective.inference_entropy();
  return EmInfOptions{section.lr(), section.steps(), section.kl_weight(), section.threshold()};
}

AlgorithmContext ToAlgorithmContext(const v1::RunConfig& config) {
  AlgorithmContext context;
  context.group_size = config.rollout().group_size();
  context.optimizer_steps_per_batch = UpdatesPerBatch(config);
  context.spurious_flag = config.run().spurious();
  context.has_value_head = config.algorithm().adv().baseline() == v1::BASELINE_CRITIC_GAE;
  context.has_process_model = config.algorithm().adv().baseline() == v1::BASELINE_PRIME_LOO;
  context.has_greedy_rollout = true;  // the learner plans the extra row where it is needed
  context.has_serial_groups = config.rollout().has_serial();
  context.sealed_labels = config.data().sealed_labels();
  context.temperature = config.rollout().temperature();
  return context;
}

}  // namespace cohort

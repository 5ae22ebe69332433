#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/reward_sources.h"
#include "common/base/status_macros.h"
#include "common/rl/algorithm_names.h"
#include "common/rl/algorithm_spec.h"

namespace cohort {
namespace {

template <typename... Args>
absl::Status Invalid(const Args&... args) {
  return absl::InvalidArgumentError(absl::StrCat(args...));
}

bool NeedsGroup(AdvantageBaseline baseline) {
  return baseline == AdvantageBaseline::kGroupMean || baseline == AdvantageBaseline::kLeaveOneOut ||
         baseline == AdvantageBaseline::kSecondBest || baseline == AdvantageBaseline::kPrimeLoo;
}

bool ComparesRows(AdvantageBaseline baseline) {
  return NeedsGroup(baseline) || baseline == AdvantageBaseline::kLengthWeighted;
}

absl::Status ValidateAdvantage(const AlgorithmSpec& spec, const AlgorithmContext& context,
                               std::vector<std::string>* warnings) {
  const AdvantageSpec& adv = spec.advantage;
  if (NeedsGroup(adv.baseline) && context.group_size < 2) {
    return Invalid("algorithm.adv.baseline: ", NameOf(adv.baseline),
                   " compares the rows of a group, but rollout.group_size is ", context.group_size,
                   "; set rollout.group_size to at least 2 or adv.baseline to none");
  }
  if (adv.baseline == AdvantageBaseline::kCriticGae && !context.has_value_head) {
    return Invalid("algorithm.adv.baseline: critic_gae needs a value head, and the model has none");
  }
  if (adv.baseline == AdvantageBaseline::kGreedy && !context.has_greedy_rollout) {
    return Invalid(
        "algorithm.adv.baseline: greedy needs one extra greedy rollout per prompt, which is off");
  }
  const bool token_level =
      adv.baseline == AdvantageBaseline::kCriticGae || adv.baseline == AdvantageBaseline::kPrimeLoo;
  if (token_level && adv.level != AdvantageLevel::kReturns) {
    return Invalid("algorithm.adv.level: ", NameOf(adv.baseline), " (adv.baseline) needs returns");
  }
  if (adv.scale == AdvantageScale::kGroupStd && !ComparesRows(adv.baseline)) {
    return Invalid(
        "algorithm.adv.scale: group_std is 0 where all rows of a group agree, and with "
        "adv.baseline ",
        NameOf(adv.baseline),
        " their advantage is not; use batch_reward_std, token_whiten or none");
  }
  if (adv.eps < 0 || (adv.ddof != 0 && adv.ddof != 1)) {
    return Invalid("algorithm.adv: eps must be >= 0 and ddof 0 or 1; found eps ", adv.eps,
                   ", ddof ", adv.ddof);
  }
  if (adv.gamma < 0 || adv.gamma > 1 || adv.lam < 0 || adv.lam > 1) {
    return Invalid("algorithm.adv: gamma and lam must lie in [0, 1]; found gamma ", adv.gamma,
                   ", lam ", adv.lam);
  }
  if (warnings != nullptr && adv.baseline == AdvantageBaseline::kLeaveOneOut &&
      adv.scale == AdvantageScale::kGroupStd) {
    warnings->push_back(
        "algorithm.adv: leave_one_out (adv.baseline) with group_std (adv.scale) is GRPO up to the "
        "factor n/(n-1)");
  }
  return absl::OkStatus();
}

absl::Status ValidateClip(const ClipSpec& clip) {
  if (clip.low < 0 || clip.high < 0) {
    return Invalid("algorithm.trust.clip: low and high must be >= 0; found ", clip.low, " and ",
                   clip.high);
  }
  if (clip.dual_c && *clip.dual_c <= 1) {
    return Invalid("algorithm.trust.clip.dual_c: must be > 1; found ", *clip.dual_c);
  }
  if (clip.delta && *clip.delta <= 1 + clip.high) {
    return Invalid("algorithm.trust.clip.delta: must be > 1 + high (", 1 + clip.high, "); found ",
                   *clip.delta);
  }
  return absl::OkStatus();
}

absl::Status ValidateDetachClip(const DetachClipSpec& clip) {
  if (!(clip.min <= 1 && 1 <= clip.max)) {
    return Invalid("algorithm.trust.detach_clip: needs min <= 1 <= max; found min ", clip.min,
                   ", max ", clip.max);
  }
  if (clip.mask && !(clip.mask->low >= 0 && clip.mask->high >= 0)) {
    return Invalid("algorithm.trust.detach_clip.mask: low and high must be >= 0; found ",
                   clip.mask->low, " and ", clip.mask->high);
  }
  return absl::OkStatus();
}

absl::Status ValidateFraction(absl::string_view field, double value) {
  if (value > 0 && value <= 1) return absl::OkStatus();
  return Invalid(field, ": must lie in (0, 1]; found ", value);
}

absl::Status ValidateTrustNumbers(const TrustSpec& trust) {
  if (trust.clip) COHORT_RETURN_IF_ERROR(ValidateClip(*trust.clip));
  if (trust.detach_clip) COHORT_RETURN_IF_ERROR(ValidateDetachClip(*trust.detach_clip));
  if (trust.soft_gate && !(trust.soft_gate->tau_pos > 0 && trust.soft_gate->tau_neg > 0)) {
    return Invalid("algorithm.trust.soft_gate: tau_pos and tau_neg must be > 0");
  }
  if (trust.clip_cov) {
    COHORT_RETURN_IF_ERROR(ValidateFraction("algorithm.trust.clip_cov.frac", trust.clip_cov->frac));
  }
  if (trust.kl_cov) {
    COHORT_RETURN_IF_ERROR(ValidateFraction("algorithm.trust.kl_cov.frac", trust.kl_cov->frac));
  }
  return absl::OkStatus();
}

// How many members beside `clip` are set.
int OtherTrusts(const TrustSpec& trust) {
  return int{trust.detach_clip.has_value()} + int{trust.soft_gate.has_value()} +
         int{trust.log_clip.has_value()} + int{trust.clip_cov.has_value()} +
         int{trust.kl_cov.has_value()} + int{trust.quadratic.has_value()};
}

absl::Status ValidateTrust(const AlgorithmSpec& spec) {
  const TrustSpec& trust = spec.trust;
  if (OtherTrusts(trust) > 1) {
    return Invalid("algorithm.trust: expected one of ",
                   "detach_clip, soft_gate, log_clip, clip_cov, kl_cov, quadratic; found several");
  }
  if (trust.clip && OtherTrusts(trust) > 0 && !trust.clip_cov) {
    return Invalid(
        "algorithm.trust: soft_gate, detach_clip, log_clip, kl_cov and quadratic exclude clip");
  }
  if ((spec.ratio == Ratio::kGeoClipped) != trust.log_clip.has_value()) {
    return Invalid("algorithm: ratio geo_clipped and trust.log_clip need each other; found ratio ",
                   NameOf(spec.ratio));
  }
  return ValidateTrustNumbers(trust);
}

// Trust regions that decide token by token: the derivative of a whole response's ratio is not
// theirs to share out. detach_clip only weighs tokens, so a mean ratio may be its weight.
absl::Status ValidateTokenTrust(const AlgorithmSpec& spec) {
  const bool sequence = spec.ratio == Ratio::kSequenceGeo || spec.ratio == Ratio::kSequenceProd;
  const TrustSpec& trust = spec.trust;
  const bool by_token = trust.clip_cov || trust.kl_cov || trust.quadratic ||
                        (trust.detach_clip && spec.ratio == Ratio::kSequenceProd);
  if (!sequence || !by_token) return absl::OkStatus();
  return Invalid(
      "algorithm.ratio: trust clip_cov, kl_cov and quadratic (and detach_clip beside "
      "sequence_prod) "
      "decide token by token and need ratio token; found ",
      NameOf(spec.ratio));
}

absl::Status ValidateRatio(const AlgorithmSpec& spec, const AlgorithmContext& context) {
  if (spec.ratio == Ratio::kSequenceGeo) {
    if (spec.agg.mode != Aggregation::kSeqMeanTokenMean) {
      return Invalid("algorithm.agg.mode: ratio sequence_geo needs seq_mean_token_mean; found ",
                     NameOf(spec.agg.mode));
    }
    if (spec.advantage.level != AdvantageLevel::kSequence) {
      return Invalid(
          "algorithm.adv.level: ratio sequence_geo needs sequence-level advantages; found returns");
    }
  }
  COHORT_RETURN_IF_ERROR(ValidateTokenTrust(spec));
  if (spec.ratio != Ratio::kNone) return absl::OkStatus();
  if (spec.trust.clip || OtherTrusts(spec.trust) > 0) {
    return Invalid("algorithm.trust: ratio none needs trust none");
  }
  if (context.optimizer_steps_per_batch != 1) {
    return Invalid(
        "algorithm.ratio: none needs exactly one optimizer step per batch; learner.mini_batches x "
        "learner.epochs is ",
        context.optimizer_steps_per_batch);
  }
  return absl::OkStatus();
}

absl::Status ValidateKl(const AlgorithmSpec& spec) {
  const KlSpec& kl = spec.kl;
  if (kl.placement != KlPlacement::kNone && kl.coef < 0) {
    return Invalid("algorithm.kl.coef: must be >= 0; found ", kl.coef);
  }
  const bool rloo = spec.advantage.baseline == AdvantageBaseline::kLeaveOneOut;
  if (kl.placement == KlPlacement::kReward && spec.advantage.level != AdvantageLevel::kReturns &&
      !rloo) {
    return Invalid(
        "algorithm.kl: reward needs adv.level returns, or adv.baseline leave_one_out (its sequence "
        "form); found adv.level sequence with adv.baseline ",
        NameOf(spec.advantage.baseline));
  }
  if (kl.controller == KlControllerKind::kAdaptive &&
      (kl.placement != KlPlacement::kReward || kl.target <= 0 || kl.horizon <= 0)) {
    return Invalid(
        "algorithm.kl.controller: adaptive needs kl.reward, target > 0 and horizon > 0; found ",
        NameOf(kl.placement), ", target ", kl.target, ", horizon ", kl.horizon);
  }
  return absl::OkStatus();
}

absl::Status ValidateFilters(const AlgorithmSpec& spec, const AlgorithmContext& context) {
  const PromptFilterSpec& prompts = spec.prompt_filter;
  if (prompts.kind != PromptFilter::kNone && prompts.score == FilterScore::kShapedReward &&
      !spec.shaping.empty()) {
    return Invalid(
        "algorithm.filter.prompts: filters on the shaped reward while reward.shaping is set; "
        "filter on accuracy");
  }
  if (prompts.kind == PromptFilter::kMinValid &&
      !(prompts.min_fraction > 0 && prompts.min_fraction <= 1)) {
    return Invalid("algorithm.filter.prompts.min_valid.frac: must lie in (0, 1]; found ",
                   prompts.min_fraction);
  }
  if (spec.gate.kind == Gate::kEntropyBand && !(spec.gate.entropy_low < spec.gate.entropy_high)) {
    return Invalid("algorithm.filter.gate.entropy_band: needs lo < hi; found ",
                   spec.gate.entropy_low, " and ", spec.gate.entropy_high);
  }
  if (prompts.low > prompts.high) {
    return Invalid("algorithm.filter.prompts: low ", prompts.low, " is above high ", prompts.high);
  }
  const RowFilterSpec& rows = spec.row_filter;
  if (rows.kind == RowFilter::kTopk && !(rows.k >= 2 && rows.k < context.group_size)) {
    return Invalid("algorithm.filter.rows.topk.k: must be >= 2 and below rollout.group_size (",
                   context.group_size, "); found ", rows.k);
  }
  if (rows.kind == RowFilter::kTopk && rows.denominator == RowDenominator::kAll &&
      spec.advantage.baseline == AdvantageBaseline::kCriticGae) {
    return Invalid(
        "algorithm.filter.rows.topk.denominator: all keeps dropped rows in the loss, where "
        "algorithm.adv.baseline critic_gae would learn returns of 0 from them; set kept");
  }
  return absl::OkStatus();
}

RewardKind KindOf(RewardSource source) { return FindRewardSource(NameOf(source))->kind; }

bool IsSpurious(const RewardSourceSpec& source) {
  const RewardKind kind = KindOf(source.name);
  return source.inverse || kind == RewardKind::kChance || kind == RewardKind::kLabel ||
         kind == RewardKind::kVote;
}

bool IsRule(RewardSource source) { return KindOf(source) == RewardKind::kRule; }

// Neither right nor wrong, but some number.
bool IsGraded(RewardSource source) {
  const RewardKind kind = KindOf(source);
  return kind == RewardKind::kGraded || kind == RewardKind::kModel || kind == RewardKind::kProcess;
}

bool NeedsCorrectness(Shaping kind) {
  return kind == Shaping::kKimiLength || kind == Shaping::kL1Exact || kind == Shaping::kL1Max ||
         kind == Shaping::kDast || kind == Shaping::kCosine || kind == Shaping::kSerialDecay;
}

// The source that says whether a row is right, for filters and shaping: the first rule, else the
// first of all.
const RewardSourceSpec* AccuracySource(const AlgorithmSpec& spec) {
  for (const RewardSourceSpec& source : spec.sources) {
    if (IsRule(source.name)) return &source;
  }
  return spec.sources.empty() ? nullptr : &spec.sources.front();
}

absl::Status ValidateCorrectness(const AlgorithmSpec& spec) {
  const RewardSourceSpec* source = AccuracySource(spec);
  if (source == nullptr || !IsGraded(source->name)) return absl::OkStatus();
  if (spec.prompt_filter.kind == PromptFilter::kDynamic ||
      spec.prompt_filter.kind == PromptFilter::kBand) {
    return Invalid("algorithm.filter.prompts: ", NameOf(spec.prompt_filter.kind),
                   " looks at how many rows are right, which algorithm.reward.sources ",
                   NameOf(source->name), " does not say; set filter.prompts: none");
  }
  for (const ShapingSpec& shaping : spec.shaping) {
    if (!NeedsCorrectness(shaping.kind)) continue;
    return Invalid("algorithm.reward.shaping: ", NameOf(shaping.kind),
                   " asks whether a row is right, which algorithm.reward.sources ",
                   NameOf(source->name), " does not say");
  }
  return absl::OkStatus();
}

absl::Status ValidateShaping(const AlgorithmSpec& spec, const AlgorithmContext& context,
                             std::vector<std::string>* warnings) {
  const auto count = [&](Shaping kind) {
    return std::count_if(spec.shaping.begin(), spec.shaping.end(),
                         [&](const ShapingSpec& shaping) { return shaping.kind == kind; });
  };
  if (count(Shaping::kL1Exact) + count(Shaping::kL1Max) > 1) {
    return Invalid(
        "algorithm.reward.shaping: l1_exact and l1_max each put a length into the prompt; keep "
        "one of them");
  }
  for (const ShapingSpec& shaping : spec.shaping) {
    if (shaping.kind != Shaping::kL1Exact || !shaping.code_slope) continue;
    return Invalid(
        "algorithm.reward.shaping: code_slope halves the slope of l1_max; l1_exact has none to "
        "halve");
  }
  const bool decays = count(Shaping::kSerialDecay) > 0;
  if (decays && !context.has_serial_groups) {
    return Invalid(
        "algorithm.reward.shaping: serial_decay ranks the exits of a serial group; set "
        "rollout.serial");
  }
  if (context.has_serial_groups && context.group_size < 2) {
    return Invalid(
        "rollout.serial: needs rollout.group_size >= 2, a whole response and an exit; "
        "found ",
        context.group_size);
  }
  if (context.has_serial_groups && !decays && warnings != nullptr) {
    warnings->push_back(
        "rollout.serial: without algorithm.reward.shaping serial_decay an early exit earns no more "
        "than a late one");
  }
  return absl::OkStatus();
}

absl::Status ValidateSealed(const RewardSourceSpec& source) {
  if (!IsRule(source.name) && source.name != RewardSource::kIncorrectLabel) {
    return absl::OkStatus();
  }
  return Invalid("data.sealed_labels: algorithm.reward.sources ", NameOf(source.name),
                 " (and `task`) needs the answers that are sealed; use a source without labels, "
                 "such as majority_online or semantic_frequency, or set data.sealed_labels: false");
}

absl::Status ValidateSources(const AlgorithmSpec& spec, const AlgorithmContext& context) {
  for (const RewardSourceSpec& source : spec.sources) {
    if (IsSpurious(source) && !context.spurious_flag) {
      return Invalid("algorithm.reward.sources: ", source.inverse ? "the inverse of " : "",
                     NameOf(source.name),
                     " does not see the truth; set run.spurious: true so that the report says so");
    }
    if (context.sealed_labels) COHORT_RETURN_IF_ERROR(ValidateSealed(source));
    const bool entropy =
        source.name == RewardSource::kNegEntropyMean || source.name == RewardSource::kNegEntropySum;
    if (entropy && context.temperature != 1) {
      return Invalid("algorithm.reward.sources: ", NameOf(source.name),
                     " is the entropy at temperature 1; set rollout.temperature to 1, found ",
                     context.temperature);
    }
    if (source.name == RewardSource::kImplicitPrm && !context.has_process_model) {
      return Invalid(
          "algorithm.reward.sources: implicit_prm needs a process reward model and its optimizer");
    }
  }
  return absl::OkStatus();
}

bool Has(const AlgorithmSpec& spec, RewardSource name) {
  for (const RewardSourceSpec& source : spec.sources) {
    if (source.name == name) return true;
  }
  return false;
}

// PRIME's rewards are of two kinds: outcomes and the process model's.
absl::Status ValidateProcess(const AlgorithmSpec& spec) {
  const bool prime = spec.advantage.baseline == AdvantageBaseline::kPrimeLoo;
  const bool source = Has(spec, RewardSource::kImplicitPrm);
  if (prime == source && (!prime || spec.sources.size() > 1)) return absl::OkStatus();
  return Invalid(
      "algorithm: adv.baseline prime_loo, reward.sources implicit_prm and an outcome reward beside "
      "it need each other; found ",
      NameOf(spec.advantage.baseline), " with ", source ? "implicit_prm" : "no implicit_prm",
      " among ", spec.sources.size(), " reward.sources");
}

absl::Status ValidateEntropyDirect(const AlgorithmSpec& spec) {
  const auto refuse = [](absl::string_view field, absl::string_view why) {
    return Invalid("algorithm.", field, ": objective entropy_direct ", why);
  };
  if (!(spec.objective.temperature > 0)) {
    return Invalid("algorithm.objective.entropy_direct.temperature: must be > 0; found ",
                   spec.objective.temperature);
  }
  if (spec.entropy_coef != 0) return refuse("entropy_coef", "is the entropy itself; set it to 0");
  if (spec.kl.placement == KlPlacement::kReward) {
    return refuse("kl", "has no rewards to take a penalty from; use kl.loss or none");
  }
  if (spec.kl.placement == KlPlacement::kLoss && spec.objective.align == EntropyAlign::kReference) {
    return refuse("kl", "with align reference looks at other positions than kl.loss; use predict");
  }
  if (spec.offpolicy.kind != OffPolicy::kNone && spec.offpolicy.kind != OffPolicy::kBypass) {
    return refuse("offpolicy", "has no policy ratio to correct; use none");
  }
  if (spec.offpolicy.neg_seq_mask_delta) {
    return refuse("offpolicy.neg_seq_mask", "has no advantages; leave it out");
  }
  if (spec.trust.clip_cov || spec.trust.kl_cov) {
    return refuse("trust", "has no advantages; use none");
  }
  return absl::OkStatus();
}

absl::Status ValidateObjective(const AlgorithmSpec& spec) {
  const Objective kind = spec.objective.kind;
  const AdvantageBaseline baseline = spec.advantage.baseline;
  const bool beside =
      baseline == AdvantageBaseline::kCriticGae || baseline == AdvantageBaseline::kPrimeLoo;
  if (kind != Objective::kPolicyGradient && beside) {
    return Invalid("algorithm.adv.baseline: objective ", NameOf(kind), " has no advantages, so ",
                   NameOf(baseline), " would train a model for nothing; use none");
  }
  if (kind == Objective::kEntropyDirect) COHORT_RETURN_IF_ERROR(ValidateEntropyDirect(spec));
  const bool filters =
      spec.prompt_filter.kind != PromptFilter::kNone || spec.row_filter.kind == RowFilter::kTopk;
  if (spec.sources.empty() && (kind != Objective::kEntropyDirect || filters)) {
    return Invalid("algorithm.reward.sources: expected at least one, found none; only objective ",
                   "entropy_direct without filters by reward goes without");
  }
  return absl::OkStatus();
}

// Format rewards alone are one of the spurious rewards, too (section 7.8).
void WarnOfNoTruth(const AlgorithmSpec& spec, const AlgorithmContext& context,
                   std::vector<std::string>* warnings) {
  if (warnings == nullptr || context.spurious_flag || spec.sources.empty()) return;
  const bool format_only = std::all_of(
      spec.sources.begin(), spec.sources.end(),
      [](const RewardSourceSpec& source) { return KindOf(source.name) == RewardKind::kForm; });
  if (format_only) {
    warnings->push_back(
        "algorithm.reward.sources: nothing but the form of a response is rewarded; set "
        "run.spurious: true so that the report says so");
  }
}

absl::Status ValidateAggregation(const AggregationSpec& agg) {
  if (agg.mode == Aggregation::kSeqMeanTokenSumConst && !(agg.constant > 0)) {
    return Invalid("algorithm.agg.constant: seq_mean_token_sum_const needs C > 0; found ",
                   agg.constant);
  }
  return absl::OkStatus();
}

absl::Status ValidateOffPolicy(const OffPolicySpec& off) {
  if (off.kind == OffPolicy::kTis && !(off.cap > 0)) {
    return Invalid("algorithm.offpolicy.tis.cap: must be > 0; found ", off.cap);
  }
  if (off.low && off.high && *off.low > *off.high) {
    return Invalid("algorithm.offpolicy: lo ", *off.low, " is above hi ", *off.high);
  }
  const bool masks = off.kind == OffPolicy::kIcepop || off.kind == OffPolicy::kSeqMask ||
                     off.kind == OffPolicy::kReject;
  if (masks && !off.low && !off.high) {
    return Invalid("algorithm.offpolicy.", NameOf(off.kind), ": needs lo or hi");
  }
  if (off.kind == OffPolicy::kSeqMask && off.stat != OffPolicyStat::kSeqSumK1 &&
      off.stat != OffPolicyStat::kSeqMeanK1) {
    return Invalid("algorithm.offpolicy.seq_mask.stat: expected seq_sum_k1 or seq_mean_k1; found ",
                   NameOf(off.stat));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateAlgorithm(const AlgorithmSpec& spec, const AlgorithmContext& context,
                               std::vector<std::string>* warnings) {
  COHORT_RETURN_IF_ERROR(ValidateAdvantage(spec, context, warnings));
  COHORT_RETURN_IF_ERROR(ValidateTrust(spec));
  COHORT_RETURN_IF_ERROR(ValidateRatio(spec, context));
  COHORT_RETURN_IF_ERROR(ValidateKl(spec));
  COHORT_RETURN_IF_ERROR(ValidateFilters(spec, context));
  COHORT_RETURN_IF_ERROR(ValidateSources(spec, context));
  COHORT_RETURN_IF_ERROR(ValidateProcess(spec));
  COHORT_RETURN_IF_ERROR(ValidateObjective(spec));
  COHORT_RETURN_IF_ERROR(ValidateShaping(spec, context, warnings));
  COHORT_RETURN_IF_ERROR(ValidateCorrectness(spec));
  WarnOfNoTruth(spec, context, warnings);
  COHORT_RETURN_IF_ERROR(ValidateAggregation(spec.agg));
  return ValidateOffPolicy(spec.offpolicy);
}

}  // namespace cohort

// The algorithm as a point in a product of closed choices (algorithms.md section 14.1): every
// method of section 14.2 is one value of AlgorithmSpec, never a code path of its own.
//
// Plain data with the defaults of section 12. Names in configuration files are the enumerators in
// snake case (`kGroupMean` is `group_mean`); algorithm_names.h converts both ways. A YAML choice
// that carries numbers, such as `clip{low,high}`, is an optional struct here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace cohort {

// --- reward -------------------------------------------------------------------------------------

enum class RewardSource {
  kRuleMath,
  kRuleGsm8k,
  kRuleDapo,
  kCodeTests,
  kRewardModel,
  kImplicitPrm,
  kMajorityOnline,
  kMajorityOffline,
  kSemanticFrequency,
  kNegEntropyMean,
  kNegEntropySum,
  kSeqLogprob,
  kRandom,
  kIncorrectLabel,
  kFormatBoxed,
  kContains,
};

struct RewardSourceSpec {
  RewardSource name = RewardSource::kRuleMath;
  double weight = 1;
  bool inverse = false;  // 1 - X
};

struct RewardScaleSpec {
  double correct = 1;
  double wrong = 0;
  double unparsable = 0;
};

enum class Shaping {
  kOverlongSoft,
  kTruncated,
  kKimiLength,
  kL1Exact,
  kL1Max,
  kDast,
  kCosine,
  kRepetition,
  kSerialDecay,
  kFormatFloor,
  kClip,
};

enum class TruncatedAction { kZero, kScale, kSet, kMask };

// One step of the shaping list, applied in order. Only the fields of its kind are read.
struct ShapingSpec {
  Shaping kind = Shaping::kOverlongSoft;
  double weight = 1;         // added terms: overlong_soft, kimi_length, repetition
  int64_t max_length = 0;    // tokens; overlong_soft, dast, cosine
  int64_t cache_length = 0;  // tokens; overlong_soft
  TruncatedAction truncated = TruncatedAction::kZero;
  double value = 0;  // truncated: factor of kScale or value of kSet; format_floor: the floor (-7)
  double alpha = 0.0003;    // l1_exact, l1_max
  double delta = 0.5;       // l1_max
  bool code_slope = false;  // l1_max: half the slope, as the authors' code
  double min_correct = 0.5, max_correct = 1.0, min_wrong = -1.0, max_wrong = -0.5;  // cosine
  int64_t ngram = 3;                                                                // repetition
  double max_penalty = -1;                                                          // repetition
  double low = 0, high = 0;                                                         // clip
  int64_t warmup_steps = 0;  // kimi_length: off before this step
};

// --- filters ------------------------------------------------------------------------------------

enum class PromptFilter { kNone, kDynamic, kBand, kMinValid };
enum class FilterScore { kAccuracy, kShapedReward };

struct PromptFilterSpec {
  PromptFilter kind = PromptFilter::kNone;
  FilterScore score = FilterScore::kAccuracy;
  double low = 0;             // dynamic: 0; band: 0.2
  double high = 1;            // dynamic: 1; band: 0.8
  bool strict = true;         // dynamic: low < accuracy < high; band is always inclusive
  int64_t max_rounds = 10;    // dynamic: batches' worth of extra prompts before pausing; 0: endless
  double min_fraction = 0.6;  // min_valid: share of non-degenerate groups
  int64_t max_tries = 20;     // min_valid
};

enum class RowFilter { kNone, kTopk, kDropTruncated };
enum class RowMetric { kShortest, kTokenEfficiency };
enum class RowDenominator { kAll, kKept };

struct RowFilterSpec {
  RowFilter kind = RowFilter::kNone;
  int64_t k = 0;
  RowMetric metric = RowMetric::kShortest;
  RowDenominator denominator = RowDenominator::kAll;
};

enum class Gate { kNone, kFewerClustersThanN, kEntropyBand };

struct GateSpec {
  Gate kind = Gate::kNone;
  double entropy_low = 0;   // nats; entropy_band
  double entropy_high = 0;  // nats; entropy_band
};

enum class DataSelect { kNone, kVarianceTopk, kLim };

struct DataSelectSpec {
  DataSelect kind = DataSelect::kNone;
  int64_t k = 1;           // variance_topk
  double threshold = 0.6;  // lim: kept when score >= threshold
};

// --- advantages ---------------------------------------------------------------------------------

enum class AdvantageBaseline {
  kNone,
  kGroupMean,
  kLeaveOneOut,
  kLengthWeighted,
  kGreedy,
  kCriticGae,
  kSecondBest,
  kPrimeLoo,
};
enum class AdvantageScale { kNone, kGroupStd, kBatchRewardStd, kTokenWhiten, kValidFraction };
enum class WhitenVariance { kPopulation, kBessel };
enum class VarianceFloor { kMax, kAdd };  // max(variance, eps) or variance + eps
enum class SingleRowGroup { kZero, kRaw };
enum class AdvantageLevel { kSequence, kReturns };

struct AdvantageSpec {
  AdvantageBaseline baseline = AdvantageBaseline::kGroupMean;
  AdvantageScale scale = AdvantageScale::kGroupStd;
  double eps = 1e-6;  // added to the standard deviation, never inside the root
  int64_t ddof = 1;   // 1: Bessel, 0: population; group_std and batch_reward_std
  SingleRowGroup n1 = SingleRowGroup::kZero;
  AdvantageLevel level = AdvantageLevel::kSequence;
  double gamma = 1;                                     // returns
  double lam = 1;                                       // returns with critic_gae
  WhitenVariance whiten = WhitenVariance::kPopulation;  // token_whiten
  VarianceFloor whiten_floor = VarianceFloor::kMax;     // token_whiten; kAdd with bessel
  double whiten_eps = 1e-8;                             // token_whiten
  double process_coef = 5;                              // prime_loo
  double outcome_coef = 5;                              // prime_loo
};

// --- loss ---------------------------------------------------------------------------------------

enum class Ratio { kNone, kToken, kSequenceGeo, kSequenceProd, kGeoClipped };

struct ClipSpec {
  double low = 0.2;              // ratio below 1 - low
  double high = 0.2;             // ratio above 1 + high
  std::optional<double> dual_c;  // A < 0: the loss is capped at -A * dual_c
  std::optional<double> delta;   // two-sided: the unclipped ratio is capped at delta
};
struct DetachClipSpec {
  double min = 0;
  double max = 5;
  std::optional<ClipSpec> mask;  // drops what PPO's clip would drop (CISPO eq. 6-7)
};
struct SoftGateSpec {
  double tau_pos = 1.0;
  double tau_neg = 1.05;
};
struct LogClipSpec {
  double low = 0.4;   // A < 0: log-ratio at least -low
  double high = 0.4;  // A >= 0: log-ratio at most high
};
struct ClipCovSpec {
  double frac = 2e-4;
  double lb = 1;
  double ub = 5;
};
struct KlCovSpec {
  double frac = 2e-3;
  double coef = 1;
};
struct QuadraticSpec {
  double beta = 0.1;
};

// At most one of them, except that clip_cov needs clip beside it. None set: `trust: none`.
struct TrustSpec {
  std::optional<ClipSpec> clip;
  std::optional<DetachClipSpec> detach_clip;
  std::optional<SoftGateSpec> soft_gate;
  std::optional<LogClipSpec> log_clip;
  std::optional<ClipCovSpec> clip_cov;
  std::optional<KlCovSpec> kl_cov;
  std::optional<QuadraticSpec> quadratic;
};

enum class KlPlacement { kNone, kLoss, kReward };
enum class KlEstimator { kK1, kK2, kK3, kAbs, kK3K2grad };
enum class KlControllerKind { kFixed, kAdaptive };

struct KlSpec {
  KlPlacement placement = KlPlacement::kNone;
  KlEstimator estimator = KlEstimator::kK3;
  double coef = 0;
  KlControllerKind controller = KlControllerKind::kFixed;
  double target = 0.1;          // adaptive
  double horizon = 10000;       // adaptive, rows
  double log_ratio_clamp = 20;  // k3: of ref - logp before exp; 0: off
  double value_clamp = 10;      // k3: of its value; 0: off
};

enum class Aggregation {
  kTokenMean,
  kSeqMeanTokenMean,
  kSeqMeanTokenSum,
  kSeqMeanTokenSumConst,
  kTokenMeanGroup,
  kTokenMeanLocal,
};
enum class EmptyRows { kAuto, kExclude, kCount };  // auto: count for the const mode, else exclude

struct AggregationSpec {
  Aggregation mode = Aggregation::kTokenMean;
  double constant = 0;  // seq_mean_token_sum_const: C, tokens
  EmptyRows empty_rows = EmptyRows::kAuto;
};

enum class OffPolicy { kNone, kBypass, kTis, kIcepop, kSeqMask, kReject };
enum class OffPolicyLevel { kToken, kSequence };
// Of the log-ratio old - rollout. seq_mask uses kSeqSumK1 (product) or kSeqMeanK1 (geometric mean).
enum class OffPolicyStat {
  kTokenK1,
  kTokenK2,
  kTokenK3,
  kSeqSumK1,
  kSeqSumK2,
  kSeqSumK3,
  kSeqMeanK1,
  kSeqMeanK2,
  kSeqMeanK3,
  kSeqMaxK2,
  kSeqMaxK3,
};

struct OffPolicySpec {
  OffPolicy kind = OffPolicy::kNone;
  OffPolicyLevel level = OffPolicyLevel::kToken;   // tis
  double cap = 2;                                  // tis
  OffPolicyStat stat = OffPolicyStat::kSeqMeanK1;  // seq_mask, reject
  std::optional<double> low;                       // icepop, seq_mask, reject by k1; none: no bound
  std::optional<double> high;                // the same; reject by k2 and k3 has only this one
  bool batch_normalize = false;              // weights divided by their mean over the valid tokens
  std::optional<double> neg_seq_mask_delta;  // combines with any kind
};

enum class Objective { kPolicyGradient, kEntropyDirect, kInferenceEntropy };
enum class EntropyAlign { kPredict, kReference };
enum class EntropyReduction { kTokenMean, kSeqSum };

struct ObjectiveSpec {
  Objective kind = Objective::kPolicyGradient;
  double temperature = 1;                                  // entropy_direct
  EntropyAlign align = EntropyAlign::kPredict;             // entropy_direct
  EntropyReduction reduction = EntropyReduction::kSeqSum;  // entropy_direct
};

struct AlgorithmSpec {
  std::vector<RewardSourceSpec> sources = {RewardSourceSpec{}};
  RewardScaleSpec reward_scale;
  std::vector<ShapingSpec> shaping;
  PromptFilterSpec prompt_filter;
  RowFilterSpec row_filter;
  GateSpec gate;
  DataSelectSpec select;
  AdvantageSpec advantage;
  Ratio ratio = Ratio::kToken;
  TrustSpec trust;
  KlSpec kl;
  AggregationSpec agg;
  OffPolicySpec offpolicy;
  ObjectiveSpec objective;
  double entropy_coef = 0;
  // Rows that continue another row train the tokens that they inherit, too (S-GRPO: the shared
  // prefix once per exit that contains it).
  bool train_prefix = false;
  bool step_on_empty = false;  // all groups degenerate: step anyway (section 12.1)
};

// What the algorithm is combined with; validation needs it.
struct AlgorithmContext {
  int64_t group_size = 0;                 // rows per prompt
  int64_t optimizer_steps_per_batch = 1;  // mini_batches * epochs
  bool has_value_head = false;
  bool has_process_model = false;   // a PRM with its optimizer
  bool spurious_flag = false;       // the run report says `spurious: true`
  bool has_greedy_rollout = false;  // one extra greedy row per prompt is generated
  bool has_serial_groups = false;   // rows that leave the first one early (rollout.serial)
  bool sealed_labels = false;       // no training prompt shows its answer
  double temperature = 1;           // of the rollout
};

// Section 14.3. The message names the fields and what to change. `warnings`, when given, receives
// what is allowed but probably not meant.
absl::Status ValidateAlgorithm(const AlgorithmSpec& spec, const AlgorithmContext& context,
                               std::vector<std::string>* warnings = nullptr);

}  // namespace cohort

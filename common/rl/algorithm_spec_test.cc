// One test per line of algorithms.md 14.3, and the rows of 14.2 as presets that must be accepted.
#include "common/rl/algorithm_spec.h"

#include "common/base/status_matchers.h"
#include "common/rl/algorithm_names.h"

namespace cohort {
namespace {

using testing::HasSubstr;
constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

AlgorithmContext Context() {
  AlgorithmContext context;
  context.group_size = 8;
  return context;
}

AlgorithmSpec Grpo() {
  AlgorithmSpec spec;
  spec.trust.clip = ClipSpec{};
  spec.kl = {KlPlacement::kLoss, KlEstimator::kK3, 0.04};
  spec.agg.mode = Aggregation::kSeqMeanTokenMean;
  return spec;
}

AlgorithmSpec DrGrpo() {
  AlgorithmSpec spec;
  spec.shaping = {ShapingSpec{Shaping::kTruncated}};
  spec.advantage.scale = AdvantageScale::kNone;
  spec.trust.clip = ClipSpec{};
  spec.agg = {Aggregation::kSeqMeanTokenSumConst, 3000, EmptyRows::kCount};
  return spec;
}

AlgorithmSpec Dapo() {
  AlgorithmSpec spec;
  spec.reward_scale = {1, -1, -1};
  spec.shaping = {ShapingSpec{Shaping::kOverlongSoft}};
  spec.prompt_filter.kind = PromptFilter::kDynamic;
  spec.trust.clip = ClipSpec{0.2, 0.28, 10.0, {}};
  return spec;
}

AlgorithmSpec Gspo() {
  AlgorithmSpec spec;
  spec.ratio = Ratio::kSequenceGeo;
  spec.trust.clip = ClipSpec{3e-4, 4e-4, {}, {}};
  spec.agg.mode = Aggregation::kSeqMeanTokenMean;
  return spec;
}

AlgorithmSpec Gpg() {
  AlgorithmSpec spec;
  spec.prompt_filter.kind = PromptFilter::kMinValid;
  spec.advantage.scale = AdvantageScale::kValidFraction;
  spec.ratio = Ratio::kNone;
  return spec;
}

AlgorithmSpec Gmpo() {
  AlgorithmSpec spec;
  spec.ratio = Ratio::kGeoClipped;
  spec.trust.log_clip = LogClipSpec{};
  spec.agg.mode = Aggregation::kSeqMeanTokenMean;
  return spec;
}

AlgorithmSpec Rloo() {
  AlgorithmSpec spec;
  spec.advantage.baseline = AdvantageBaseline::kLeaveOneOut;
  spec.advantage.scale = AdvantageScale::kNone;
  spec.trust.clip = ClipSpec{};
  spec.kl = {KlPlacement::kReward, KlEstimator::kK1, 0.05};
  return spec;
}

absl::Status Validate(const AlgorithmSpec& spec) { return ValidateAlgorithm(spec, Context()); }

TEST(AlgorithmSpec, PresetsOfTheTableAreValid) {
  AlgorithmSpec cispo, sapo, clip_cov, kl_cov;
  cispo.trust.detach_clip = DetachClipSpec{};
  sapo.trust.soft_gate = SoftGateSpec{};
  clip_cov.trust.clip_cov = ClipCovSpec{};
  clip_cov.trust.clip = ClipSpec{1, 1, {}, {}};
  kl_cov.trust.kl_cov = KlCovSpec{};
  for (const AlgorithmSpec& spec : {Grpo(), DrGrpo(), Dapo(), Gspo(), Gpg(), Gmpo(), Rloo(), cispo,
                                    sapo, clip_cov, kl_cov, AlgorithmSpec{}}) {
    std::vector<std::string> warnings;
    COHORT_EXPECT_OK(ValidateAlgorithm(spec, Context(), &warnings));
    EXPECT_TRUE(warnings.empty());
  }
}

TEST(AlgorithmSpec, GroupBaselinesNeedTwoRows) {
  AlgorithmContext context = Context();
  context.group_size = 1;
  for (AdvantageBaseline baseline :
       {AdvantageBaseline::kGroupMean, AdvantageBaseline::kLeaveOneOut,
        AdvantageBaseline::kSecondBest, AdvantageBaseline::kPrimeLoo}) {
    AlgorithmSpec spec;
    spec.advantage.baseline = baseline;
    const absl::Status status = ValidateAlgorithm(spec, context);
    EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr("rollout.group_size")));
    EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr(NameOf(baseline))));
  }
}

TEST(AlgorithmSpec, GroupStdNeedsABaselineThatComparesRows) {
  AlgorithmSpec spec;
  spec.advantage.baseline = AdvantageBaseline::kNone;
  EXPECT_THAT(Validate(spec), StatusIs(kInvalid, HasSubstr("group_std is 0")));
  spec.advantage.baseline = AdvantageBaseline::kLengthWeighted;
  COHORT_EXPECT_OK(Validate(spec));
}

TEST(AlgorithmSpec, LeaveOneOutWithGroupStdWarns) {
  AlgorithmSpec spec = Rloo();
  spec.advantage.scale = AdvantageScale::kGroupStd;
  std::vector<std::string> warnings;
  COHORT_ASSERT_OK(ValidateAlgorithm(spec, Context(), &warnings));
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_THAT(warnings[0], HasSubstr("leave_one_out"));
}

TEST(AlgorithmSpec, SequenceGeoNeedsSeqMeanTokenMean) {
  AlgorithmSpec spec = Gspo();
  spec.agg.mode = Aggregation::kTokenMean;
  EXPECT_THAT(Validate(spec), StatusIs(kInvalid, HasSubstr("algorithm.agg.mode")));
}

TEST(AlgorithmSpec, SequenceGeoNeedsSequenceLevelAdvantages) {
  AlgorithmSpec spec = Gspo();
  spec.advantage.level = AdvantageLevel::kReturns;
  EXPECT_THAT(Validate(spec), StatusIs(kInvalid, HasSubstr("algorithm.adv.level")));
}

TEST(AlgorithmSpec, RatioNoneNeedsOneOptimizerStepPerBatch) {
  AlgorithmContext context = Context();
  context.optimizer_steps_per_batch = 4;
  EXPECT_THAT(ValidateAlgorithm(Gpg(), context),
              StatusIs(kInvalid, HasSubstr("learner.mini_batches")));
}

TEST(AlgorithmSpec, RatioNoneNeedsTrustNone) {
  AlgorithmSpec spec = Gpg();
  spec.trust.clip = ClipSpec{};
  EXPECT_THAT(Validate(spec), StatusIs(kInvalid, HasSubstr("algorithm.trust")));
}

TEST(AlgorithmSpec, OtherTrustRegionsExcludeClip) {
  AlgorithmSpec gate, detach, log_clip = Gmpo();
  gate.trust.soft_gate = SoftGateSpec{};
  detach.trust.detach_clip = DetachClipSpec{};
  for (AlgorithmSpec* spec : {&gate, &detach, &log_clip}) {
    spec->trust.clip = ClipSpec{};
    EXPECT_THAT(Validate(*spec), StatusIs(kInvalid, HasSubstr("exclude clip")));
  }
}

TEST(AlgorithmSpec, TwoTrustRegionsAreRefused) {
  AlgorithmSpec spec;
  spec.trust.soft_gate = SoftGateSpec{};
  spec.trust.quadratic = QuadraticSpec{};
  EXPECT_THAT(Validate(spec), StatusIs(kInvalid, HasSubstr("found several")));
}

TEST(AlgorithmSpec, TrustRegionsThatDecideByTokenNeedTokenRatios) {
  AlgorithmSpec cov, kl_cov, quadratic, detach;
  cov.trust.clip_cov = ClipCovSpec{};
  kl_cov.trust.kl_cov = KlCovSpec{};
  quadratic.trust.quadratic = QuadraticSpec{};
  detach.trust.detach_clip = DetachClipSpec{};
  for (AlgorithmSpec spec : {cov, kl_cov, quadratic, detach}) {
    COHORT_EXPECT_OK(Validate(spec));
    spec.ratio = Ratio::kSequenceProd;
    EXPECT_THAT(Validate(spec), StatusIs(kInvalid, HasSubstr("need ratio token")));
  }
  detach.ratio = Ratio::kSequenceGeo;
  detach.agg.mode = Aggregation::kSeqMeanTokenMean;
  COHORT_EXPECT_OK(Validate(detach));
}

TEST(AlgorithmSpec, KlRewardNeedsReturnsOrLeaveOneOut) {
  AlgorithmSpec spec = Grpo();
  spec.kl.placement = KlPlacement::kReward;
  EXPECT_THAT(Validate(spec), StatusIs(kInvalid, HasSubstr("algorithm.kl")));
  spec.advantage.level = AdvantageLevel::kReturns;
  COHORT_EXPECT_OK(Validate(spec));
}

TEST(AlgorithmSpec, ConstantAggregationNeedsItsConstant) {
  AlgorithmSpec spec = DrGrpo();
  spec.agg.constant = 0;
  EXPECT_THAT(Validate(spec), StatusIs(kInvalid, HasSubstr("algorithm.agg.constant")));
}

TEST(AlgorithmSpec, TokenWhitenWithDynamicSamplingIsAllowed) {
  AlgorithmSpec spec = Dapo();
  spec.advantage.scale = AdvantageScale::kTokenWhiten;
  COHORT_EXPECT_OK(Validate(spec));
}

TEST(AlgorithmSpec, TopkNeedsAtLeastTwoAndLessThanTheGroup) {
  for (int64_t k : {1, 8, 9}) {
    AlgorithmSpec spec = Grpo();
    spec.row_filter.kind = RowFilter::kTopk;
    spec.row_filter.k = k;
    EXPECT_THAT(Validate(spec), StatusIs(kInvalid, HasSubstr("topk.k")));
  }
}

TEST(AlgorithmSpec, FilteringOnTheShapedRewardIsRefused) {
  AlgorithmSpec spec = Dapo();
  spec.prompt_filter.score = FilterScore::kShapedReward;
  EXPECT_THAT(Validate(spec), StatusIs(kInvalid, HasSubstr("filter on accuracy")));
}

TEST(AlgorithmSpec, RewardsThatDoNotSeeTheTruthMustBeFlagged) {
  for (RewardSource source : {RewardSource::kRandom, RewardSource::kIncorrectLabel,
                              RewardSource::kMajorityOffline, RewardSource::kMajorityOnline}) {
    AlgorithmSpec spec = Grpo();
    spec.sources = {{source, 1}};
    EXPECT_THAT(Validate(spec), StatusIs(kInvalid, HasSubstr("spurious")));
    AlgorithmContext context = Context();
    context.spurious_flag = true;
    COHORT_EXPECT_OK(ValidateAlgorithm(spec, context));
  }
}

TEST(AlgorithmSpec, ImplicitPrmNeedsItsModel) {
  AlgorithmSpec spec = Grpo();
  spec.sources.push_back({RewardSource::kImplicitPrm, 1});
  EXPECT_THAT(Validate(spec), StatusIs(kInvalid, HasSubstr("implicit_prm")));
}

TEST(AlgorithmSpec, CriticGaeNeedsAValueHead) {
  AlgorithmSpec spec = Grpo();
  spec.advantage.baseline = AdvantageBaseline::kCriticGae;
  EXPECT_THAT(Validate(spec), StatusIs(kInvalid, HasSubstr("value head")));
}

TEST(AlgorithmSpec, GreedyNeedsItsRollout) {
  AlgorithmSpec spec = Grpo();
  spec.advantage.baseline = AdvantageBaseline::kGreedy;
  EXPECT_THAT(Validate(spec), StatusIs(kInvalid, HasSubstr("greedy rollout")));
}

TEST(AlgorithmSpec, DualClipMustExceedOne) {
  AlgorithmSpec spec = Dapo();
  spec.trust.clip->dual_c = 1.0;
  EXPECT_THAT(Validate(spec), StatusIs(kInvalid, HasSubstr("dual_c")));
}

TEST(AlgorithmSpec, DetachClipMustContainOne) {
  AlgorithmSpec spec;
  spec.trust.detach_clip = DetachClipSpec{1.1, 5, {}};
  EXPECT_THAT(Validate(spec), StatusIs(kInvalid, HasSubstr("min <= 1 <= max")));
  spec.trust.detach_clip = DetachClipSpec{0, 0.9, {}};
  EXPECT_THAT(Validate(spec), StatusIs(kInvalid, HasSubstr("min <= 1 <= max")));
}

TEST(AlgorithmSpec, TheMaskOfDetachClipHasBoundsLikeAClip) {
  AlgorithmSpec spec;
  spec.trust.detach_clip = DetachClipSpec{0, 5, ClipSpec{0.2, -0.1, {}, {}}};
  EXPECT_THAT(Validate(spec), StatusIs(kInvalid, HasSubstr("detach_clip.mask: low and high")));
  spec.trust.detach_clip->mask = ClipSpec{0.2, 0.28, {}, {}};
  COHORT_EXPECT_OK(Validate(spec));
}

TEST(AlgorithmSpec, OnlyL1MaxHasTheSlopeOfTheCode) {
  AlgorithmSpec spec = Grpo();
  spec.shaping = {ShapingSpec{Shaping::kL1Max}};
  spec.shaping[0].code_slope = true;
  COHORT_EXPECT_OK(Validate(spec));
  spec.shaping[0].kind = Shaping::kL1Exact;
  EXPECT_THAT(Validate(spec), StatusIs(kInvalid, HasSubstr("l1_exact has none")));
}

TEST(AlgorithmSpec, OffPolicyMasksNeedABound) {
  AlgorithmSpec spec = Grpo();
  spec.offpolicy.kind = OffPolicy::kIcepop;
  EXPECT_THAT(Validate(spec), StatusIs(kInvalid, HasSubstr("icepop")));
}

TEST(AlgorithmNames, GoBothWaysAndListTheAlternatives) {
  EXPECT_EQ(NameOf(AdvantageBaseline::kGroupMean), "group_mean");
  COHORT_ASSERT_OK_AND_ASSIGN(const auto mode, ParseName<Aggregation>("agg", "token_mean_group"));
  EXPECT_EQ(mode, Aggregation::kTokenMeanGroup);
  EXPECT_EQ(NameOf(OffPolicyStat::kSeqMaxK3), "seq_max_k3");
  EXPECT_EQ(NameOf(RewardSource::kContains), "contains");
  EXPECT_THAT(ParseName<Ratio>("algorithm.ratio", "tokens"),
              StatusIs(kInvalid, HasSubstr("sequence_geo")));
}

}  // namespace
}  // namespace cohort

// The gradient that a step makes, for every part of an algorithm, against finite differences of the
// same loss written down once more: one plain forward pass per row, and everything that carries no
// gradient computed beforehand.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "common/objective/policy_loss.h"
#include "common/rl/aggregation.h"
#include "common/rl/offpolicy.h"
#include "common/rl/policy_loss.h"
#include "common/train/batch.h"
#include "common/train/train_runs.h"

namespace cohort {
namespace {

struct RowNumbers {
  std::vector<double> logprob, entropy;
};

// Of one row's tokens, by softmax(z / temperature).
RowNumbers PlainForward(const CausalLm& model, const Group& group, const Row& row,
                        double temperature, EntropyAlign align = EntropyAlign::kPredict) {
  const c10::NoGradGuard no_grad;
  std::vector<int64_t> tokens(group.prompt.begin(), group.prompt.end());
  tokens.insert(tokens.end(), row.tokens.begin(), row.tokens.end());
  const auto length = static_cast<int64_t>(tokens.size());
  PackedAttention attention({{0, length, -1, 0}});
  const at::Tensor hidden =
      model.Forward(at::tensor(tokens, at::kLong), at::arange(length, at::kLong), attention);
  const at::Tensor all = at::log_softmax(model.Logits(hidden).to(at::kDouble) / temperature, -1);
  const at::Tensor entropy = -(all.exp() * all).sum(-1);
  const auto prompt = static_cast<int64_t>(group.prompt.size());
  RowNumbers out;
  // predict: the state before a token predicts it; reference: the token's own, as the authors'
  // code.
  const int64_t shift = align == EntropyAlign::kPredict ? 1 : 0;
  for (size_t t = 0; t < row.tokens.size(); ++t) {
    out.logprob.push_back(all[prompt + static_cast<int64_t>(t) - 1][row.tokens[t]].item<double>());
    out.entropy.push_back(entropy[prompt + static_cast<int64_t>(t) - shift].item<double>());
  }
  return out;
}

bool Corrects(const OffPolicySpec& spec) {
  return spec.kind != OffPolicy::kNone && spec.kind != OffPolicy::kBypass;
}

// The batch's loss as a function of the model's weights alone.
class PlainLoss {
 public:
  PlainLoss(const AlgorithmSpec& spec, const std::vector<Group>& groups, const CausalLm& start,
            const CausalLm& reference)
      : spec_(spec) {
    auto batch = PrepareBatch(groups, spec, 0);
    TORCH_CHECK(batch.ok(), batch.status().ToString());
    batch_ = *std::move(batch);
    const bool bypass = spec.offpolicy.kind == OffPolicy::kBypass;
    batch_.old = bypass ? batch_.rollout : Flat(start).logprob;
    batch_.reference = Flat(reference).logprob;
    COHORT_EXPECT_OK(AddAdvantages(spec, spec.kl.coef, &batch_));
    if (Corrects(spec.offpolicy)) {
      COHORT_EXPECT_OK(AddCorrection(spec.offpolicy, &batch_));
    }
    MaskNegativeSequences(Flat(start).logprob);
    if (spec.trust.clip_cov || spec.trust.kl_cov) {
      selected_ =
          SelectByCovariance(spec.trust, batch_.old, batch_.old, batch_.advantage, batch_.mask, 0);
    }
  }

  double At(const CausalLm& model) const {
    const RowNumbers now = Flat(model);
    std::vector<AggregationRow> rows;
    std::vector<int64_t> offsets = {0};
    for (const TrainRow& row : batch_.rows) {
      rows.push_back({batch_.ValidTokens(row), row.group, 0});
      offsets.push_back(row.begin + row.length);
    }
    const std::vector<double> row_weights = AggregationWeights(LossAggregation(spec_), rows);
    std::vector<double> weight;
    for (size_t i = 0; i < batch_.rows.size(); ++i) {
      weight.insert(weight.end(), static_cast<size_t>(batch_.rows[i].length), row_weights[i]);
    }
    PolicyTokens tokens;
    tokens.logprob = now.logprob;
    tokens.entropy = now.entropy;
    tokens.old = batch_.old;
    tokens.advantage = batch_.advantage;
    tokens.weight = weight;
    tokens.correction = batch_.correction;
    tokens.reference = batch_.reference;
    tokens.mask = batch_.mask;
    tokens.selected = selected_;
    tokens.row_offsets = offsets;
    const auto loss = ComputePolicyLoss(MakePolicyLossSpec(spec_), tokens);
    TORCH_CHECK(loss.ok(), loss.status().ToString());
    return loss->loss;
  }

  const TrainBatch& batch() const { return batch_; }

 private:
  RowNumbers Flat(const CausalLm& model) const {
    const ObjectiveSpec& objective = spec_.objective;
    const bool direct = objective.kind == Objective::kEntropyDirect;
    RowNumbers out;
    for (const TrainRow& row : batch_.rows) {
      const RowNumbers one = PlainForward(
          model, batch_.groups[static_cast<size_t>(row.group)], batch_.SourceRow(row),
          direct ? objective.temperature : 1.0, direct ? objective.align : EntropyAlign::kPredict);
      out.logprob.insert(out.logprob.end(), one.logprob.begin(), one.logprob.end());
      out.entropy.insert(out.entropy.end(), one.entropy.begin(), one.entropy.end());
    }
    return out;
  }

  void MaskNegativeSequences(const std::vector<double>& current) {
    if (!spec_.offpolicy.neg_seq_mask_delta) return;
    if (batch_.correction.empty()) batch_.correction.assign(batch_.mask.size(), 1);
    for (const TrainRow& row : batch_.rows) {
      double mean = 0;
      for (int64_t t = row.begin; t < row.begin + row.length; ++t) {
        const auto at = static_cast<size_t>(t);
        mean += (batch_.rollout[at] - current[at]) / static_cast<double>(row.length);
      }
      const bool negative = batch_.advantage[static_cast<size_t>(row.begin)] < 0;
      if (!negative || mean <= *spec_.offpolicy.neg_seq_mask_delta) continue;
      std::fill_n(batch_.correction.begin() + row.begin, row.length, 0);
    }
  }

  const AlgorithmSpec spec_;
  TrainBatch batch_;
  std::vector<uint8_t> selected_;
};

TrainerOptions Still() {
  TrainerOptions options = TinyOptions();
  options.lr.lr = 0;  // the weights stay
  options.adamw.weight_decay = 0;
  options.tokens_per_micro_batch = 24;  // several micro-batches
  return options;
}

// Not the model's start, so that a KL term has something to say.
std::unique_ptr<CausalLm> OtherPolicy() {
  auto other = TinyTrainModel(at::kDouble, false);
  const c10::NoGradGuard no_grad;
  at::manual_seed(3);
  for (const NamedTensor& parameter : other->StorageParameters()) {
    parameter.tensor.detach().add_(at::randn_like(parameter.tensor), 0.03);
  }
  return other;
}

// `expect_weights`: whether the corrections must differ from 1.
void Check(const std::string& what, const TrainerOptions& options) {
  const std::vector<Group> groups = MakeGroups(3, 4);
  auto model = TinyTrainModel(at::kDouble);
  const auto reference = OtherPolicy();
  const auto local = MakeLocalCollective();
  Trainer trainer(options, model.get(), reference.get(), local.get());
  const PlainLoss plain(options.algorithm, groups, *model, *reference);
  const auto report = trainer.Step(groups, 0);
  COHORT_ASSERT_OK(report) << what;
  EXPECT_NEAR(report->loss, plain.At(*model), 1e-9) << what;
  ExpectFiniteDifferences(
      *model, trainer.gradients().tensors(), [&] { return plain.At(*model); }, what);
  if (Corrects(options.algorithm.offpolicy)) {
    double mean = 0;
    for (size_t i = 0; i < plain.batch().mask.size(); ++i) {
      mean += plain.batch().mask[i] != 0 ? plain.batch().correction[i] : 0;
    }
    mean /= report->stats.tokens;
    EXPECT_NEAR(report->correction_mean, mean, 1e-9) << what;
  }
}

TrainerOptions OffTheRollout() {
  TrainerOptions options = Still();
  options.algorithm.offpolicy.kind = OffPolicy::kBypass;  // ratios away from 1
  return options;
}

TEST(Gradient, OfEveryRatioAndTrustRegion) {
  TrainerOptions clip = OffTheRollout();
  clip.algorithm.trust.clip->dual_c = 1.2;
  Check("clip with dual_c", clip);
  clip.algorithm.trust.clip = ClipSpec{0.1, 0.1, {}, 1.3};
  Check("clip with delta", clip);
  TrainerOptions none = Still();
  none.algorithm.ratio = Ratio::kNone;
  none.algorithm.trust = {};
  Check("no ratio", none);
  TrainerOptions gspo = OffTheRollout();
  gspo.algorithm.ratio = Ratio::kSequenceGeo;
  gspo.algorithm.agg.mode = Aggregation::kSeqMeanTokenMean;
  Check("sequence_geo", gspo);
  gspo.algorithm.ratio = Ratio::kSequenceProd;
  Check("sequence_prod", gspo);
  TrainerOptions gmpo = OffTheRollout();
  gmpo.algorithm.ratio = Ratio::kGeoClipped;
  gmpo.algorithm.trust = {};
  gmpo.algorithm.trust.log_clip = LogClipSpec{0.2, 0.2};
  gmpo.algorithm.agg.mode = Aggregation::kSeqMeanTokenMean;
  Check("geo_clipped", gmpo);
  TrainerOptions sapo = OffTheRollout();
  sapo.algorithm.trust = {};
  sapo.algorithm.trust.soft_gate = SoftGateSpec{};
  Check("soft_gate", sapo);
  sapo.algorithm.trust = {};
  sapo.algorithm.trust.quadratic = QuadraticSpec{0.3};
  Check("quadratic", sapo);
  TrainerOptions cov = Still();
  cov.algorithm.trust = {};
  cov.algorithm.trust.kl_cov = KlCovSpec{0.2, 1.0};
  Check("kl_cov", cov);
}

TEST(Gradient, OfEveryAggregation) {
  for (Aggregation mode :
       {Aggregation::kTokenMean, Aggregation::kSeqMeanTokenMean, Aggregation::kSeqMeanTokenSum,
        Aggregation::kSeqMeanTokenSumConst, Aggregation::kTokenMeanGroup}) {
    TrainerOptions options = OffTheRollout();
    options.algorithm.agg.mode = mode;
    options.algorithm.agg.constant = 8;
    Check(absl::StrCat("aggregation ", static_cast<int>(mode)), options);
  }
}

TEST(Gradient, OfTheEntropyBonusAndOfKlLosses) {
  for (double coef : {0.05, -0.2}) {
    TrainerOptions options = OffTheRollout();
    options.algorithm.entropy_coef = coef;
    Check(absl::StrCat("entropy_coef ", coef), options);
  }
  for (KlEstimator estimator : {KlEstimator::kK1, KlEstimator::kK2, KlEstimator::kK3}) {
    TrainerOptions options = OffTheRollout();
    options.algorithm.kl.placement = KlPlacement::kLoss;
    options.algorithm.kl.estimator = estimator;
    options.algorithm.kl.coef = 0.4;
    Check(absl::StrCat("kl loss ", static_cast<int>(estimator)), options);
  }
}

TEST(Gradient, OfEveryOffPolicyCorrection) {
  const auto with = [](OffPolicy kind, const std::function<void(OffPolicySpec*)>& set) {
    TrainerOptions options = Still();
    options.algorithm.ratio = Ratio::kNone;  // so that the loss moves with the log-probs
    options.algorithm.trust = {};
    options.algorithm.offpolicy.kind = kind;
    set(&options.algorithm.offpolicy);
    return options;
  };
  Check("tis token", with(OffPolicy::kTis, [](OffPolicySpec* s) { s->cap = 1.1; }));
  Check("tis sequence",
        with(OffPolicy::kTis, [](OffPolicySpec* s) { s->level = OffPolicyLevel::kSequence; }));
  Check("tis normalised",
        with(OffPolicy::kTis, [](OffPolicySpec* s) { s->batch_normalize = true; }));
  Check("icepop", with(OffPolicy::kIcepop, [](OffPolicySpec* s) { s->low = 0.9, s->high = 2; }));
  for (OffPolicyStat stat : {OffPolicyStat::kSeqSumK1, OffPolicyStat::kSeqMeanK1}) {
    Check("seq_mask", with(OffPolicy::kSeqMask, [&](OffPolicySpec* s) {
            s->stat = stat;
            s->high = 2;
          }));
  }
  for (OffPolicyStat stat :
       {OffPolicyStat::kTokenK1, OffPolicyStat::kTokenK3, OffPolicyStat::kSeqMeanK1,
        OffPolicyStat::kSeqSumK2, OffPolicyStat::kSeqMeanK3, OffPolicyStat::kSeqMaxK3}) {
    Check(absl::StrCat("reject ", static_cast<int>(stat)),
          with(OffPolicy::kReject, [&](OffPolicySpec* s) {
            s->stat = stat;
            s->high = 1.5;
          }));
  }
  Check("neg_seq_mask",
        with(OffPolicy::kNone, [](OffPolicySpec* s) { s->neg_seq_mask_delta = 0.0; }));
  Check("tis and neg_seq_mask",
        with(OffPolicy::kTis, [](OffPolicySpec* s) { s->neg_seq_mask_delta = 0.0; }));
}

TEST(Gradient, OfDirectEntropyMinimisation) {
  for (EntropyAlign align : {EntropyAlign::kPredict, EntropyAlign::kReference}) {
    for (EntropyReduction reduction : {EntropyReduction::kTokenMean, EntropyReduction::kSeqSum}) {
      TrainerOptions options = Still();
      options.algorithm.objective = {Objective::kEntropyDirect, 0.5, align, reduction};
      Check("entropy_direct", options);
    }
  }
}

TEST(EntropyDirect, NeedsNoRewardsAndIsTheSameForAnySplitAndAnyRanks) {
  std::vector<Group> groups = MakeGroups(4, 3);
  for (Group& group : groups) {
    group.reward_names.clear();
    for (Row& row : group.rows) row.reward = 0, row.rewards.clear();
  }
  for (EntropyAlign align : {EntropyAlign::kPredict, EntropyAlign::kReference}) {
    for (EntropyReduction reduction : {EntropyReduction::kTokenMean, EntropyReduction::kSeqSum}) {
      TrainerOptions options = TinyOptions();
      options.algorithm.sources.clear();
      options.algorithm.objective = {Objective::kEntropyDirect, 0.5, align, reduction};
      options.mini_batches = 2;
      const Outcome whole = TrainAlone(options, groups);
      EXPECT_EQ(whole.report.updates, 2);
      EXPECT_EQ(whole.report.policy_loss, 0);
      TrainerOptions cut = options;
      cut.tokens_per_micro_batch = 12;
      cut.share_prompts = false;
      EXPECT_LT(WeightDifference(*TrainAlone(cut, groups).model, *whole.model), 1e-6);
      EXPECT_LT(WeightDifference(*TrainTogether(2, options, groups).model, *whole.model), 1e-6);
    }
  }
}

TEST(EntropyDirect, LowersTheEntropy) {
  const std::vector<Group> groups = MakeGroups(2, 4);
  TrainerOptions options = TinyOptions();
  options.algorithm.objective.kind = Objective::kEntropyDirect;
  options.algorithm.objective.reduction = EntropyReduction::kTokenMean;
  const Outcome first = TrainAlone(options, groups, at::kFloat, 1);
  const Outcome later = TrainAlone(options, groups, at::kFloat, 8);
  EXPECT_LT(later.report.loss, first.report.loss - 0.2);
  EXPECT_DOUBLE_EQ(first.report.loss, first.report.entropy_loss);
}

TEST(InferenceEntropy, ChangesNoWeight) {
  TrainerOptions options = TinyOptions();
  options.algorithm.objective.kind = Objective::kInferenceEntropy;
  options.algorithm.step_on_empty = true;
  options.mini_batches = options.epochs = 2;
  const Outcome out = TrainAlone(options, MakeGroups(4, 4), at::kDouble, 3);
  EXPECT_EQ(WeightDifference(*out.model, *TinyTrainModel(at::kDouble)), 0);
  EXPECT_EQ(out.report.updates, 0);
  EXPECT_EQ(out.report.skipped_updates, 4);
  EXPECT_GT(out.report.stats.entropy, 0);
}

}  // namespace
}  // namespace cohort

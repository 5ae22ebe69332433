#include "common/train/trainer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/collective/faulty_collective.h"
#include "common/train/checkpoint.h"
#include "common/train/non_finite.h"
#include "common/train/train_runs.h"

namespace cohort {
namespace {

using testing::HasSubstr;

// Every variant that changes how the work is cut, for algorithms that differ in what they need.
std::vector<std::pair<std::string, TrainerOptions>> Algorithms() {
  std::vector<std::pair<std::string, TrainerOptions>> out;
  TrainerOptions base = TinyOptions();
  base.algorithm.offpolicy.kind = OffPolicy::kBypass;
  out.emplace_back("bypass", base);
  TrainerOptions grpo = TinyOptions();
  grpo.algorithm.agg.mode = Aggregation::kSeqMeanTokenMean;
  grpo.algorithm.kl.placement = KlPlacement::kLoss;
  grpo.algorithm.kl.coef = 0.04;
  grpo.mini_batches = 2;
  grpo.epochs = 2;
  out.emplace_back("grpo with kl, four updates", grpo);
  TrainerOptions dr = TinyOptions();
  dr.algorithm.advantage.scale = AdvantageScale::kNone;
  dr.algorithm.agg.mode = Aggregation::kSeqMeanTokenSumConst;
  dr.algorithm.agg.constant = 8;
  out.emplace_back("dr_grpo", dr);
  TrainerOptions dapo = TinyOptions();
  dapo.algorithm.trust.clip->high = 0.28;
  dapo.algorithm.offpolicy.kind = OffPolicy::kTis;
  dapo.algorithm.entropy_coef = 0.01;
  out.emplace_back("dapo with tis and entropy", dapo);
  TrainerOptions reward_kl = TinyOptions();
  reward_kl.algorithm.kl.placement = KlPlacement::kReward;
  reward_kl.algorithm.kl.estimator = KlEstimator::kK1;
  reward_kl.algorithm.kl.coef = 0.05;
  reward_kl.algorithm.advantage.level = AdvantageLevel::kReturns;
  out.emplace_back("kl as reward", reward_kl);
  TrainerOptions per_prompt = TinyOptions();
  per_prompt.algorithm.agg.mode = Aggregation::kTokenMeanGroup;
  out.emplace_back("token_mean_group", per_prompt);
  return out;
}

TEST(Trainer, AnySplitAndAnyLayoutGiveTheSameStep) {
  const std::vector<Group> groups = MakeGroups(4, 4);
  for (const auto& [name, options] : Algorithms()) {
    const Outcome whole = TrainAlone(options, groups);
    for (int64_t budget : {12, 40}) {
      for (bool share : {true, false}) {
        TrainerOptions cut = options;
        cut.tokens_per_micro_batch = budget;
        cut.share_prompts = share;
        const Outcome parts = TrainAlone(cut, groups);
        EXPECT_LT(WeightDifference(*parts.model, *whole.model), 1e-6)
            << name << ", budget " << budget << ", shared " << share;
        EXPECT_NEAR(parts.report.loss, whole.report.loss, 1e-9) << name;
        EXPECT_NEAR(parts.report.grad_norm, whole.report.grad_norm, 1e-9) << name;
      }
    }
  }
}

TEST(Trainer, TwoRanksGiveTheSameWeightsAsOne) {
  const std::vector<Group> groups = MakeGroups(4, 4);
  for (const auto& [name, options] : Algorithms()) {
    const Outcome one = TrainAlone(options, groups);
    const Outcome two = TrainTogether(2, options, groups);
    EXPECT_LT(WeightDifference(*two.model, *one.model), 1e-6) << name;
    EXPECT_NEAR(two.report.loss, one.report.loss, 1e-9) << name;
    EXPECT_NEAR(two.report.stats.entropy, one.report.stats.entropy, 1e-6) << name;
    EXPECT_EQ(two.report.stats.tokens, one.report.stats.tokens) << name;
    EXPECT_NEAR(two.report.mismatch.max_log_difference, one.report.mismatch.max_log_difference,
                1e-9)
        << name;
  }
}

// As a learner is resumed whose other ranks do not see the run's folder.
TEST(Trainer, ARankWithoutTheCheckpointContinuesWithThatOfRankZero) {
  const std::vector<Group> groups = MakeGroups(4, 4);
  const TemporaryFolder folder;
  CheckpointStore store(folder.path(), 1);
  {
    const auto local = MakeLocalCollective();
    const auto model = TinyTrainModel(at::kDouble);
    Trainer trainer(TinyOptions(), model.get(), nullptr, local.get());
    COHORT_ASSERT_OK(trainer.Step(groups, 0));
    CheckpointState state;
    state.step = 1;
    state.optimizer_steps = trainer.optimizer().steps();
    COHORT_ASSERT_OK(store.Save(*model, trainer.optimizer(), state));
  }
  std::vector<std::unique_ptr<CausalLm>> models(2);
  std::vector<int64_t> updates(2), batches(2);
  OnRanks(2, [&](int rank, Collective& collective) {
    const auto index = static_cast<size_t>(rank);
    models[index] = TinyTrainModel(at::kDouble);
    Trainer trainer(TinyOptions(), models[index].get(), nullptr, &collective);
    if (rank == 0) {
      COHORT_ASSERT_OK(LoadCheckpoint(store.PathOf(1), models[index].get(), &trainer.optimizer()));
      trainer.Restore(1, 0);
    }
    COHORT_ASSERT_OK(trainer.SyncWeights());
    batches[index] = trainer.batches();
    COHORT_ASSERT_OK(trainer.Step(groups, 1));
    updates[index] = trainer.optimizer().steps();
  });
  EXPECT_THAT(batches, testing::Each(1));
  EXPECT_EQ(updates[0], updates[1]);
  // Its moments, too: the second update would differ otherwise.
  EXPECT_EQ(WeightDifference(*models[0], *models[1]), 0);
}

TEST(EdgeCaseFullyMaskedBatch, ARankWithoutWorkTakesPartInEverything) {
  const std::vector<Group> groups = MakeGroups(1, 4);  // one piece for two ranks
  const Outcome one = TrainAlone(TinyOptions(), groups);
  const Outcome two = TrainTogether(2, TinyOptions(), groups);
  EXPECT_LT(WeightDifference(*two.model, *one.model), 1e-6);
}

TEST(Trainer, Fp32GradientsOfEveryTensorAgreeOverSplits) {
  const std::vector<Group> groups = MakeGroups(4, 4);
  TrainerOptions cut = TinyOptions();
  cut.tokens_per_micro_batch = 16;
  cut.share_prompts = false;
  const Outcome whole = TrainAlone(TinyOptions(), groups, at::kFloat, 1);
  const Outcome parts = TrainAlone(cut, groups, at::kFloat, 1);
  for (size_t i = 0; i < whole.gradients.size(); ++i) {
    EXPECT_LT(RelativeDifference(parts.gradients[i], whole.gradients[i]), 1e-4) << i;
  }
}

TEST(Trainer, Fp32GradientsOfEveryTensorAgreeOverRanks) {
  const std::vector<Group> groups = MakeGroups(4, 4);
  for (const int64_t budget : {16, 4096}) {
    TrainerOptions options = TinyOptions();
    options.tokens_per_micro_batch = budget;
    const Outcome one = TrainAlone(options, groups, at::kFloat, 1);
    const std::vector<Outcome> ranks = TrainOnRanks(2, options, groups, at::kFloat, 1);
    for (const Outcome& rank : ranks) {
      ASSERT_EQ(rank.gradients.size(), one.gradients.size());
      for (size_t i = 0; i < one.gradients.size(); ++i) {
        EXPECT_GT(one.gradients[i].norm().item<double>(), 0) << i;
        EXPECT_LT(RelativeDifference(rank.gradients[i], one.gradients[i]), 1e-4)
            << "tensor " << i << ", budget " << budget;
      }
    }
  }
}

TEST(Trainer, Bf16StepsOnFp32MastersAndFollowsTheFp32Step) {
  const std::vector<Group> groups = MakeGroups(4, 4);
  TrainerOptions options = TinyOptions();
  options.tokens_per_micro_batch = 30;
  const Outcome fp32 = TrainAlone(options, groups, at::kFloat, 1);
  const Outcome bf16 = TrainAlone(options, groups, at::kBFloat16, 1);
  EXPECT_LT(WeightDifference(*bf16.model, *fp32.model), 0.02);
  for (const NamedTensor& parameter : bf16.model->StorageParameters()) {
    EXPECT_EQ(parameter.tensor.scalar_type(), at::kBFloat16);
  }
}

TEST(Trainer, TheGradientIsTheLossesFiniteDifference) {
  const std::vector<Group> groups = MakeGroups(2, 3);
  TrainerOptions options = TinyOptions();
  options.algorithm.offpolicy.kind = OffPolicy::kBypass;
  options.lr.lr = 0;  // the weights stay
  options.adamw.weight_decay = 0;
  auto model = TinyTrainModel(at::kDouble);
  const auto local = MakeLocalCollective();
  Trainer trainer(options, model.get(), nullptr, local.get());
  COHORT_ASSERT_OK(trainer.Step(groups, 0));
  std::vector<at::Tensor> gradients;
  for (const at::Tensor& g : trainer.gradients().tensors()) gradients.push_back(g.clone());
  const double h = 1e-6;
  for (size_t i = 0; i < gradients.size(); ++i) {
    double* weight = model->StorageParameters()[i].tensor.detach().data_ptr<double>();
    for (int64_t j : {int64_t{0}, gradients[i].numel() / 2, gradients[i].numel() - 1}) {
      const double before = weight[j];
      weight[j] = before + h;
      const auto up = trainer.Step(groups, 0);
      weight[j] = before - h;
      const auto down = trainer.Step(groups, 0);
      weight[j] = before;
      COHORT_ASSERT_OK(up);
      COHORT_ASSERT_OK(down);
      const double expected = (up->loss - down->loss) / (2 * h);
      EXPECT_NEAR(gradients[i].view(-1)[j].item<double>(), expected, 1e-6) << i << " " << j;
    }
  }
}

TEST(Trainer, OnPolicyLogprobsOfTheSamplerAgree) {
  std::vector<Group> groups = MakeGroups(3, 4);
  const auto sampler = TinyTrainModel(at::kFloat, false);
  for (Group& group : groups) {
    for (Row& row : group.rows) {
      const std::vector<double> logprob = NaiveLogprobs(*sampler, group, row);
      row.logprobs.assign(logprob.begin(), logprob.end());
    }
  }
  const Outcome out = TrainAlone(TinyOptions(), groups, at::kFloat, 1);
  EXPECT_LT(out.report.mismatch.max_log_difference, 1e-4);
  EXPECT_GT(out.report.mismatch.Ess(), 0.999);
  EXPECT_NEAR(out.report.mismatch.K3(), 0, 1e-8);
}

TEST(Trainer, CorrectionWeightsDifferFromOneWhenThePoliciesDo) {
  TrainerOptions options = TinyOptions();
  options.algorithm.offpolicy.kind = OffPolicy::kTis;
  const Outcome out = TrainAlone(options, MakeGroups(3, 4), at::kDouble, 1);
  EXPECT_GT(std::abs(out.report.correction_mean - 1), 1e-3);
  EXPECT_LT(out.report.mismatch.Ess(), 0.999);
}

TEST(EdgeCaseOldLogprobMissing, BypassTakesTheSamplers) {
  TrainerOptions options = TinyOptions();
  const std::vector<Group> groups = MakeGroups(3, 4);  // log-probs that are not the model's
  options.algorithm.offpolicy.kind = OffPolicy::kNone;
  const PolicyStats own = TrainAlone(options, groups, at::kDouble, 1).report.stats;
  EXPECT_NEAR(own.ratio / own.tokens, 1, 1e-9);
  options.algorithm.offpolicy.kind = OffPolicy::kBypass;
  const Outcome bypass = TrainAlone(options, groups, at::kDouble, 1);
  const PolicyStats& stats = bypass.report.stats;
  EXPECT_NEAR(stats.ppo_kl / stats.tokens, bypass.report.mismatch.Kl(), 1e-6);
  EXPECT_GT(std::abs(stats.ratio / stats.tokens - 1), 1e-3);
}

TEST(EdgeCaseAllGroupsDegenerate, MakesNoStepUnlessAskedTo) {
  std::vector<Group> groups = MakeGroups(2, 3);
  for (Group& group : groups) {
    for (Row& row : group.rows) row.reward = 0.9, row.rewards = {0.9f};
  }
  TrainerOptions options = TinyOptions();
  const Outcome skipped = TrainAlone(options, groups, at::kDouble, 1);
  EXPECT_EQ(skipped.report.skipped_updates, 1);
  EXPECT_EQ(skipped.report.updates, 0);
  EXPECT_EQ(skipped.report.frac_zero_std, 1);
  EXPECT_GT(skipped.report.stats.entropy, 0);  // measured all the same
  EXPECT_EQ(WeightDifference(*skipped.model, *TinyTrainModel(at::kDouble)), 0);
  options.algorithm.step_on_empty = true;
  const Outcome stepped = TrainAlone(options, groups, at::kDouble, 1);
  EXPECT_EQ(stepped.report.updates, 1);
  EXPECT_EQ(stepped.report.grad_norm, 0);
  EXPECT_GT(WeightDifference(*stepped.model, *TinyTrainModel(at::kDouble)), 0);  // weight decay
}

TEST(EdgeCaseUnparsableGold, UnscorableAbortedAndMaskedTokensCarryNoLoss) {
  std::vector<Group> groups = MakeGroups(2, 4);
  groups[0].rows[2].unscorable = true;
  groups[0].rows[3].finish = FinishReason::kAborted;
  groups[1].rows[0].mask[0] = 0;
  groups[1].rows[0].logprobs[0] = std::nanf("");  // junk behind the mask
  std::vector<Group> without = groups;
  without[0].rows.resize(2);
  const Outcome a = TrainAlone(TinyOptions(), groups);
  const Outcome b = TrainAlone(TinyOptions(), without);
  EXPECT_LT(WeightDifference(*a.model, *b.model), 1e-9);
  EXPECT_EQ(a.report.unscorable_rows, 2);
}

TEST(Trainer, RowsThatContinueRowsAreTheSamePackedAndRepeated) {
  std::vector<Group> groups = MakeGroups(2, 4);
  for (Group& group : groups) {
    Row& trunk = group.rows[1];
    while (trunk.tokens.size() < 5) {
      trunk.tokens.push_back(7);
      trunk.logprobs.push_back(-3);
      trunk.mask.push_back(1);
      trunk.versions.push_back(0);
    }
    group.rows[2].parent = 1;
    group.rows[2].parent_tokens = 5;
    group.rows[3].parent = 1;
    group.rows[3].parent_tokens = 2;
  }
  TrainerOptions naive = TinyOptions();
  naive.share_prompts = false;
  const Outcome shared = TrainAlone(TinyOptions(), groups);
  const Outcome repeated = TrainAlone(naive, groups);
  EXPECT_LT(WeightDifference(*shared.model, *repeated.model), 1e-6);
  EXPECT_LT(shared.report.trained_tokens, repeated.report.trained_tokens);
}

TEST(Trainer, VotesAndBaselinesTakeNoPartInTheStep) {
  std::vector<Group> with = MakeGroups(2, 5);
  std::vector<Group> without = with;
  for (size_t g = 0; g < with.size(); ++g) {
    with[g].rows[1].role = RowRole::kVote;
    with[g].rows[4].role = RowRole::kBaseline;
    without[g].rows.erase(without[g].rows.begin() + 4);
    without[g].rows.erase(without[g].rows.begin() + 1);
  }
  TrainerOptions options = TinyOptions();
  options.algorithm.agg.mode = Aggregation::kSeqMeanTokenSumConst;  // counts rows without tokens
  options.algorithm.agg.constant = 8;
  const Outcome a = TrainAlone(options, with);
  const Outcome b = TrainAlone(options, without);
  EXPECT_EQ(WeightDifference(*a.model, *b.model), 0);
  EXPECT_EQ(a.report.rows, 6);
  EXPECT_EQ(a.report.response_mean, b.report.response_mean);
}

TEST(Trainer, TheGreedyRowsRewardIsTheBaselineOfItsGroup) {
  std::vector<Group> groups = MakeGroups(2, 4);
  for (Group& group : groups) {
    group.rows[3].role = RowRole::kBaseline;
    group.rows[3].reward = 0.25;
  }
  AlgorithmSpec spec = TinyOptions().algorithm;
  spec.advantage.baseline = AdvantageBaseline::kGreedy;
  spec.advantage.scale = AdvantageScale::kNone;
  spec.advantage.level = AdvantageLevel::kReturns;
  COHORT_ASSERT_OK_AND_ASSIGN(TrainBatch batch, PrepareBatch(groups, spec, 0));
  COHORT_ASSERT_OK(AddAdvantages(spec, 0, &batch));
  ASSERT_EQ(batch.rows.size(), 6u);
  for (const TrainRow& row : batch.rows) {
    EXPECT_EQ(batch.advantage[static_cast<size_t>(row.begin)], row.reward - 0.25);
  }
  groups[1].rows[3].unscorable = true;
  COHORT_ASSERT_OK_AND_ASSIGN(batch, PrepareBatch(groups, spec, 0));
  EXPECT_TRUE(batch.rows[0].scorable);
  EXPECT_FALSE(batch.rows[3].scorable);
}

// S-GRPO: the tokens of the shared prefix are trained once per exit that contains them, so the
// step is the same as on rows that were written out in full.
TEST(Trainer, APrefixThatIsTrainedWithItsExitsIsLikeRowsWrittenOut) {
  std::vector<Group> groups = MakeGroups(2, 4);
  std::vector<Group> written = groups;
  for (size_t g = 0; g < groups.size(); ++g) {
    for (size_t r = 1; r < 4; ++r) {
      Row& row = groups[g].rows[r];
      const Row& trunk = groups[g].rows[0];
      row.mask[0] = 0;  // as text that was put in
      row.parent = 0;
      row.parent_tokens = static_cast<int32_t>(std::min<size_t>(r, trunk.tokens.size()));
      Row& full = written[g].rows[r];
      full = row;
      full.parent = -1;
      full.parent_tokens = 0;
      const auto prepend = [&](auto& to, const auto& from) {
        to.insert(to.begin(), from.begin(), from.begin() + row.parent_tokens);
      };
      prepend(full.tokens, trunk.tokens);
      prepend(full.logprobs, trunk.logprobs);
      prepend(full.mask, trunk.mask);
      prepend(full.versions, trunk.versions);
    }
  }
  TrainerOptions options = TinyOptions();
  options.algorithm.train_prefix = true;
  options.algorithm.agg.mode = Aggregation::kSeqMeanTokenMean;
  TrainerOptions repeated = options;
  repeated.share_prompts = false;
  const Outcome plain = TrainAlone(options, written);
  const Outcome shared = TrainAlone(options, groups);
  EXPECT_LT(WeightDifference(*shared.model, *plain.model), 1e-6);
  EXPECT_LT(WeightDifference(*TrainAlone(repeated, groups).model, *plain.model), 1e-6);
  EXPECT_LT(shared.report.trained_tokens, plain.report.trained_tokens);
  EXPECT_EQ(shared.report.response_mean, plain.report.response_mean);
  options.algorithm.train_prefix = false;
  EXPECT_GT(WeightDifference(*TrainAlone(options, groups).model, *plain.model), 1e-5);
}

TEST(Trainer, WhatIsNotFiniteStopsTheStepAndNamesTheRow) {
  auto model = TinyTrainModel(at::kDouble);
  const auto before = TinyTrainModel(at::kDouble);
  const auto local = MakeLocalCollective();
  Trainer trainer(TinyOptions(), model.get(), nullptr, local.get());
  std::vector<Group> groups = MakeGroups(2, 3);
  groups[1].rows[2].reward = std::nan("");
  const absl::Status bad_reward = trainer.Step(groups, 0).status();
  EXPECT_THAT(bad_reward,
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("non-finite reward"), HasSubstr("group 1 row 2"))));
  EXPECT_EQ(NonFiniteIn(bad_reward), "reward");
  EXPECT_EQ(NonFiniteIn(absl::InternalError("non-finite reward: only in words")), "");
  EXPECT_EQ(trainer.updates(), 0) << "the weights are whole";
  groups = MakeGroups(2, 3);
  groups[0].rows[1].logprobs[0] = std::numeric_limits<float>::infinity();
  EXPECT_THAT(trainer.Step(groups, 0),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("non-finite logprob"), HasSubstr("group 0 row 1"))));
  EXPECT_EQ(WeightDifference(*model, *before), 0);

  const c10::NoGradGuard no_grad;
  model->StorageParameters()[0].tensor.detach().fill_(std::nan(""));
  EXPECT_THAT(trainer.Step(MakeGroups(2, 3), 0),
              StatusIs(absl::StatusCode::kInternal,
                       AllOf(HasSubstr("non-finite logprob"), HasSubstr("group 0 row 0"))));
}

TEST(Trainer, BadGroupsAreRefused) {
  auto model = TinyTrainModel(at::kDouble);
  const auto local = MakeLocalCollective();
  Trainer trainer(TinyOptions(), model.get(), nullptr, local.get());
  EXPECT_THAT(trainer.Step({}, 0), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no")));
  std::vector<Group> groups = MakeGroups(2, 3);
  groups[1].rows[0].mask.clear();
  EXPECT_THAT(trainer.Step(groups, 0),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("group 1 row 0")));
  groups = MakeGroups(2, 3);
  groups[1].temperature = 0.5;
  EXPECT_THAT(trainer.Step(groups, 0),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("temperature")));
}

TEST(Trainer, AFailingCollectiveIsAnErrorOfTheStep) {
  auto model = TinyTrainModel(at::kDouble);
  class TwoRanks final : public Collective {
   public:
    int rank() const override { return 0; }
    int world_size() const override { return 2; }
    absl::Status AllReduceSum(at::Tensor&, absl::string_view) override { return absl::OkStatus(); }
    absl::Status Broadcast(at::Tensor&, int, absl::string_view) override {
      return absl::OkStatus();
    }
    absl::Status Barrier(absl::string_view) override { return absl::OkStatus(); }
    void Abort() override {}
  };
  for (int call = 0; call < 4; ++call) {
    FaultyCollective faulty(std::make_unique<TwoRanks>(), {call, CollectiveFault::Kind::kFail});
    Trainer trainer(TinyOptions(), model.get(), nullptr, &faulty);
    EXPECT_THAT(trainer.Step(MakeGroups(2, 3), 0),
                StatusIs(absl::StatusCode::kUnavailable, HasSubstr("rank 0")))
        << call;
  }
}

}  // namespace
}  // namespace cohort

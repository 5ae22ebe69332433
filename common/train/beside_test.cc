// Models that are trained beside the policy: PPO's critic and PRIME's process model.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "common/base/file.h"
#include "common/rl/advantage.h"
#include "common/train/checkpoint.h"
#include "common/train/critic.h"
#include "common/train/process_model.h"
#include "common/train/train_runs.h"

namespace cohort {
namespace {

using testing::HasSubstr;

TrainerOptions PpoOptions() {
  TrainerOptions options = TinyOptions();
  AdvantageSpec& advantage = options.algorithm.advantage;
  advantage.baseline = AdvantageBaseline::kCriticGae;
  advantage.level = AdvantageLevel::kReturns;
  advantage.lam = 0.95;
  advantage.scale = AdvantageScale::kTokenWhiten;
  advantage.whiten = WhitenVariance::kBessel;
  advantage.whiten_floor = VarianceFloor::kAdd;
  options.critic.update.lr.lr = 1e-2;
  options.critic.update.adamw.eps = 1e-3;
  options.critic.mini_batches = 2;
  return options;
}

TrainerOptions PrimeOptions() {
  TrainerOptions options = TinyOptions();
  AdvantageSpec& advantage = options.algorithm.advantage;
  advantage.baseline = AdvantageBaseline::kPrimeLoo;
  advantage.level = AdvantageLevel::kReturns;
  advantage.scale = AdvantageScale::kTokenWhiten;
  options.process.update.lr.lr = 1e-2;
  options.process.update.adamw.eps = 1e-3;
  options.process.update.max_grad_norm = 10;
  return options;
}

TrainBatch PreparedBatch(const TrainerOptions& options, const std::vector<Group>& groups) {
  auto batch = PrepareBatch(groups, options.algorithm, 0);
  TORCH_CHECK(batch.ok(), batch.status().ToString());
  return *std::move(batch);
}

PassOptions SmallPasses() {
  PassOptions pass;
  pass.packing.token_budget = 24;
  return pass;
}

// The critic's values by one plain forward pass per row.
std::vector<double> PlainValues(const CausalLm& critic, const TrainBatch& batch) {
  const c10::NoGradGuard no_grad;
  std::vector<double> out;
  for (const TrainRow& row : batch.rows) {
    const Group& group = batch.groups[static_cast<size_t>(row.group)];
    std::vector<int64_t> tokens(group.prompt.begin(), group.prompt.end());
    const Row& source = batch.SourceRow(row);
    tokens.insert(tokens.end(), source.tokens.begin(), source.tokens.end());
    const auto length = static_cast<int64_t>(tokens.size());
    PackedAttention attention({{0, length, -1, 0}});
    const at::Tensor values = critic.Logits(
        critic.Forward(at::tensor(tokens, at::kLong), at::arange(length, at::kLong), attention));
    for (size_t t = 0; t < source.tokens.size(); ++t) {
      const auto before = static_cast<int64_t>(group.prompt.size() + t) - 1;
      out.push_back(values[before][0].item<double>());
    }
  }
  return out;
}

TEST(Critic, ScoresTheStateBeforeEveryToken) {
  const std::vector<Group> groups = MakeGroups(3, 4);
  TrainBatch batch = PreparedBatch(PpoOptions(), groups);
  const auto model = TinyCritic(at::kDouble);
  const auto local = MakeLocalCollective();
  const Critic critic(PpoOptions().critic, model.get(), local.get());
  COHORT_ASSERT_OK(critic.Score(SmallPasses(), &batch));
  const std::vector<double> expected = PlainValues(*model, batch);
  ASSERT_EQ(batch.value.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(batch.value[i], expected[i], 1e-9);
}

TEST(Critic, ItsGradientIsTheFiniteDifferenceOfTheSquaredError) {
  const std::vector<Group> groups = MakeGroups(3, 4);
  TrainerOptions options = PpoOptions();
  options.critic.mini_batches = 1;
  options.critic.update.lr.lr = 0;
  options.critic.update.adamw.weight_decay = 0;
  TrainBatch batch = PreparedBatch(options, groups);
  const auto model = TinyCritic(at::kDouble);
  const auto local = MakeLocalCollective();
  Critic critic(options.critic, model.get(), local.get());
  COHORT_ASSERT_OK(critic.Score(SmallPasses(), &batch));
  COHORT_ASSERT_OK(AddAdvantages(options.algorithm, 0, &batch));
  const auto loss = [&] {
    const std::vector<double> value = PlainValues(*model, batch);
    double sum = 0;
    for (size_t i = 0; i < value.size(); ++i) {
      const double error = value[i] - batch.returns[i];
      sum += error * error / 2 / static_cast<double>(value.size());
    }
    return sum;
  };
  const auto report = critic.Train(SmallPasses(), batch);
  COHORT_ASSERT_OK(report);
  EXPECT_NEAR(report->loss, loss(), 1e-9);
  EXPECT_EQ(report->updates, 1);
  ExpectFiniteDifferences(*model, critic.trained().gradients().tensors(), loss, "critic");
}

TEST(Critic, LearnsTheReturnsOfABatch) {
  const std::vector<Group> groups = MakeGroups(4, 4);
  TrainerOptions options = PpoOptions();
  options.algorithm.advantage.lam = 1;  // returns are rewards, whatever the values say
  options.lr.lr = 0;
  const Outcome first = TrainAlone(options, groups, at::kFloat, 1);
  const Outcome later = TrainAlone(options, groups, at::kFloat, 25);
  EXPECT_LT(later.report.critic->loss, first.report.critic->loss / 4);
  EXPECT_GT(later.report.critic->explained_variance, 0.7);
  EXPECT_NEAR(later.report.critic->return_mean, later.report.critic->value_mean, 0.1);
}

TEST(Critic, WarmsUpWhileThePolicyStays) {
  TrainerOptions options = PpoOptions();
  options.critic.warmup_batches = 2;
  const std::vector<Group> groups = MakeGroups(4, 4);
  const Outcome warm = TrainAlone(options, groups, at::kDouble, 2);
  EXPECT_EQ(WeightDifference(*warm.model, *TinyTrainModel(at::kDouble)), 0);
  EXPECT_GT(WeightDifference(*warm.critic, *TinyCritic(at::kDouble)), 0);
  EXPECT_EQ(warm.report.updates, 0);
  const Outcome after = TrainAlone(options, groups, at::kDouble, 3);
  EXPECT_GT(WeightDifference(*after.model, *TinyTrainModel(at::kDouble)), 0);
}

TEST(Critic, AnySplitAndAnyRanksGiveTheSameModels) {
  const std::vector<Group> groups = MakeGroups(4, 4);
  const TrainerOptions options = PpoOptions();
  const Outcome whole = TrainAlone(options, groups);
  EXPECT_EQ(whole.report.critic->updates, 2);
  TrainerOptions cut = options;
  cut.tokens_per_micro_batch = 16;
  cut.share_prompts = false;
  for (const Outcome& other : {TrainAlone(cut, groups), TrainTogether(2, options, groups)}) {
    EXPECT_LT(WeightDifference(*other.model, *whole.model), 1e-6);
    EXPECT_LT(WeightDifference(*other.critic, *whole.critic), 1e-6);
    EXPECT_NEAR(other.report.critic->loss, whole.report.critic->loss, 1e-9);
    EXPECT_NEAR(other.report.critic->explained_variance, whole.report.critic->explained_variance,
                1e-9);
  }
}

TEST(Critic, IsAskedForWhenItIsMissing) {
  auto model = TinyTrainModel(at::kDouble);
  const auto local = MakeLocalCollective();
  Trainer trainer(PpoOptions(), model.get(), nullptr, local.get());
  EXPECT_THAT(trainer.Step(MakeGroups(2, 3), 0),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("critic_gae")));
}

// ---- PRIME ----

double PlainProcessLoss(const CausalLm& model, const CausalLm& reference, const TrainBatch& batch,
                        double beta) {
  std::vector<std::vector<uint8_t>> masks;
  std::vector<std::vector<double>> process;
  std::vector<double> accuracy;
  for (const TrainRow& row : batch.rows) {
    const Group& group = batch.groups[static_cast<size_t>(row.group)];
    const Row& source = batch.SourceRow(row);
    process.push_back(NaiveLogprobs(model, group, source));
    const std::vector<double> start = NaiveLogprobs(reference, group, source);
    for (size_t t = 0; t < start.size(); ++t) process.back()[t] -= start[t];
    masks.emplace_back(source.mask.begin(), source.mask.end());
    accuracy.push_back(source.reward);
  }
  return ProcessModelLoss(masks, process, accuracy, beta);
}

TEST(ProcessModel, ItsGradientIsTheFiniteDifferenceOfTheCrossEntropy) {
  const std::vector<Group> groups = MakeGroups(3, 4);
  TrainerOptions options = PrimeOptions();
  options.process.update.lr.lr = 0;
  options.process.update.adamw.weight_decay = 0;
  options.process.beta = 0.5;
  TrainBatch batch = PreparedBatch(options, groups);
  const auto model = TinyTrainModel(at::kDouble);
  const auto reference = TinyTrainModel(at::kDouble, false);
  {
    const c10::NoGradGuard no_grad;
    model->StorageParameters()[1].tensor.detach().mul_(1.3);  // away from its start
  }
  const auto local = MakeLocalCollective();
  ProcessModel process(options.process, model.get(), reference.get(), local.get());
  const auto report = process.Judge(SmallPasses(), {}, &batch);
  COHORT_ASSERT_OK(report);
  const auto loss = [&] { return PlainProcessLoss(*model, *reference, batch, 0.5); };
  EXPECT_NEAR(report->loss, loss(), 1e-9);
  ExpectFiniteDifferences(*model, process.trained().gradients().tensors(), loss, "process model");
}

TEST(ProcessModel, RewardsAreThoseBeforeOrAfterTheUpdate) {
  const std::vector<Group> groups = MakeGroups(3, 4);
  const auto reference = TinyTrainModel(at::kDouble, false);
  const auto local = MakeLocalCollective();
  for (bool update_first : {false, true}) {
    TrainerOptions options = PrimeOptions();
    options.process.update_first = update_first;
    options.process.batch_norm = false;
    TrainBatch batch = PreparedBatch(options, groups);
    const auto model = TinyTrainModel(at::kDouble);
    ProcessModel process(options.process, model.get(), reference.get(), local.get());
    COHORT_ASSERT_OK(process.Judge(SmallPasses(), {}, &batch));
    const TrainRow& row = batch.rows[1];
    // At its start the model is its reference: no reward; afterwards the update's.
    const std::vector<double> now = NaiveLogprobs(*model, groups[0], groups[0].rows[1]);
    const std::vector<double> start = NaiveLogprobs(*reference, groups[0], groups[0].rows[1]);
    for (size_t t = 0; t < now.size(); ++t) {
      const double expected = update_first ? now[t] - start[t] : 0;
      EXPECT_NEAR(batch.process[static_cast<size_t>(row.begin) + t], expected, 1e-9);
    }
    EXPECT_NE(now[0], start[0]);
  }
}

TEST(ProcessModel, LearnsWhichRowsAreRightAndTellsThePolicy) {
  const std::vector<Group> groups = MakeGroups(4, 4);
  TrainerOptions options = PrimeOptions();
  options.lr.lr = 0;
  const Outcome first = TrainAlone(options, groups, at::kFloat, 1);
  const Outcome later = TrainAlone(options, groups, at::kFloat, 30);
  EXPECT_NEAR(first.report.process->loss, std::log(2.0), 1e-4);
  EXPECT_LT(later.report.process->loss, 0.6);
  EXPECT_GT(later.report.process->accuracy, 0.9);
}

TEST(ProcessModel, AnySplitAndAnyRanksGiveTheSameModels) {
  const std::vector<Group> groups = MakeGroups(4, 4);
  for (bool update_first : {false, true}) {
    TrainerOptions options = PrimeOptions();
    options.process.update_first = update_first;
    const Outcome whole = TrainAlone(options, groups);
    TrainerOptions cut = options;
    cut.tokens_per_micro_batch = 16;
    for (const Outcome& other : {TrainAlone(cut, groups), TrainTogether(2, options, groups)}) {
      EXPECT_LT(WeightDifference(*other.model, *whole.model), 1e-6);
      EXPECT_LT(WeightDifference(*other.process, *whole.process), 1e-6);
      EXPECT_NEAR(other.report.process->loss, whole.report.process->loss, 1e-9);
    }
  }
}

// ---- both ----

TEST(BesideModels, AStepThatIsAbandonedLeavesThemAsTheyWere) {
  for (TrainerOptions options : {PpoOptions(), PrimeOptions()}) {
    options.cancelled = [] { return true; };
    auto model = TinyTrainModel(at::kDouble);
    auto critic = TinyCritic(at::kDouble);
    auto process = TinyTrainModel(at::kDouble);
    const auto reference = TinyTrainModel(at::kDouble, false);
    const auto local = MakeLocalCollective();
    const bool ppo = options.algorithm.advantage.baseline == AdvantageBaseline::kCriticGae;
    BesideModels beside{reference.get(), ppo ? critic.get() : nullptr,
                        ppo ? nullptr : process.get(), reference.get()};
    Trainer trainer(options, model.get(), beside, local.get());
    EXPECT_THAT(trainer.Step(MakeGroups(2, 4), 0),
                StatusIs(absl::StatusCode::kCancelled, HasSubstr("abandoned")));
    EXPECT_EQ(WeightDifference(*critic, *TinyCritic(at::kDouble)), 0);
    EXPECT_EQ(WeightDifference(*process, *reference), 0);
  }
}

struct Learner {
  explicit Learner(const TrainerOptions& options)
      : model(TinyTrainModel(at::kBFloat16)),
        reference(TinyTrainModel(at::kBFloat16, false)),
        collective(MakeLocalCollective()) {
    const bool ppo = options.algorithm.advantage.baseline == AdvantageBaseline::kCriticGae;
    other = ppo ? TinyCritic(at::kBFloat16) : TinyTrainModel(at::kBFloat16);
    BesideModels beside;
    (ppo ? beside.critic : beside.process) = other.get();
    beside.process_reference = reference.get();
    trainer = std::make_unique<Trainer>(options, model.get(), beside, collective.get());
  }

  void Train(int steps) {
    for (int i = 0; i < steps; ++i) {
      const uint64_t seed = 100 + static_cast<uint64_t>(trainer->batches());
      COHORT_ASSERT_OK(trainer->Step(MakeGroups(2, 4, 31, seed), trainer->batches()));
    }
  }

  std::unique_ptr<CausalLm> model, other, reference;
  std::unique_ptr<Collective> collective;
  std::unique_ptr<Trainer> trainer;
};

TEST(BesideModels, CheckpointsCarryThem) {
  for (const TrainerOptions& options : {PpoOptions(), PrimeOptions()}) {
    TemporaryFolder folder;
    Learner whole(options);
    whole.Train(2);
    CheckpointStore store(folder.path(), 2);
    COHORT_ASSERT_OK(store.Open());
    CheckpointState state;
    state.step = 2;
    state.optimizer_steps = whole.trainer->optimizer().steps();
    COHORT_ASSERT_OK(
        store.Save(*whole.model, whole.trainer->optimizer(), state, whole.trainer->Beside()));
    whole.Train(2);

    Learner resumed(options);
    COHORT_ASSERT_OK(LoadCheckpoint(store.PathOf(2), resumed.model.get(),
                                    &resumed.trainer->optimizer(), resumed.trainer->Beside()));
    resumed.trainer->Restore(2, 0);
    resumed.Train(2);
    EXPECT_EQ(WeightDifference(*resumed.model, *whole.model), 0);
    EXPECT_EQ(WeightDifference(*resumed.other, *whole.other), 0);
  }
}

TEST(BesideModels, ACheckpointWithoutThemIsRefused) {
  TemporaryFolder folder;
  Learner learner(PpoOptions());
  CheckpointStore store(folder.path(), 2);
  COHORT_ASSERT_OK(store.Open());
  COHORT_ASSERT_OK(store.Save(*learner.model, learner.trainer->optimizer(), {}));
  EXPECT_THAT(LoadCheckpoint(store.PathOf(0), learner.model.get(), &learner.trainer->optimizer(),
                             learner.trainer->Beside()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("critic")));
}

TEST(BesideModels, ACriticMadeFromAPolicySavesAsAClassifierAndLoadsAgain) {
  TemporaryFolder folder;
  const auto policy = TinyTrainModel(at::kFloat);
  COHORT_ASSERT_OK(policy->Save(folder.path()));
  CausalLmOptions options;
  options.head = ModelHead::kScore;
  EXPECT_THAT(CausalLm::Load(folder.path(), options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("ForSequenceClassification")));
  options.head = ModelHead::kNewScore;
  COHORT_ASSERT_OK_AND_ASSIGN(const auto critic, CausalLm::Load(folder.path(), options));
  EXPECT_EQ(critic->head_weight().sizes(), (std::vector<int64_t>{1, 16}));
  EXPECT_EQ(critic->head_weight().abs().sum().item<float>(), 0);
  critic->head_weight().detach().fill_(0.25);
  TemporaryFolder saved;
  COHORT_ASSERT_OK(critic->Save(saved.path()));
  options.head = ModelHead::kScore;
  COHORT_ASSERT_OK_AND_ASSIGN(const auto again, CausalLm::Load(saved.path(), options));
  EXPECT_EQ(WeightDifference(*again, *critic), 0);
  options.head = ModelHead::kLanguage;
  EXPECT_THAT(CausalLm::Load(saved.path(), options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("sequence classifier")));
}

}  // namespace
}  // namespace cohort

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "common/base/exit_code.h"
#include "common/base/file.h"
#include "common/base/rng.h"
#include "common/base/status_matchers.h"
#include "common/rl/signals.h"
#include "common/telemetry/metric_names.h"
#include "services/learner/evaluation.h"
#include "services/learner/prompt_feed.h"
#include "services/learner/rank_channel.h"
#include "services/learner/reporting.h"
#include "services/learner/serving.h"
#include "services/learner/training_config.h"

namespace cohort {
namespace {

using testing::HasSubstr;

Group GroupOf(const std::vector<float>& rewards) {
  Group group;
  group.id = 7;
  group.prompt = {1, 2, 3};
  group.reward_names = {"rule_math"};
  for (float reward : rewards) {
    Row row;
    row.tokens = {4, 5};
    row.logprobs = {-1, -2};
    row.mask = {1, 1};
    row.versions = {0, 0};
    row.rewards = {reward};
    row.reward = static_cast<double>(reward);
    group.rows.push_back(row);
  }
  return group;
}

v1::RunConfig Config(const std::string& yaml) {
  auto config = ParseConfig(yaml, "test");
  EXPECT_THAT(config, IsOk());
  ResolveConfig("test", &*config);
  return *config;
}

TEST(RankChannel, ACommandSurvivesTheWire) {
  const std::vector<Group> groups = {GroupOf({1, 0}), GroupOf({0})};
  const std::string bytes = EncodeCommand(RankCommand::Kind::kTrain, 12, groups);
  COHORT_ASSERT_OK_AND_ASSIGN(const RankCommand command, DecodeCommand(bytes));
  EXPECT_EQ(command.kind, RankCommand::Kind::kTrain);
  EXPECT_EQ(command.version, 12);
  ASSERT_EQ(command.groups.size(), 2U);
  EXPECT_EQ(command.groups[0].rows[1].tokens, groups[0].rows[1].tokens);
}

TEST(RankChannel, RanksCanBeAskedToWait) {
  COHORT_ASSERT_OK_AND_ASSIGN(const RankCommand command,
                              DecodeCommand(EncodeCommand(RankCommand::Kind::kWait, 3, {})));
  EXPECT_EQ(command.kind, RankCommand::Kind::kWait);
}

TEST(RankChannel, TheOtherRanksEndAsRankZeroDoes) {
  EXPECT_EQ(ExitCodeOf(EndAsRankZero(kExitDone)), kExitDone);
  EXPECT_EQ(ExitCodeOf(EndAsRankZero(kExitFailed)), kExitFailed);
  EXPECT_EQ(ExitCodeOf(EndAsRankZero(kExitBadSetup)), kExitBadSetup);
  EXPECT_EQ(ExitCodeOf(EndAsRankZero(143)), 143);
}

TEST(RankChannel, BytesThatAreNoCommandAreRefused) {
  const std::string bytes = EncodeCommand(RankCommand::Kind::kTrain, 1, {{GroupOf({1})}});
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(DecodeCommand(absl::string_view(bytes).substr(0, size)).ok()) << size;
  }
  EXPECT_THAT(DecodeCommand(bytes + "x"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("follow its end")));
  CounterRng rng(1);
  for (int round = 0; round < 500; ++round) {
    std::string mutated = bytes;
    mutated[rng.Below(mutated.size())] = static_cast<char>(rng.Below(256));
    (void)DecodeCommand(mutated);  // any status, no crash
  }
}

TEST(GroupFilter, JudgesAccuracyNotTheShapedReward) {
  AlgorithmSpec spec;
  const GroupFilter keep_all = MakeGroupFilter(spec);
  EXPECT_EQ(keep_all(GroupOf({1, 1})), std::nullopt);
  spec.prompt_filter.kind = PromptFilter::kDynamic;
  const GroupFilter dynamic = MakeGroupFilter(spec);
  EXPECT_EQ(dynamic(GroupOf({1, 1})), OrdinalEnd::kAllRight);
  EXPECT_EQ(dynamic(GroupOf({0, 0})), OrdinalEnd::kAllWrong);
  Group mixed = GroupOf({1, 0});
  for (Row& row : mixed.rows) row.reward = -0.5;  // a length penalty, say
  EXPECT_EQ(dynamic(mixed), std::nullopt);
}

TEST(GroupFilter, AGroupWithoutAVerdictIsUnscorable) {
  Group group = GroupOf({1, 0});
  for (Row& row : group.rows) row.unscorable = true;
  EXPECT_EQ(MakeGroupFilter(AlgorithmSpec())(group), OrdinalEnd::kUnscorable);
  AlgorithmSpec spec;
  spec.row_filter.kind = RowFilter::kDropTruncated;
  group = GroupOf({1, 0});
  for (Row& row : group.rows) row.finish = FinishReason::kLength;
  EXPECT_EQ(MakeGroupFilter(spec)(group), OrdinalEnd::kNoRows);
}

TEST(GroupFilter, AGateLooksAtTheAnswersClusters) {
  AlgorithmSpec spec;
  spec.gate.kind = Gate::kFewerClustersThanN;
  Group group = GroupOf({1, 0, 1});
  EXPECT_EQ(MakeGroupFilter(spec)(group), OrdinalEnd::kGate);  // nobody clustered them
  group.signals = {{kSemanticClusters, 3}, {kSemanticEntropy, 1.0986}};
  EXPECT_EQ(MakeGroupFilter(spec)(group), OrdinalEnd::kGate);
  group.signals = {{kSemanticClusters, 2}, {kSemanticEntropy, 0.6365}};
  EXPECT_EQ(MakeGroupFilter(spec)(group), std::nullopt);
  group.rows[2].role = RowRole::kVote;
  EXPECT_EQ(MakeGroupFilter(spec)(group), OrdinalEnd::kGate);
  spec.gate = {Gate::kEntropyBand, 0.1, 0.6};
  EXPECT_EQ(MakeGroupFilter(spec)(group), OrdinalEnd::kGate);
  spec.gate.entropy_high = 0.7;
  EXPECT_EQ(MakeGroupFilter(spec)(group), std::nullopt);
}

TEST(GroupFilter, WithoutAVerdictOnTheGreedyRowAGroupIsUnscorable) {
  AlgorithmSpec spec;
  spec.advantage.baseline = AdvantageBaseline::kGreedy;
  Group group = GroupOf({1, 0, 1});
  EXPECT_EQ(MakeGroupFilter(spec)(group), OrdinalEnd::kUnscorable);
  group.rows[2].role = RowRole::kBaseline;
  EXPECT_EQ(MakeGroupFilter(spec)(group), std::nullopt);
  group.rows[2].unscorable = true;
  EXPECT_EQ(MakeGroupFilter(spec)(group), OrdinalEnd::kUnscorable);
}

TEST(Evaluation, RowsWithoutAVerdictDoNotCount) {
  std::vector<PromptMaker::EvalSet> sets(2);
  sets[0].name = "a";
  sets[0].items.resize(2);
  sets[1].name = "b";
  sets[1].items.resize(1);
  std::vector<Group> groups = {GroupOf({1, 0}), GroupOf({1, 1}), Group()};
  groups[0].rows[1].unscorable = true;
  const std::vector<EvalResult> results = ScoreEvaluation(sets, groups, {});
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].accuracy, 1);
  EXPECT_EQ(results[0].rows, 3);
  EXPECT_EQ(results[0].unscorable, 1);
  EXPECT_EQ(results[1].rows, 0);
  EXPECT_EQ(results[1].failed, 1);
}

TEST(TrainingConfig, FollowsTheConfiguration) {
  const v1::RunConfig config = Config(
      "run: {steps: 10}\nmodel: {path: m}\ndata: {task: addition-1}\n"
      "rollout: {max_staleness: 1, group_size: 4}\n"
      "learner: {prompts_per_step: 8, mini_batches: 2, epochs: 2}\n"
      "optimizer: {lr: 1e-5, schedule: linear}\n"
      "algorithm: {filter: {prompts: {dynamic: {max_rounds: 3}}}}\n");
  COHORT_ASSERT_OK_AND_ASSIGN(const TrainerOptions options, MakeTrainerOptions(config));
  EXPECT_EQ(options.mini_batches, 2);
  EXPECT_EQ(options.lr.total_steps, 40);
  EXPECT_EQ(options.lr.schedule, LrSchedule::kLinear);
  const Dispatcher::Options dispatch = MakeDispatcherOptions(config);
  EXPECT_EQ(dispatch.groups_per_step, 8);
  EXPECT_EQ(dispatch.max_staleness, 1);
  EXPECT_EQ(dispatch.last_step, 10);
  EXPECT_EQ(dispatch.max_prompts_per_batch, 24);
}

TEST(TrainingConfig, EveryRunBoundsThePromptsOfABatch) {
  const v1::RunConfig config =
      Config("model: {path: m}\ndata: {task: addition-1}\nlearner: {prompts_per_step: 8}\n");
  EXPECT_EQ(MakeDispatcherOptions(config).max_prompts_per_batch, 80);
}

TEST(TrainingConfig, NewTokensThatLeaveNoRoomForAPromptAreRefused) {
  const auto check = [](const std::string& extra) {
    return CheckContext(Config("model: {path: m}\ndata: {task: addition-1}\n" + extra), 512);
  };
  COHORT_EXPECT_OK(check("rollout: {max_new_tokens: 511}\n"));
  EXPECT_THAT(check("rollout: {max_new_tokens: 512}\n"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       testing::AllOf(HasSubstr("rollout.max_new_tokens: 512 new tokens leave no "
                                                "room for a prompt in a context of 512"),
                                      HasSubstr("set it below 512"))));
  EXPECT_THAT(check("rollout: {max_new_tokens: 8}\neval: {max_new_tokens: 600}\n"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("eval.max_new_tokens: 600")));
  COHORT_EXPECT_OK(
      check("rollout: {max_new_tokens: 8}\neval: {max_new_tokens: 600, samples: 0}\n"));
}

TEST(TrainingConfig, BoundsTheSearchForPrompts) {
  const auto options = [](const std::string& filter) {
    return MakeDispatcherOptions(
        Config(absl::StrCat("model: {path: m}\ndata: {task: addition-1}\n"
                            "learner: {prompts_per_step: 10}\nalgorithm: {filter: {",
                            filter, "}}\n")));
  };
  EXPECT_EQ(options("").max_prompts_per_batch, 100);
  EXPECT_EQ(options("gate: fewer_clusters_than_n").max_prompts_per_batch, 100);
  EXPECT_EQ(options("prompts: {band: {max_rounds: 2}}").limit_field,
            "algorithm.filter.prompts.band.max_rounds");
  const Dispatcher::Options min_valid = options("prompts: {min_valid: {frac: 0.6}}");
  EXPECT_EQ(min_valid.max_prompts_per_batch, 200);
  EXPECT_EQ(min_valid.max_degenerate, 4);
  EXPECT_EQ(min_valid.degenerate(GroupOf({1, 1})), OrdinalEnd::kAllRight);
  EXPECT_EQ(min_valid.degenerate(GroupOf({0, 0})), OrdinalEnd::kAllWrong);
  EXPECT_EQ(min_valid.degenerate(GroupOf({1, 0})), std::nullopt);
}

TEST(TrainingConfig, ALengthLimitHoldsFromItsStepOn) {
  const v1::RunConfig config = Config(
      "model: {path: m}\ndata: {task: addition-1}\n"
      "rollout: {max_new_tokens: 40, length_schedule: [{from_step: 3, max_new_tokens: 30}, "
      "{from_step: 5, max_new_tokens: 20}]}\n");
  std::vector<int32_t> limits;
  for (int64_t step = 0; step < 6; ++step) {
    limits.push_back(MakeDispatcherOptions(config).max_new_tokens(step));
  }
  EXPECT_THAT(limits, testing::ElementsAre(40, 40, 30, 30, 20, 20));
}

TEST(GroupOutcome, IsOfTheTrainedRowsThatHaveAVerdict) {
  Group group;
  group.reward_names = {"rule_last_integer"};
  for (const RowRole role :
       {RowRole::kTrain, RowRole::kTrain, RowRole::kTrain, RowRole::kVote, RowRole::kBaseline}) {
    Row row;
    row.role = role;
    row.rewards = {role == RowRole::kTrain ? 1.0f : 0.0f};
    group.rows.push_back(row);
  }
  group.rows[1].rewards = {0};
  group.rows[2].unscorable = true;
  const GroupOutcome outcome = OutcomeOf(group, RewardScaleSpec());
  EXPECT_EQ(outcome.rows, 2);
  EXPECT_EQ(outcome.accuracy, 0.5);
  EXPECT_EQ(OutcomeOf(Group(), RewardScaleSpec()).rows, 0);
  // A vote is 0 or 1 whatever the scale of rules is.
  group.reward_names = {"majority_online"};
  EXPECT_EQ(OutcomeOf(group, {.correct = 1, .wrong = -1, .unparsable = -1}).accuracy, 0.5);
  group.reward_names = {"rule_dapo"};
  EXPECT_EQ(OutcomeOf(group, {.correct = 1, .wrong = -1, .unparsable = -1}).accuracy, 0.75);
}

TEST(RunTotals, SurviveACheckpoint) {
  RunTotals totals;
  totals.train_seconds = 1.5;
  totals.has_before = true;
  totals.heldout_before = 0.25;
  totals.reward_first = -1;
  const RunTotals read = RunTotals::FromJson(totals.ToJson());
  EXPECT_EQ(read.train_seconds, 1.5);
  EXPECT_TRUE(read.has_before);
  EXPECT_FALSE(read.has_after);
  EXPECT_EQ(read.heldout_before, 0.25);
  EXPECT_EQ(read.reward_first, -1);
  EXPECT_EQ(RunTotals::FromJson("nonsense").train_seconds, 0);
}

// ---- ledgers, workers, throughput ----

TEST(Ledgers, WhatStatusShowsBalancesWhileAStepHasItsGroups) {
  LedgerCounts counts;
  counts.dispatched = 20;
  counts.ended[static_cast<size_t>(OrdinalEnd::kTrained)] = 8;
  counts.ended[static_cast<size_t>(OrdinalEnd::kAllWrong)] = 1;
  counts.in_flight = 5;
  counts.buffered = 2;
  counts.training = 4;
  v1::StatusReply reply;
  FillLedgers(counts, &reply);
  int64_t shown = 0;
  for (const auto& [name, count] : reply.ordinals()) shown += name == "dispatched" ? 0 : count;
  EXPECT_EQ(shown, reply.ordinals().at("dispatched"));
  EXPECT_EQ(reply.ordinals().at("training"), 4);
  EXPECT_EQ(reply.ordinals().at("imbalance"), 0);
  ++counts.dispatched;  // one is lost: the difference is shown, and the sum still holds
  FillLedgers(counts, &reply);
  EXPECT_EQ(reply.ordinals().at("imbalance"), 1);
}

class PromptMakerTest : public testing::Test {
 protected:
  void SetUp() override {
    const char* source = std::getenv("COHORT_SOURCE_DIR");
    const std::string make =
        absl::StrCat("python3 ", source == nullptr ? "." : source, "/tools/make_tiny_model --out ",
                     folder_.path(), "/m", " --hidden 16 --layers 1 > /dev/null");
    if (std::system(make.c_str()) != 0) GTEST_SKIP() << "cannot run: " << make;
    COHORT_ASSERT_OK_AND_ASSIGN(tokenizer_, Tokenizer::Load(folder_.path() + "/m"));
  }

  absl::StatusOr<std::unique_ptr<PromptMaker>> Make(const std::string& extra) {
    config_ = Config(absl::StrCat("model: {path: m}\n", extra));
    return PromptMaker::Create(config_, tokenizer_.get(), /*max_context=*/512);
  }

  TemporaryFolder folder_;
  v1::RunConfig config_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(PromptMakerTest, TheSameOrdinalIsTheSamePrompt) {
  COHORT_ASSERT_OK_AND_ASSIGN(
      const auto maker, Make("data: {task: addition-1}\nrollout: {group_size: 3, temperature: 0.7, "
                             "max_new_tokens: 9}\neval: {samples: 2}\n"));
  COHORT_ASSERT_OK_AND_ASSIGN(const PromptItem item, maker->Train(5));
  COHORT_ASSERT_OK_AND_ASSIGN(const PromptItem again, maker->Train(5));
  EXPECT_EQ(item.prompt_ids, again.prompt_ids);
  ASSERT_EQ(item.plans.size(), 3U);
  EXPECT_FLOAT_EQ(item.plans[2].temperature, 0.7F);
  EXPECT_EQ(item.plans[0].max_new_tokens, 9);
  ASSERT_EQ(maker->evaluation().size(), 1U);
  EXPECT_EQ(maker->evaluation()[0].name, "addition-1");
  EXPECT_EQ(maker->evaluation()[0].items.size(), 20U);
  EXPECT_EQ(maker->evaluation()[0].items[0].plans.size(), 2U);
}

TEST_F(PromptMakerTest, ALongPromptIsOutOfRangeAndSaysByHowMuch) {
  COHORT_ASSERT_OK_AND_ASSIGN(
      const auto maker,
      Make("data: {task: addition-1, max_prompt_tokens: 5}\neval: {samples: 2}\n"));
  EXPECT_THAT(maker->Train(0), StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("at most 5 fit")));
  EXPECT_EQ(maker->evaluation()[0].too_long, 20);
  EXPECT_TRUE(maker->evaluation()[0].items.empty());
}

TEST_F(PromptMakerTest, EvaluationLeavesRoomForItsOwnNewTokens) {
  COHORT_ASSERT_OK_AND_ASSIGN(const auto maker,
                              Make("data: {task: addition-1}\nrollout: {max_new_tokens: 8}\n"
                                   "eval: {samples: 2, max_new_tokens: 510}\n"));
  COHORT_EXPECT_OK(maker->Train(0));
  EXPECT_EQ(maker->max_eval_prompt_tokens(), 2);
  EXPECT_EQ(maker->evaluation()[0].too_long, 20);
}

TEST_F(PromptMakerTest, AMissingFileIsOneClearLine) {
  EXPECT_THAT(Make("data: {path: no/such/file.jsonl}\n"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no/such/file.jsonl")));
}

}  // namespace
}  // namespace cohort

#include "common/train/packing.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>

#include "common/base/status_matchers.h"
#include "common/objective/token_scores.h"
#include "common/tensor/host_values.h"
#include "common/train/flat_tokens.h"
#include "common/train/train_testing.h"

namespace cohort {
namespace {

struct Prepared {
  std::vector<Group> groups;
  TrainBatch batch;
};

std::unique_ptr<Prepared> Prepare(std::vector<Group> groups) {
  auto out = std::make_unique<Prepared>();
  out->groups = std::move(groups);
  auto batch = PrepareBatch(out->groups, AlgorithmSpec(), 0);
  EXPECT_THAT(batch, IsOk());
  out->batch = *std::move(batch);
  return out;
}

std::vector<std::vector<MicroBatch>> Plan(const TrainBatch& batch, const PackingOptions& options) {
  const std::vector<bool> all(batch.rows.size(), true);
  return PlanMicroBatches(batch, 0, batch.num_groups(), all, options);
}

TEST(PlanMicroBatches, CoversEveryRowOnceWithinTheBudget) {
  const auto prepared = Prepare(MakeGroups(6, 5));
  for (int ranks : {1, 2, 4}) {
    for (int64_t budget : {20, 60, 4096}) {
      PackingOptions options;
      options.ranks = ranks;
      options.token_budget = budget;
      std::multiset<int64_t> rows;
      const auto plan = Plan(prepared->batch, options);
      for (const auto& rank : plan) {
        for (const MicroBatch& micro : rank) {
          const bool single = micro.pieces.size() == 1 && micro.pieces[0].rows.size() == 1;
          EXPECT_TRUE(micro.tokens <= budget || single) << micro.tokens;
          const PackedMicroBatch packed = PackMicroBatch(prepared->batch, micro, true);
          EXPECT_EQ(packed.tokens.numel(), micro.tokens);
          for (const Piece& piece : micro.pieces) {
            rows.insert(piece.rows.begin(), piece.rows.end());
          }
        }
      }
      EXPECT_EQ(rows.size(), prepared->batch.rows.size());
      EXPECT_EQ(std::set<int64_t>(rows.begin(), rows.end()).size(), rows.size());
    }
  }
}

TEST(PlanMicroBatches, BalancesRanksByCost) {
  const auto prepared = Prepare(MakeGroups(16, 4));
  PackingOptions options;
  options.ranks = 4;
  std::vector<double> cost;
  const auto plan = Plan(prepared->batch, options);
  for (const auto& rank : plan) {
    double total = 0;
    for (const MicroBatch& micro : rank) {
      for (const Piece& piece : micro.pieces) total += piece.cost;
    }
    cost.push_back(total);
  }
  const auto [low, high] = std::minmax_element(cost.begin(), cost.end());
  EXPECT_LT(*high / *low, 1.25);
}

TEST(PlanMicroBatches, PiecesWithoutAGradientAreScoredApart) {
  const auto prepared = Prepare(MakeGroups(4, 3));
  std::vector<bool> needs(prepared->batch.rows.size(), false);
  needs[4] = true;  // a row of the second group
  const auto plan = PlanMicroBatches(prepared->batch, 0, 4, needs, PackingOptions());
  ASSERT_EQ(plan[0].size(), 2U);
  EXPECT_TRUE(plan[0][0].with_gradient);
  ASSERT_EQ(plan[0][0].pieces.size(), 1U);
  EXPECT_EQ(plan[0][0].pieces[0].group, 1);
  EXPECT_FALSE(plan[0][1].with_gradient);
  EXPECT_EQ(plan[0][1].pieces.size(), 3U);
}

TEST(PackMicroBatch, EveryLayoutGivesTheLogprobsOfPlainSequences) {
  const auto prepared = Prepare(MakeGroups(3, 4));
  const auto model = TinyTrainModel(at::kDouble, false);
  for (bool share : {true, false}) {
    PackingOptions options;
    options.share_prompts = share;
    options.token_budget = 50;
    const auto plan = Plan(prepared->batch, options);
    for (const MicroBatch& micro : plan[0]) {
      const PackedMicroBatch packed = PackMicroBatch(prepared->batch, micro, share);
      const std::vector<double> got =
          ToHost(ScorePacked(*model, packed, TokenScoreOptions(), false).logprob);
      for (size_t i = 0; i < packed.rows.size(); ++i) {
        const TrainRow& row = prepared->batch.rows[static_cast<size_t>(packed.rows[i])];
        const Group& group = prepared->groups[static_cast<size_t>(row.group)];
        const std::vector<double> expected =
            NaiveLogprobs(*model, group, prepared->batch.SourceRow(row));
        for (size_t t = 0; t < expected.size(); ++t) {
          EXPECT_NEAR(got[static_cast<size_t>(packed.row_offsets[i]) + t], expected[t], 1e-10);
        }
      }
    }
  }
}

TEST(PackMicroBatch, TheSharedPromptIsThereOnce) {
  const auto prepared = Prepare(MakeGroups(1, 4));
  const auto plan = Plan(prepared->batch, PackingOptions());
  const PackedMicroBatch packed = PackMicroBatch(prepared->batch, plan[0][0], true);
  int64_t expected = static_cast<int64_t>(prepared->groups[0].prompt.size());
  for (const Row& row : prepared->groups[0].rows) {
    expected += static_cast<int64_t>(row.tokens.size()) - 1;
  }
  EXPECT_EQ(packed.tokens.numel(), expected);
}

TEST(RowAccuracy, UndoesTheScaleOfTheFirstRuleBasedComponent) {
  Group group;
  group.reward_names = {"format_boxed", "rule_dapo"};
  Row row;
  row.rewards = {1, -1};
  EXPECT_EQ(RowAccuracy(group, row, {1, -1, -1}), 0);
  EXPECT_EQ(RowAccuracy(group, row, {1, 0, 0}), 0);
  row.rewards = {0, 1};
  EXPECT_EQ(RowAccuracy(group, row, {1, -1, -1}), 1);
  row.rewards = {0, -1};
  EXPECT_EQ(RowAccuracy(group, row, {1, -0.5, -1}), 0);  // unparsable is wrong
  group.reward_names = {"random"};
  row.rewards = {1};
  EXPECT_EQ(RowAccuracy(group, row, {}), 1);
}

TEST(EdgeCaseTruncatedResponse, WithoutShapingItKeepsTheVerifiersReward) {
  std::vector<Group> groups = MakeGroups(1, 3);
  groups[0].rows[0].finish = FinishReason::kLength;
  COHORT_ASSERT_OK_AND_ASSIGN(const TrainBatch batch, PrepareBatch(groups, AlgorithmSpec{}, 0));
  EXPECT_EQ(batch.rows[0].reward, groups[0].rows[0].reward);
  EXPECT_GT(batch.ValidTokens(batch.rows[0]), 0);
  EXPECT_TRUE(batch.rows[0].scorable);
}

// The order of operations of 14.3: shaping, then the penalty of kl.reward, then advantages.
TEST(PrepareBatch, ShapingComesBeforeTheKlPenaltyAndBothBeforeTheAdvantages) {
  std::vector<Group> groups = MakeGroups(1, 2);
  for (Row& row : groups[0].rows) row.reward = 1, row.rewards = {1};
  groups[0].rows[0].finish = FinishReason::kLength;
  AlgorithmSpec spec;
  ShapingSpec truncated;
  truncated.kind = Shaping::kTruncated;
  spec.shaping = {truncated};
  spec.advantage.baseline = AdvantageBaseline::kNone;
  spec.advantage.scale = AdvantageScale::kNone;
  spec.advantage.level = AdvantageLevel::kReturns;
  spec.kl.placement = KlPlacement::kReward;
  spec.kl.estimator = KlEstimator::kK1;
  COHORT_ASSERT_OK_AND_ASSIGN(TrainBatch batch, PrepareBatch(groups, spec, 0));
  batch.old.assign(batch.mask.size(), -1);
  batch.reference.assign(batch.mask.size(), -1.5);
  COHORT_ASSERT_OK(AddAdvantages(spec, 0.1, &batch));
  for (const TrainRow& row : batch.rows) {
    const double shaped = row.index == 0 ? 0 : 1;
    EXPECT_NEAR(batch.advantage[static_cast<size_t>(row.begin)],
                shaped - 0.1 * 0.5 * static_cast<double>(row.length), 1e-12);
  }
}

TEST(PrepareBatch, ShapesRewardsAndAppliesTheRowFilter) {
  std::vector<Group> groups = MakeGroups(1, 3);
  groups[0].rows[0].finish = FinishReason::kLength;
  AlgorithmSpec spec;
  ShapingSpec truncated;
  truncated.kind = Shaping::kTruncated;
  truncated.truncated = TruncatedAction::kMask;
  spec.shaping = {truncated};
  COHORT_ASSERT_OK_AND_ASSIGN(const TrainBatch masked, PrepareBatch(groups, spec, 0));
  EXPECT_EQ(masked.ValidTokens(masked.rows[0]), 0);
  EXPECT_TRUE(masked.rows[0].scorable);  // its reward stays in the statistics
  spec.shaping.clear();
  spec.row_filter.kind = RowFilter::kDropTruncated;
  COHORT_ASSERT_OK_AND_ASSIGN(const TrainBatch dropped, PrepareBatch(groups, spec, 0));
  EXPECT_EQ(dropped.ValidTokens(dropped.rows[0]), 0);
  EXPECT_FALSE(dropped.rows[0].scorable);
  EXPECT_EQ(dropped.unscorable_rows, 0) << "it had a verdict";
  groups[0].rows[1].unscorable = true;
  COHORT_ASSERT_OK_AND_ASSIGN(const TrainBatch without, PrepareBatch(groups, spec, 0));
  EXPECT_EQ(without.unscorable_rows, 1);
}

}  // namespace
}  // namespace cohort

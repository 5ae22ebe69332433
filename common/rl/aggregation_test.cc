#include "common/rl/aggregation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

namespace cohort {
namespace {

using testing::DoubleEq;
using testing::Each;
using testing::ElementsAre;

const std::vector<AggregationRow> kRows = {{3, 0, 0}, {1, 0, 0}, {0, 1, 1}, {4, 1, 1}};

std::vector<double> Weights(Aggregation mode, EmptyRows empty = EmptyRows::kAuto) {
  return AggregationWeights({mode, 10, empty}, kRows);
}

TEST(Aggregation, TokenMeanDividesByAllTokens) {
  EXPECT_THAT(Weights(Aggregation::kTokenMean), ElementsAre(1. / 8, 1. / 8, 0, 1. / 8));
}

TEST(Aggregation, SequenceMeansLeaveEmptyRowsOutUnlessTheyCount) {
  EXPECT_THAT(Weights(Aggregation::kSeqMeanTokenMean),
              ElementsAre(1. / 9, 1. / 3, 0, DoubleEq(1. / 12)));
  EXPECT_THAT(Weights(Aggregation::kSeqMeanTokenMean, EmptyRows::kCount),
              ElementsAre(1. / 12, 1. / 4, 0, 1. / 16));
  EXPECT_THAT(Weights(Aggregation::kSeqMeanTokenSum), ElementsAre(1. / 3, 1. / 3, 0, 1. / 3));
}

TEST(Aggregation, TheConstantModeCountsEmptyRowsUnlessTold) {
  EXPECT_THAT(Weights(Aggregation::kSeqMeanTokenSumConst),
              ElementsAre(1. / 40, 1. / 40, 0, 1. / 40));
  EXPECT_THAT(Weights(Aggregation::kSeqMeanTokenSumConst, EmptyRows::kExclude),
              ElementsAre(1. / 30, 1. / 30, 0, 1. / 30));
}

TEST(Aggregation, GroupAndLocalMeansWeighTheirPartsEqually) {
  EXPECT_THAT(Weights(Aggregation::kTokenMeanGroup), ElementsAre(1. / 8, 1. / 8, 0, 1. / 8));
  const std::vector<AggregationRow> rows = {{2, 0, 0}, {6, 1, 0}, {2, 1, 1}, {0, 2, 2}};
  EXPECT_THAT(AggregationWeights({Aggregation::kTokenMeanGroup, 0, {}}, rows),
              ElementsAre(1. / 4, 1. / 16, 1. / 16, 0));
  EXPECT_THAT(AggregationWeights({Aggregation::kTokenMeanLocal, 0, {}}, rows),
              ElementsAre(1. / 16, 1. / 16, 1. / 4, 0));
}

TEST(EdgeCaseFullyMaskedBatch, HasWeightZero) {
  const std::vector<AggregationRow> rows(3);
  for (Aggregation mode : {Aggregation::kTokenMean, Aggregation::kSeqMeanTokenMean,
                           Aggregation::kSeqMeanTokenSum, Aggregation::kSeqMeanTokenSumConst,
                           Aggregation::kTokenMeanGroup, Aggregation::kTokenMeanLocal}) {
    EXPECT_THAT(AggregationWeights({mode, 10, {}}, rows), Each(0.0));
  }
}

TEST(Aggregation, CountsOfRanksAddUpToTheWeightsOfTheWhole) {
  const absl::Span<const AggregationRow> all(kRows);
  for (size_t cut = 0; cut <= kRows.size(); ++cut) {
    AggregationCounts counts = CountForAggregation(all.first(cut));
    counts += CountForAggregation(all.subspan(cut));
    for (Aggregation mode : {Aggregation::kTokenMean, Aggregation::kSeqMeanTokenMean,
                             Aggregation::kSeqMeanTokenSum, Aggregation::kSeqMeanTokenSumConst}) {
      const AggregationSpec spec{mode, 10, EmptyRows::kAuto};
      const std::vector<double> weights = AggregationWeights(spec, kRows);
      for (size_t i = 0; i < kRows.size(); ++i) {
        EXPECT_EQ(TokenWeight(spec, counts, kRows[i].valid_tokens), weights[i]);
      }
    }
  }
}

}  // namespace
}  // namespace cohort

#include "common/rl/aggregation.h"

#include <unordered_map>

#include "common/base/log.h"

namespace cohort {
namespace {

bool CountsEmptyRows(const AggregationSpec& spec) {
  if (spec.empty_rows == EmptyRows::kAuto) return spec.mode == Aggregation::kSeqMeanTokenSumConst;
  return spec.empty_rows == EmptyRows::kCount;
}

double Inverse(double x) { return x > 0 ? 1 / x : 0; }

// Mean over the parts (prompts or micro-batches) that have a token, of their token means.
template <typename Key>
std::vector<double> MeanOfPartMeans(absl::Span<const AggregationRow> rows, Key key) {
  std::unordered_map<int64_t, double> tokens;
  for (const AggregationRow& row : rows) {
    if (row.valid_tokens > 0) tokens[key(row)] += static_cast<double>(row.valid_tokens);
  }
  std::vector<double> weights;
  weights.reserve(rows.size());
  for (const AggregationRow& row : rows) {
    const double part = row.valid_tokens > 0 ? tokens[key(row)] : 0;
    weights.push_back(Inverse(part * static_cast<double>(tokens.size())));
  }
  return weights;
}

}  // namespace

AggregationCounts& AggregationCounts::operator+=(const AggregationCounts& other) {
  tokens += other.tokens;
  valid_rows += other.valid_rows;
  all_rows += other.all_rows;
  return *this;
}

AggregationSpec LossAggregation(const AlgorithmSpec& spec) {
  const ObjectiveSpec& objective = spec.objective;
  return objective.kind == Objective::kEntropyDirect ? EntropyAggregation(objective.reduction)
                                                     : spec.agg;
}

AggregationSpec EntropyAggregation(EntropyReduction reduction) {
  AggregationSpec spec;
  spec.mode = reduction == EntropyReduction::kTokenMean ? Aggregation::kTokenMean
                                                        : Aggregation::kSeqMeanTokenSum;
  return spec;
}

AggregationCounts CountForAggregation(absl::Span<const AggregationRow> rows) {
  AggregationCounts counts;
  for (const AggregationRow& row : rows) {
    counts.tokens += static_cast<double>(row.valid_tokens);
    counts.valid_rows += row.valid_tokens > 0 ? 1 : 0;
    counts.all_rows += 1;
  }
  return counts;
}

double TokenWeight(const AggregationSpec& spec, const AggregationCounts& counts,
                   int64_t valid_tokens) {
  if (valid_tokens == 0) return 0;
  const double sequences = CountsEmptyRows(spec) ? counts.all_rows : counts.valid_rows;
  switch (spec.mode) {
    case Aggregation::kTokenMean:
      return Inverse(counts.tokens);
    case Aggregation::kSeqMeanTokenMean:
      return Inverse(sequences * static_cast<double>(valid_tokens));
    case Aggregation::kSeqMeanTokenSum:
      return Inverse(sequences);
    case Aggregation::kSeqMeanTokenSumConst:
      return Inverse(sequences * spec.constant);
    case Aggregation::kTokenMeanGroup:
    case Aggregation::kTokenMeanLocal:
      break;
  }
  COHORT_CHECK(false) << "TokenWeight: this mode needs AggregationWeights";
  return 0;
}

std::vector<double> AggregationWeights(const AggregationSpec& spec,
                                       absl::Span<const AggregationRow> rows) {
  if (spec.mode == Aggregation::kTokenMeanGroup) {
    return MeanOfPartMeans(rows, [](const AggregationRow& row) { return row.group; });
  }
  if (spec.mode == Aggregation::kTokenMeanLocal) {
    return MeanOfPartMeans(rows, [](const AggregationRow& row) { return row.micro_batch; });
  }
  const AggregationCounts counts = CountForAggregation(rows);
  std::vector<double> weights;
  weights.reserve(rows.size());
  for (const AggregationRow& row : rows) {
    weights.push_back(TokenWeight(spec, counts, row.valid_tokens));
  }
  return weights;
}

}  // namespace cohort

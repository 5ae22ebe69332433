#include "common/rl/filter.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace cohort {
namespace {

double Mean(absl::Span<const double> x) {
  return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
}

PromptVerdict Dropped(double accuracy) {
  if (accuracy >= 1) return PromptVerdict::kAllRight;
  return accuracy <= 0 ? PromptVerdict::kAllWrong : PromptVerdict::kOutOfBand;
}

// Slack for means of decimal accuracies such as 0.8 = 4/5, far below one row's weight.
constexpr double kBandSlack = 1e-9;

bool Passes(const PromptFilterSpec& spec, double accuracy) {
  switch (spec.kind) {
    case PromptFilter::kDynamic:
      if (spec.strict) return accuracy > spec.low && accuracy < spec.high;
      return accuracy >= spec.low && accuracy <= spec.high;
    case PromptFilter::kBand:
      return accuracy >= spec.low - kBandSlack && accuracy <= spec.high + kBandSlack;
    case PromptFilter::kNone:
    case PromptFilter::kMinValid:
      return true;
  }
  return true;
}

// Positions sorted so that `before(a, b)` holds between neighbours, ties in index order.
template <typename Before>
std::vector<size_t> SortedIndices(size_t n, Before before) {
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return before(a, b) || (!before(b, a) && a < b); });
  return order;
}

double PopulationStd(absl::Span<const double> x) {
  if (x.empty()) return 0;
  const double mean = Mean(x);
  double squares = 0;
  for (double v : x) squares += (v - mean) * (v - mean);
  return std::sqrt(squares / static_cast<double>(x.size()));
}

std::vector<double> MeanCurve(absl::Span<const std::vector<double>> curves) {
  std::vector<double> mean(curves.empty() ? 0 : curves[0].size(), 0);
  for (const auto& curve : curves) {
    for (size_t k = 0; k < mean.size(); ++k) mean[k] += curve[k];
  }
  for (double& m : mean) m /= static_cast<double>(curves.size());
  return mean;
}

}  // namespace

PromptVerdict JudgePrompt(const PromptFilterSpec& spec, absl::Span<const double> accuracy) {
  if (accuracy.empty()) return PromptVerdict::kOutOfBand;
  const double mean = Mean(accuracy);
  return Passes(spec, mean) ? PromptVerdict::kKeep : Dropped(mean);
}

PromptSelection SelectPrompts(const PromptFilterSpec& spec,
                              absl::Span<const std::vector<double>> accuracy, int64_t wanted) {
  PromptSelection out;
  for (size_t i = 0; i < accuracy.size(); ++i) {
    if (JudgePrompt(spec, accuracy[i]) != PromptVerdict::kKeep) continue;
    const bool full = wanted > 0 && static_cast<int64_t>(out.kept.size()) >= wanted;
    (full ? out.surplus : out.kept).push_back(i);
  }
  out.need_more = static_cast<int64_t>(out.kept.size()) < wanted;
  return out;
}

std::vector<size_t> TopRows(const RowFilterSpec& spec, absl::Span<const double> rewards,
                            absl::Span<const int64_t> lengths) {
  const auto efficiency = [&](size_t i) {
    return rewards[i] / static_cast<double>(std::max<int64_t>(lengths[i], 1));
  };
  std::vector<size_t> order = SortedIndices(rewards.size(), [&](size_t a, size_t b) {
    return spec.metric == RowMetric::kShortest ? lengths[a] < lengths[b]
                                               : efficiency(a) > efficiency(b);
  });
  order.resize(std::min(order.size(), static_cast<size_t>(std::max<int64_t>(spec.k, 0))));
  std::sort(order.begin(), order.end());
  return order;
}

VarianceRanking RankByVariance(absl::Span<const std::vector<double>> history) {
  VarianceRanking out;
  // Rounded, since equal deviations of different curves differ in their last bits.
  std::vector<double> rounded;
  for (const auto& accuracy : history) {
    out.std.push_back(PopulationStd(accuracy));
    rounded.push_back(std::round(out.std.back() * 1e9));
  }
  out.ranking =
      SortedIndices(rounded.size(), [&](size_t a, size_t b) { return rounded[a] > rounded[b]; });
  return out;
}

std::vector<double> LimScores(absl::Span<const std::vector<double>> curves) {
  const std::vector<double> mean = MeanCurve(curves);
  double denominator = 0;
  for (double m : mean) denominator += (1 - m) * (1 - m);
  std::vector<double> scores;
  for (const auto& curve : curves) {
    double distance = 0;
    for (size_t k = 0; k < mean.size(); ++k)
      distance += (curve[k] - mean[k]) * (curve[k] - mean[k]);
    scores.push_back(denominator > 0 ? 1 - distance / denominator : 1);
  }
  return scores;
}

}  // namespace cohort

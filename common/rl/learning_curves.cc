#include "common/rl/learning_curves.h"

#include <algorithm>

#include "common/rl/filter.h"

namespace cohort {

CompleteCurves CompleteHistory(const AccuracyHistory& history) {
  size_t epochs = 0;
  for (const auto& curve : history) epochs = std::max(epochs, curve.size());
  CompleteCurves out;
  for (size_t p = 0; p < history.size(); ++p) {
    std::vector<double> curve(epochs);
    std::optional<double> next;
    bool complete = epochs > 0;
    for (size_t e = epochs; e-- > 0;) {
      if (e < history[p].size() && history[p][e]) next = history[p][e];
      complete = complete && next.has_value();
      if (next) curve[e] = *next;
    }
    if (!complete) continue;
    out.prompts.push_back(p);
    out.curves.push_back(std::move(curve));
  }
  return out;
}

std::vector<RankedPrompt> RankByHistoryVariance(const AccuracyHistory& history) {
  std::vector<size_t> prompts;
  std::vector<std::vector<double>> known;
  for (size_t p = 0; p < history.size(); ++p) {
    std::vector<double> curve;
    for (const std::optional<double>& accuracy : history[p]) {
      if (accuracy) curve.push_back(*accuracy);
    }
    if (curve.empty()) continue;
    prompts.push_back(p);
    known.push_back(std::move(curve));
  }
  const VarianceRanking ranking = RankByVariance(known);
  std::vector<RankedPrompt> out;
  for (size_t i : ranking.ranking) out.push_back({prompts[i], ranking.std[i]});
  return out;
}

std::vector<RankedPrompt> RankByLim(const AccuracyHistory& history, double theta) {
  const CompleteCurves complete = CompleteHistory(history);
  const std::vector<double> scores = LimScores(complete.curves);
  std::vector<RankedPrompt> out;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (scores[i] >= theta) out.push_back({complete.prompts[i], scores[i]});
  }
  std::stable_sort(out.begin(), out.end(),
                   [](const RankedPrompt& a, const RankedPrompt& b) { return a.score > b.score; });
  return out;
}

}  // namespace cohort

// Which prompts of a pool are worth training on, from how they went in an earlier run
// (algorithms.md 8.1, 8.2). Pure functions.
#pragma once

#include <optional>
#include <vector>

#include "absl/types/span.h"

namespace cohort {

// accuracy[prompt][epoch]; nothing: the prompt was not trained in that epoch.
using AccuracyHistory = std::vector<std::vector<std::optional<double>>>;

struct CompleteCurves {
  std::vector<size_t> prompts;              // indices into the history, ascending
  std::vector<std::vector<double>> curves;  // of those, all of one length
};

// A missing epoch takes the next value that is there; a prompt with none left is dropped.
CompleteCurves CompleteHistory(const AccuracyHistory& history);

struct RankedPrompt {
  size_t prompt = 0;
  double score = 0;
};

// By the population standard deviation over the epochs that are there, highest first, ties in data
// order. A prompt that was never trained is left out.
std::vector<RankedPrompt> RankByHistoryVariance(const AccuracyHistory& history);

// By learning-impact alignment with the mean curve, highest first, ties in data order; those below
// `theta` are left out.
std::vector<RankedPrompt> RankByLim(const AccuracyHistory& history, double theta);

}  // namespace cohort

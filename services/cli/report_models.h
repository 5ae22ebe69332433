// The parts of the report that need forward passes: perplexity under the base model, accuracy when
// an answer is forced early, and the shift of logits (algorithms.md 6.4, 10.4, 10.6). Slow parts
// are kept in a cache file by what they depend on: weights, responses and options.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "services/cli/report_data.h"

namespace cohort {

struct ModelAnalysisOptions {
  std::string base_model;  // folder; empty: no perplexities
  std::string early_answer = "Time is limited, stop thinking and start answering.\n</think>\n\n";
  int problems = 64;        // first ones of those that all models share
  int logit_problems = 20;  // of these for the logits
  int logit_steps = 500;    // tokens of a response at most
  int answer_tokens = 32;   // of a forced answer
  std::string cache;        // JSON file; empty: none
  std::string dtype = "auto";
  std::string device = "auto";
  int threads = 0;
};

// Adds `base_perplexity`, `early_answer` and `logits` for the runs whose model's folder is there.
absl::Status AddModelAnalyses(const std::vector<ReportRun>& runs, size_t base,
                              const ModelAnalysisOptions& options, nlohmann::json* numbers);

}  // namespace cohort

// The runs that `cohort report` compares, and every number of the report that needs no model: one
// JSON document from which the page is made (report_page.h), so that both show the same.
//
// Plain data and pure functions, except for reading files.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/cli/eval_results.h"

namespace cohort {

struct ReportRun {
  std::string name;
  std::string folder;                   // of a run; empty: only an evaluation
  bool spurious = false;                // run.spurious: the reward did not see the truth
  std::vector<nlohmann::json> metrics;  // lines of metrics.jsonl
  std::optional<EvalResults> eval;
  std::string model;  // folder of the evaluated model; empty: not known
};

// Arguments NAME=PATH in order. PATH is a run's folder (its eval*.jsonl is read where there is one)
// or the results of `cohort eval`; a name that comes again adds to its run. Errors name the path.
absl::StatusOr<std::vector<ReportRun>> LoadReportRuns(const std::vector<std::string>& arguments);

// Indices of the problems that all evaluations hold. InvalidArgument when two evaluations are of
// different sources, splits or problems.
absl::StatusOr<std::vector<uint64_t>> CommonProblems(const std::vector<ReportRun>& runs);

// Reward, entropy, length and so on over training: [step, value] by run and name.
nlohmann::json TrainingCurves(const std::vector<ReportRun>& runs);

// Everything that files alone can tell. `base`: index of the run the others are compared with.
absl::StatusOr<nlohmann::json> ReportNumbers(const std::vector<ReportRun>& runs, size_t base,
                                             uint64_t seed);

}  // namespace cohort

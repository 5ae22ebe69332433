// The numbers that claims are made of, from what the jobs of a study left (metrics.jsonl of a run,
// the problems of an evaluation, its report). Runs and evaluations are read once.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/cli/eval_results.h"
#include "services/cli/study_plan.h"

namespace cohort {

// pass@K, avg@K and maj@K over the problems with at least K judged samples; entropy: nats per
// token; length: tokens per response; truncated: share of the responses; tokens_per_correct: tokens
// of all responses per right one. OutOfRange where there is no such number (nothing was right).
absl::StatusOr<double> EvalNumber(const EvalResults& results, const StudyMetric& metric);

// Over the lines that hold the key: first and last are means of a tenth of them, at least of one;
// std is that of the values around their mean. NotFound when none holds it.
absl::StatusOr<double> TrainNumber(const std::vector<nlohmann::json>& lines,
                                   const StudyMetric& metric);

// `report`: what `cohort report --json` wrote about one run. The moments are those of the raw
// logits (algorithms.md 10.6); margin: between the two largest; top_probability: of the likeliest
// token.
absl::StatusOr<double> LogitsNumber(const nlohmann::json& report, const StudyMetric& metric);

// Not thread-safe.
class StudyNumbers {
 public:
  StudyNumbers(const NamedStudy& study, StudyPaths paths)
      : study_(study.study), paths_(std::move(paths)) {}

  // NotFound: not made, or failed.
  absl::StatusOr<double> Value(const v1::StudyTerm& term, int seed);
  absl::StatusOr<const EvalResults*> Eval(int seed, const std::string& arm,
                                          const std::string& eval);
  absl::StatusOr<const std::vector<nlohmann::json>*> Training(int seed, const std::string& arm);
  // What `cohort report` said about all arms of an evaluation.
  absl::StatusOr<nlohmann::json> Comparison(int seed, const std::string& eval) const;

 private:
  const v1::Study& study_;
  const StudyPaths paths_;
  std::map<std::string, std::unique_ptr<EvalResults>> evals_;
  std::map<std::string, std::unique_ptr<std::vector<nlohmann::json>>> trainings_;
};

}  // namespace cohort

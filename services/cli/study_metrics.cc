#include "services/cli/study_metrics.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/telemetry/metric_names.h"
#include "common/text/json.h"

namespace cohort {
namespace {

using nlohmann::json;

struct Sums {
  double samples = 0, tokens = 0, truncated = 0, entropy = 0, right = 0;
};

Sums SumOf(const EvalResults& results) {
  Sums sums;
  for (const auto& [index, problem] : results.problems) {
    for (const SampleResult& sample : problem.samples) {
      sums.samples += 1;
      sums.tokens += sample.tokens;
      sums.truncated += sample.truncated ? 1 : 0;
      sums.entropy += sample.entropy * sample.tokens;
      sums.right += sample.correct ? 1 : 0;
    }
  }
  return sums;
}

absl::StatusOr<double> Quotient(double part, double whole, const char* none) {
  if (whole > 0) return part / whole;
  return absl::OutOfRangeError(none);
}

absl::StatusOr<double> AtK(const EvalResults& results, const StudyMetric& metric) {
  const int64_t ks[] = {metric.k};
  const auto curve = metric.key == "pass"  ? PassCurve(results, ks, 0)
                     : metric.key == "avg" ? AverageCurve(results, ks, 0)
                                           : MajorityCurve(results, ks, 0);
  COHORT_RETURN_IF_ERROR(curve.status());
  if (curve->empty() || curve->front().problems == 0) {
    return absl::OutOfRangeError(absl::StrCat("no problem has ", metric.k, " judged samples"));
  }
  return curve->front().value.mean;
}

absl::StatusOr<json> ReadReport(const std::string& path) {
  if (!std::filesystem::exists(path)) {
    return absl::NotFoundError(absl::StrCat("the report ", path, " was not made"));
  }
  COHORT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return ParseJson(text, path);
}

double MeanOf(const double* begin, size_t count) {
  return std::accumulate(begin, begin + count, 0.0) / static_cast<double>(count);
}

}  // namespace

absl::StatusOr<double> EvalNumber(const EvalResults& results, const StudyMetric& metric) {
  if (metric.k > 0) return AtK(results, metric);
  const Sums sums = SumOf(results);
  if (metric.key == "entropy") return Quotient(sums.entropy, sums.tokens, "nothing was said");
  if (metric.key == "length") return Quotient(sums.tokens, sums.samples, "nothing was said");
  if (metric.key == "truncated") {
    return Quotient(sums.truncated, sums.samples, "nothing was said");
  }
  return Quotient(sums.tokens, sums.right, "no response was right");
}

absl::StatusOr<double> TrainNumber(const std::vector<json>& lines, const StudyMetric& metric) {
  std::vector<double> values;
  for (const json& line : lines) {
    const auto found = line.find(metric.key);
    if (found != line.end() && found->is_number()) values.push_back(found->get<double>());
  }
  if (values.empty()) {
    return absl::NotFoundError(absl::StrCat("no line of its metrics holds ", metric.key));
  }
  const size_t tenth = std::max<size_t>(1, values.size() / 10);
  if (metric.part == "first") return MeanOf(values.data(), tenth);
  if (metric.part == "last") return MeanOf(values.data() + values.size() - tenth, tenth);
  if (metric.part == "max") return *std::max_element(values.begin(), values.end());
  if (metric.part == "min") return *std::min_element(values.begin(), values.end());
  const double mean = MeanOf(values.data(), values.size());
  if (metric.part == "mean") return mean;
  double squares = 0;
  for (double value : values) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / static_cast<double>(values.size()));
}

absl::StatusOr<double> LogitsNumber(const json& report, const StudyMetric& metric) {
  const bool moment = metric.key != "margin" && metric.key != "top_probability";
  const json::json_pointer where("/logits/0" + std::string(moment ? "/raw/" : "/") + metric.key);
  if (!report.contains(where) || !report.at(where).is_number()) {
    return absl::NotFoundError(absl::StrCat("its report has no number at ", where.to_string()));
  }
  return report.at(where).get<double>();
}

absl::StatusOr<double> StudyNumbers::Value(const v1::StudyTerm& term, int seed) {
  COHORT_ASSIGN_OR_RETURN(const StudyMetric metric, ParseStudyMetric(term.metric()));
  if (metric.kind == StudyMetric::Kind::kTrain) {
    COHORT_ASSIGN_OR_RETURN(const auto* lines, Training(seed, term.arm()));
    return TrainNumber(*lines, metric);
  }
  if (metric.kind == StudyMetric::Kind::kLogits) {
    COHORT_ASSIGN_OR_RETURN(const json report,
                            ReadReport(paths_.Report(seed, term.arm(), metric.eval)));
    return LogitsNumber(report, metric);
  }
  COHORT_ASSIGN_OR_RETURN(const EvalResults* results, Eval(seed, term.arm(), metric.eval));
  return EvalNumber(*results, metric);
}

// The result file is written last, the problems before it.
absl::StatusOr<const EvalResults*> StudyNumbers::Eval(int seed, const std::string& arm,
                                                      const std::string& eval) {
  const std::string path = paths_.EvalProblems(seed, arm, eval);
  std::unique_ptr<EvalResults>& results = evals_[path];
  if (results != nullptr) return results.get();
  if (!std::filesystem::exists(paths_.EvalResult(seed, arm, eval))) {
    return absl::NotFoundError(absl::StrCat("evaluation ", eval, " of ", arm, " was not made"));
  }
  COHORT_ASSIGN_OR_RETURN(EvalResults read, ReadEvalResults(path));
  results = std::make_unique<EvalResults>(std::move(read));
  return results.get();
}

absl::StatusOr<json> StudyNumbers::Comparison(int seed, const std::string& eval) const {
  return ReadReport(paths_.Comparison(seed, eval));
}

// The link to its model is made when a run is complete.
absl::StatusOr<const std::vector<json>*> StudyNumbers::Training(int seed, const std::string& arm) {
  const std::string folder = paths_.Run(seed, arm);
  std::unique_ptr<std::vector<json>>& lines = trainings_[folder];
  if (lines != nullptr) return lines.get();
  if (!std::filesystem::exists(paths_.Model(study_, seed, arm))) {
    return absl::NotFoundError(absl::StrCat("arm ", arm, " was not trained"));
  }
  COHORT_ASSIGN_OR_RETURN(const std::string text,
                          ReadFile(absl::StrCat(folder, "/", metric::kMetricsFile)));
  lines = std::make_unique<std::vector<json>>();
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipWhitespace())) {
    json entry = json::parse(line, nullptr, false);
    if (entry.is_object()) lines->push_back(std::move(entry));
  }
  return lines.get();
}

}  // namespace cohort

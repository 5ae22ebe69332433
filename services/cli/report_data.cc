#include "services/cli/report_data.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/config/config.h"
#include "common/rl/metrics.h"
#include "common/telemetry/metric_names.h"

namespace cohort {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t kExamples = 6;    // problems shown side by side
constexpr size_t kOnlyShown = 20;  // problems shown per "only this one solves"

json IntervalJson(const Interval& interval) {
  return {{"mean", interval.mean}, {"low", interval.low}, {"high", interval.high}};
}

// ---- reading ----

absl::StatusOr<v1::RunConfig> RunConfigOf(const std::string& folder) {
  return LoadConfig(absl::StrCat(folder, "/", metric::kConfigFile));
}

// A checkpoint lies in RUN/checkpoints/step-N: the run says what its reward was.
bool ModelIsSpurious(const std::string& model) {
  const fs::path run = fs::path(model).parent_path().parent_path();
  const auto config = RunConfigOf(run.string());
  return config.ok() && config->run().spurious();
}

absl::Status ReadEval(const std::string& path, ReportRun* run) {
  COHORT_ASSIGN_OR_RETURN(run->eval, ReadEvalResults(path));
  run->model = run->eval->header.value("model", std::string());
  run->spurious = run->spurious || ModelIsSpurious(run->model);
  return absl::OkStatus();
}

std::string EvalIn(const std::string& folder) {
  std::vector<std::string> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (absl::StartsWith(name, "eval") && absl::EndsWith(name, ".jsonl")) {
      found.push_back(entry.path().string());
    }
  }
  std::sort(found.begin(), found.end());
  return found.empty() ? "" : found.front();
}

absl::Status ReadFolder(const std::string& folder, ReportRun* run) {
  run->folder = folder;
  COHORT_ASSIGN_OR_RETURN(const std::string text,
                          ReadFile(absl::StrCat(folder, "/", metric::kMetricsFile)));
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipWhitespace())) {
    json entry = json::parse(line, nullptr, false);
    if (entry.is_object()) run->metrics.push_back(std::move(entry));
  }
  const auto config = RunConfigOf(folder);
  if (config.ok()) run->spurious = config->run().spurious();
  const std::string eval = EvalIn(folder);
  return eval.empty() ? absl::OkStatus() : ReadEval(eval, run);
}

// ---- numbers ----

double ShareOf(double part, double whole) { return whole > 0 ? part / whole : 0; }

json DescribeEval(const EvalResults& eval) {
  double samples = 0, tokens = 0, right = 0, right_tokens = 0, wrong_tokens = 0, truncated = 0,
         entropy = 0, unscorable = 0;
  for (const auto& [index, problem] : eval.problems) {
    for (const SampleResult& sample : problem.samples) {
      samples += 1;
      tokens += sample.tokens;
      truncated += sample.truncated ? 1 : 0;
      unscorable += sample.unscorable ? 1 : 0;
      entropy += sample.entropy * sample.tokens;
      right += sample.correct ? 1 : 0;
      (sample.correct ? right_tokens : wrong_tokens) += sample.tokens;
    }
  }
  return {{"problems", eval.problems.size()},
          {"samples", samples},
          {"length", ShareOf(tokens, samples)},
          {"length_right", ShareOf(right_tokens, right)},
          {"length_wrong", ShareOf(wrong_tokens, samples - right)},
          {"tokens_per_right_answer", right > 0 ? json(tokens / right) : json()},
          {"truncated", ShareOf(truncated, samples)},
          {"unscorable", ShareOf(unscorable, samples)},
          {"entropy", ShareOf(entropy, tokens)},
          {"temperature", eval.header.value("temperature", json())},
          {"source", eval.header.value("source", json())},
          {"split", eval.header.value("split", json())}};
}

json EntropyHistogram(const EvalResults& eval) {
  std::vector<double> share(kEntropyBins, 0);
  double total = 0;
  for (const auto& [index, problem] : eval.problems) {
    for (size_t i = 0; i < std::min(share.size(), problem.entropy_histogram.size()); ++i) {
      share[i] += static_cast<double>(problem.entropy_histogram[i]);
      total += static_cast<double>(problem.entropy_histogram[i]);
    }
  }
  for (double& value : share) value = ShareOf(value, total);
  return {{"bin_width", kEntropyBinWidth}, {"share", share}};
}

// Confidence in a response: the share of the problem's attempts that give the same answer, and
// apart from that the geometric mean of its own tokens' probabilities.
json CalibrationOf(const EvalResults& eval) {
  std::vector<double> votes, tokens, correct;
  for (const auto& [index, problem] : eval.problems) {
    std::map<std::string, double> count;
    for (const SampleResult& sample : problem.samples) {
      if (!sample.answer.empty()) count[sample.answer] += 1;
    }
    for (const SampleResult& sample : problem.samples) {
      if (!sample.judged || sample.answer.empty() || sample.tokens == 0) continue;
      votes.push_back(count[sample.answer] / static_cast<double>(problem.samples.size()));
      tokens.push_back(std::exp(sample.logprob / sample.tokens));
      correct.push_back(sample.correct ? 1 : 0);
    }
  }
  const Calibration calibration = Calibrate(votes, correct);
  json bins = json::array();
  for (const Calibration::Bin& bin : calibration.bins) {
    if (bin.count == 0) continue;
    bins.push_back(
        {{"count", bin.count}, {"confidence", bin.confidence}, {"accuracy", bin.accuracy}});
  }
  return {{"error", calibration.error},
          {"token_error", Calibrate(tokens, correct).error},
          {"bins", bins}};
}

class Comparison {
 public:
  Comparison(const std::vector<ReportRun>& runs, size_t base, std::vector<uint64_t> problems,
             uint64_t seed)
      : runs_(runs), base_(base), problems_(std::move(problems)), seed_(seed) {
    for (size_t i = 0; i < runs.size(); ++i) {
      if (runs[i].eval) evaluated_.push_back(i);
    }
  }

  absl::Status Fill(json* out) {
    if (evaluated_.empty() || problems_.empty()) return absl::OkStatus();
    COHORT_RETURN_IF_ERROR(CountAll());
    if (ks_.empty()) return absl::OkStatus();
    COHORT_RETURN_IF_ERROR(PassCurves(out));
    COHORT_RETURN_IF_ERROR(MajorityCurves(out));
    Pairs(out);
    OnlySolved(out);
    Examples(out);
    return absl::OkStatus();
  }

 private:
  const ProblemResult& At(size_t run, uint64_t problem) const {
    return runs_[run].eval->problems.at(problem);
  }

  // The problems on which every model has a judged sample, and the largest k for all of them.
  absl::Status CountAll() {
    std::vector<uint64_t> kept;
    int64_t most = 0;
    for (uint64_t problem : problems_) {
      int64_t least = INT64_MAX;
      for (size_t run : evaluated_) least = std::min(least, At(run, problem).Count().samples);
      if (least == 0) continue;
      most = most == 0 ? least : std::min(most, least);
      kept.push_back(problem);
    }
    problems_ = std::move(kept);
    ks_ = PowersOfTwoUpTo(most);
    for (size_t run : evaluated_) {
      std::vector<ProblemCount> counts;
      for (uint64_t problem : problems_) counts.push_back(At(run, problem).Count());
      COHORT_ASSIGN_OR_RETURN(auto values, PassAtKs(counts, ks_));
      pass_.push_back(std::move(values));
    }
    return absl::OkStatus();
  }

  absl::Status PassCurves(json* out) {
    json curves = json::array();
    std::vector<std::vector<double>> means;
    for (size_t i = 0; i < evaluated_.size(); ++i) {
      const std::vector<Interval> intervals = BootstrapMeans(pass_[i], seed_);
      json points = json::array();
      std::vector<double>& mean = means.emplace_back();
      for (size_t k = 0; k < ks_.size(); ++k) {
        json point = IntervalJson(intervals[k]);
        point["k"] = ks_[k];
        points.push_back(point);
        mean.push_back(intervals[k].mean);
      }
      curves.push_back({{"run", runs_[evaluated_[i]].name}, {"points", points}});
    }
    json crossings = json::array();
    for (size_t a = 0; a < evaluated_.size(); ++a) {
      for (size_t b = a + 1; b < evaluated_.size(); ++b) {
        const std::optional<double> k = CrossingPoint(ks_, means[a], means[b]);
        crossings.push_back({{"a", runs_[evaluated_[a]].name},
                             {"b", runs_[evaluated_[b]].name},
                             {"k", k ? json(*k) : json()}});
      }
    }
    (*out)["pass_at_k"] = {{"problems", problems_.size()}, {"curves", curves}};
    (*out)["crossings"] = crossings;
    return absl::OkStatus();
  }

  absl::Status MajorityCurves(json* out) {
    json curves = json::array();
    for (size_t run : evaluated_) {
      EvalResults common;
      for (uint64_t problem : problems_) common.problems[problem] = At(run, problem);
      COHORT_ASSIGN_OR_RETURN(const auto curve, MajorityCurve(common, ks_, seed_));
      curves.push_back({{"run", runs_[run].name}, {"points", CurveJson(curve)}});
    }
    (*out)["maj_at_k"] = {{"problems", problems_.size()}, {"curves", curves}};
    return absl::OkStatus();
  }

  // The first judged sample of each problem, for the test at k = 1.
  bool FirstIsRight(size_t run, uint64_t problem) const {
    for (const SampleResult& sample : At(run, problem).samples) {
      if (sample.judged) return sample.correct;
    }
    return false;
  }

  json McNemar(size_t a, size_t b) const {
    int64_t both = 0, only_a = 0, only_b = 0, neither = 0;
    for (uint64_t problem : problems_) {
      const bool right_a = FirstIsRight(a, problem), right_b = FirstIsRight(b, problem);
      ++(right_a ? (right_b ? both : only_a) : (right_b ? only_b : neither));
    }
    return {{"both", both},
            {"only_a", only_a},
            {"only_b", only_b},
            {"neither", neither},
            {"p", McNemarExact(only_a, only_b)}};
  }

  // Within all attempts; the problems are listed up to a number.
  json Solved(size_t a, size_t b) const {
    int64_t both = 0, neither = 0, only_a = 0, only_b = 0;
    json problems_a = json::array(), problems_b = json::array();
    for (uint64_t problem : problems_) {
      const bool by_a = At(a, problem).Count().correct > 0;
      const bool by_b = At(b, problem).Count().correct > 0;
      if (by_a == by_b) {
        ++(by_a ? both : neither);
        continue;
      }
      json& problems = by_a ? problems_a : problems_b;
      if (++(by_a ? only_a : only_b) > static_cast<int64_t>(kOnlyShown)) continue;
      problems.push_back({{"index", problem}, {"prompt", At(a, problem).prompt}});
    }
    return {{"both", both},     {"neither", neither},       {"only_a", only_a},
            {"only_b", only_b}, {"problems_a", problems_a}, {"problems_b", problems_b}};
  }

  void Pairs(json* out) {
    json pairs = json::array();
    for (size_t a = 0; a < evaluated_.size(); ++a) {
      for (size_t b = a + 1; b < evaluated_.size(); ++b) {
        std::vector<std::vector<double>> differences(ks_.size());
        for (size_t k = 0; k < ks_.size(); ++k) {
          for (size_t p = 0; p < problems_.size(); ++p) {
            differences[k].push_back(pass_[b][k][p] - pass_[a][k][p]);
          }
        }
        const std::vector<Interval> intervals = BootstrapMeans(differences, seed_);
        json points = json::array();
        for (size_t k = 0; k < ks_.size(); ++k) {
          json point = IntervalJson(intervals[k]);
          point["k"] = ks_[k];
          points.push_back(point);
        }
        pairs.push_back({{"a", runs_[evaluated_[a]].name},
                         {"b", runs_[evaluated_[b]].name},
                         {"difference", points},
                         {"mcnemar", McNemar(evaluated_[a], evaluated_[b])},
                         {"solved", Solved(evaluated_[a], evaluated_[b])}});
      }
    }
    (*out)["paired"] = pairs;
  }

  json ProblemJson(uint64_t problem) const {
    const ProblemResult& any = At(evaluated_[0], problem);
    json counts = json::array();
    for (size_t run : evaluated_) {
      const ProblemCount count = At(run, problem).Count();
      counts.push_back(
          {{"run", runs_[run].name}, {"correct", count.correct}, {"samples", count.samples}});
    }
    return {{"index", problem}, {"prompt", any.prompt}, {"answer", any.answer}, {"counts", counts}};
  }

  void OnlySolved(json* out) {
    json only = json::array();
    if (evaluated_.size() < 2) return;
    for (size_t run : evaluated_) {
      json problems = json::array();
      int64_t count = 0;
      for (uint64_t problem : problems_) {
        bool alone = At(run, problem).Count().correct > 0;
        for (size_t other : evaluated_) {
          alone = alone && (other == run || At(other, problem).Count().correct == 0);
        }
        if (!alone || ++count > static_cast<int64_t>(kOnlyShown)) continue;
        json entry = ProblemJson(problem);
        entry["text"] = RightText(At(run, problem));
        problems.push_back(entry);
      }
      only.push_back({{"run", runs_[run].name}, {"count", count}, {"problems", problems}});
    }
    (*out)["only_solved"] = only;
  }

  static std::string RightText(const ProblemResult& problem) {
    for (const SampleResult& sample : problem.samples) {
      if (sample.correct && !sample.text.empty()) return sample.text;
    }
    return problem.right_text;
  }

  // First the problems on which the models differ most, half from either side.
  void Examples(json* out) {
    const auto at_base = std::find(evaluated_.begin(), evaluated_.end(), base_);
    const size_t base =
        at_base == evaluated_.end() ? 0 : static_cast<size_t>(at_base - evaluated_.begin());
    const size_t last = evaluated_.size() - 1;
    std::vector<std::pair<double, size_t>> gains;
    for (size_t p = 0; p < problems_.size(); ++p) {
      gains.push_back({pass_[last][0][p] - pass_[base][0][p], p});
    }
    std::stable_sort(gains.begin(), gains.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    std::vector<size_t> chosen;
    for (size_t i = 0; i < gains.size() && chosen.size() < kExamples; ++i) {
      const size_t at = i % 2 == 0 ? i / 2 : gains.size() - 1 - i / 2;
      chosen.push_back(gains[at].second);
    }
    json examples = json::array();
    for (size_t p : chosen) {
      json entry = ProblemJson(problems_[p]);
      json samples = json::array();
      for (size_t run : evaluated_) {
        const ProblemResult& problem = At(run, problems_[p]);
        if (problem.samples.empty()) continue;
        samples.push_back({{"run", runs_[run].name},
                           {"text", problem.samples[0].text},
                           {"correct", problem.samples[0].correct},
                           {"tokens", problem.samples[0].tokens}});
      }
      entry["samples"] = samples;
      examples.push_back(entry);
    }
    (*out)["samples"] = examples;
  }

  const std::vector<ReportRun>& runs_;
  const size_t base_;
  std::vector<uint64_t> problems_;
  const uint64_t seed_;
  std::vector<size_t> evaluated_;  // indices of runs
  std::vector<int64_t> ks_;
  std::vector<std::vector<std::vector<double>>> pass_;  // [evaluated][k][problem]
};

}  // namespace

absl::StatusOr<std::vector<ReportRun>> LoadReportRuns(const std::vector<std::string>& arguments) {
  std::vector<ReportRun> runs;
  for (const std::string& argument : arguments) {
    const size_t equals = argument.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == argument.size()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--run: expected NAME=PATH (a run's folder or the results of `cohort eval`), found ",
          argument));
    }
    const std::string name = argument.substr(0, equals);
    std::string path = argument.substr(equals + 1);
    auto run = std::find_if(runs.begin(), runs.end(),
                            [&](const ReportRun& other) { return other.name == name; });
    if (run == runs.end()) {
      run = runs.emplace(runs.end());
      run->name = name;
    }
    if (fs::is_directory(path)) {
      COHORT_RETURN_IF_ERROR(ReadFolder(path, &*run));
      continue;
    }
    // The summary of an evaluation lies beside its problems.
    if (absl::EndsWith(path, ".json")) path += "l";
    COHORT_RETURN_IF_ERROR(ReadEval(path, &*run));
  }
  return runs;
}

absl::StatusOr<std::vector<uint64_t>> CommonProblems(const std::vector<ReportRun>& runs) {
  const ReportRun* first = nullptr;
  std::vector<uint64_t> common;
  for (const ReportRun& run : runs) {
    if (!run.eval) continue;
    if (first == nullptr) {
      first = &run;
      for (const auto& [index, problem] : run.eval->problems) common.push_back(index);
      continue;
    }
    for (const char* key : {"source", "split", "reward"}) {
      if (run.eval->header.value(key, json()) == first->eval->header.value(key, json())) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          "the evaluations of ", first->name, " and ", run.name, " cannot be compared: ", key,
          " is ", first->eval->header.value(key, json()).dump(), " and ",
          run.eval->header.value(key, json()).dump(), "; evaluate both on the same problems"));
    }
    std::vector<uint64_t> both;
    for (uint64_t index : common) {
      const auto found = run.eval->problems.find(index);
      if (found == run.eval->problems.end()) continue;
      if (found->second.prompt != first->eval->problems.at(index).prompt) {
        return absl::InvalidArgumentError(
            absl::StrCat("problem ", index, " is not the same for ", first->name, " and ", run.name,
                         "; evaluate both on the same problems with the same --seed"));
      }
      both.push_back(index);
    }
    common = std::move(both);
  }
  return common;
}

absl::StatusOr<json> ReportNumbers(const std::vector<ReportRun>& runs, size_t base, uint64_t seed) {
  json out;
  out["base"] = runs[base].name;
  out["runs"] = json::array();
  out["entropy_histogram"] = json::array();
  out["calibration"] = json::array();
  std::set<std::string> temperatures;
  for (const ReportRun& run : runs) {
    json entry = {
        {"name", run.name},
        {"folder", run.folder},
        {"model", run.model},
        {"spurious", run.spurious},
        {"steps", run.metrics.empty() ? json() : run.metrics.back().value("step", json())}};
    if (run.eval) {
      entry["eval"] = DescribeEval(*run.eval);
      temperatures.insert(entry["eval"]["temperature"].dump());
      json histogram = EntropyHistogram(*run.eval);
      histogram["run"] = run.name;
      out["entropy_histogram"].push_back(histogram);
      json calibration = CalibrationOf(*run.eval);
      calibration["run"] = run.name;
      out["calibration"].push_back(calibration);
    }
    out["runs"].push_back(entry);
  }
  out["training"] = TrainingCurves(runs);
  out["warnings"] = json::array();
  if (temperatures.size() > 1) {
    out["warnings"].push_back("The evaluations were sampled at different temperatures.");
  }
  COHORT_ASSIGN_OR_RETURN(std::vector<uint64_t> problems, CommonProblems(runs));
  COHORT_RETURN_IF_ERROR(Comparison(runs, base, std::move(problems), seed).Fill(&out));
  return out;
}

}  // namespace cohort

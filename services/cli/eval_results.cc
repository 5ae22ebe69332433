#include "services/cli/eval_results.h"

#include <algorithm>
#include <functional>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/rl/metrics.h"
#include "common/text/json.h"

namespace cohort {
namespace {

using nlohmann::json;

std::string Dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

// Reads a problem's line; a missing field keeps its default, a wrong type throws.
ProblemResult ReadProblem(const json& line) {
  ProblemResult problem;
  problem.index = line.at("index").get<uint64_t>();
  problem.prompt = line.value("prompt", "");
  problem.answer = line.value("answer", "");
  problem.too_long = line.value("too_long", false);
  problem.right_text = line.value("right_text", "");
  problem.prompt_ids = line.value("prompt_ids", std::vector<int32_t>());
  problem.entropy_histogram = line.value("entropy_histogram", std::vector<int64_t>());
  if (line.contains("top_entropy")) problem.top_entropy = line["top_entropy"].get<double>();
  problem.samples.resize(line.at("correct").size());
  for (size_t i = 0; i < problem.samples.size(); ++i) {
    SampleResult& sample = problem.samples[i];
    const json& correct = line.at("correct").at(i);
    sample.judged = !correct.is_null();
    sample.correct = sample.judged && correct.get<int>() != 0;
    sample.unscorable = line.at("unscorable").at(i).get<int>() != 0;
    sample.tokens = line.at("tokens").at(i).get<int>();
    sample.truncated = line.at("truncated").at(i).get<int>() != 0;
    sample.entropy = line.at("entropy").at(i).get<double>();
    sample.logprob = line.at("logprob").at(i).get<double>();
    const json& answer = line.at("answers").at(i);
    if (answer.is_string()) sample.answer = answer.get<std::string>();
    if (i < line.at("texts").size()) sample.text = line.at("texts").at(i).get<std::string>();
    if (i < line.at("ids").size()) {
      sample.ids = line.at("ids").at(i).get<std::vector<int32_t>>();
    }
  }
  return problem;
}

absl::Status ReadLine(absl::string_view text, const std::string& where, EvalResults* results) {
  COHORT_ASSIGN_OR_RETURN(json line, ParseJson(text, where));
  if (line.is_object() && line.contains("kind")) {
    results->header = std::move(line);
    return absl::OkStatus();
  }
  try {
    ProblemResult problem = ReadProblem(line);
    results->problems[problem.index] = std::move(problem);
    return absl::OkStatus();
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(
        where, ": expected a problem as `cohort eval` writes it, found: ", error.what()));
  }
}

std::vector<const SampleResult*> Judged(const ProblemResult& problem) {
  std::vector<const SampleResult*> judged;
  for (const SampleResult& sample : problem.samples) {
    if (sample.judged) judged.push_back(&sample);
  }
  return judged;
}

// One quantity of a problem at k; problems with fewer judged samples than k are left out.
using AtK = std::function<absl::StatusOr<double>(const ProblemResult&, int64_t)>;

absl::StatusOr<std::vector<MetricAtK>> Curve(const EvalResults& results,
                                             absl::Span<const int64_t> ks, uint64_t seed,
                                             const char* name, const AtK& at_k) {
  std::vector<MetricAtK> curve;
  for (int64_t k : ks) {
    std::vector<double> values;
    for (const auto& [index, problem] : results.problems) {
      if (problem.Count().samples < k) continue;
      COHORT_ASSIGN_OR_RETURN(const double value, at_k(problem, k));
      values.push_back(value);
    }
    if (values.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, "@", k, ": no problem has ", k,
                       " judged samples; evaluate with more --samples or ask for a smaller --k"));
    }
    MetricAtK metric;
    metric.k = k;
    metric.problems = static_cast<int64_t>(values.size());
    metric.value = BootstrapMeans({values}, seed)[0];
    curve.push_back(metric);
  }
  return curve;
}

}  // namespace

ProblemCount ProblemResult::Count() const {
  ProblemCount count;
  for (const SampleResult& sample : samples) {
    count.samples += sample.judged ? 1 : 0;
    count.correct += sample.judged && sample.correct ? 1 : 0;
  }
  return count;
}

std::string ProblemLine(const ProblemResult& problem) {
  json line = {{"index", problem.index}, {"prompt", problem.prompt}, {"answer", problem.answer}};
  if (problem.too_long) line["too_long"] = true;
  for (const char* name : {"correct", "unscorable", "tokens", "truncated", "entropy", "logprob",
                           "answers", "texts", "ids"}) {
    line[name] = json::array();
  }
  for (const SampleResult& sample : problem.samples) {
    line["correct"].push_back(sample.judged ? json(sample.correct ? 1 : 0) : json());
    line["unscorable"].push_back(sample.unscorable ? 1 : 0);
    line["tokens"].push_back(sample.tokens);
    line["truncated"].push_back(sample.truncated ? 1 : 0);
    line["entropy"].push_back(sample.entropy);
    line["logprob"].push_back(sample.logprob);
    line["answers"].push_back(sample.answer.empty() ? json() : json(sample.answer));
    if (!sample.ids.empty()) {
      line["texts"].push_back(sample.text);
      line["ids"].push_back(sample.ids);
    }
  }
  if (!problem.right_text.empty()) line["right_text"] = problem.right_text;
  line["prompt_ids"] = problem.prompt_ids;
  line["entropy_histogram"] = problem.entropy_histogram;
  if (problem.top_entropy) line["top_entropy"] = *problem.top_entropy;
  return Dump(line);
}

absl::StatusOr<EvalResults> ReadEvalResults(const std::string& path) {
  COHORT_ASSIGN_OR_RETURN(const std::string content, ReadFile(path));
  EvalResults results;
  // A killed writer may have left half a line; what has no line end is not there.
  const size_t end = content.rfind('\n');
  const absl::string_view whole =
      absl::string_view(content).substr(0, end == std::string::npos ? 0 : end);
  int number = 0;
  for (absl::string_view line : absl::StrSplit(whole, '\n')) {
    ++number;
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    COHORT_RETURN_IF_ERROR(ReadLine(line, absl::StrCat(path, " line ", number), &results));
  }
  if (results.header.is_null()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": expected the results of `cohort eval` (a line with \"kind\"), found ",
                     results.problems.size(), " problems and no header"));
  }
  return results;
}

absl::Status WriteEvalResults(const std::string& path, const EvalResults& results) {
  std::string text = Dump(results.header) + "\n";
  for (const auto& [index, problem] : results.problems) {
    absl::StrAppend(&text, ProblemLine(problem), "\n");
  }
  return WriteFileAtomic(path, text);
}

absl::Status CheckSameEvaluation(const std::string& path, const json& before, const json& now) {
  for (const auto& [key, value] : now.items()) {
    const auto found = before.find(key);
    if (found == before.end() ? value.is_null() : *found == value) continue;
    return absl::FailedPreconditionError(
        absl::StrCat(path, " holds another evaluation: ", key, " was ",
                     found == before.end() ? "absent" : Dump(*found), " and is ", Dump(value),
                     " now; leave out --resume to start anew, or choose another file"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<MetricAtK>> PassCurve(const EvalResults& results,
                                                 absl::Span<const int64_t> ks, uint64_t seed) {
  return Curve(results, ks, seed, "pass", [](const ProblemResult& problem, int64_t k) {
    const ProblemCount count = problem.Count();
    return PassAtK(count.samples, count.correct, k);
  });
}

absl::StatusOr<std::vector<MetricAtK>> AverageCurve(const EvalResults& results,
                                                    absl::Span<const int64_t> ks, uint64_t seed) {
  return Curve(results, ks, seed, "avg", [](const ProblemResult& problem, int64_t k) {
    std::vector<double> correct;
    for (const SampleResult* sample : Judged(problem)) correct.push_back(sample->correct ? 1 : 0);
    correct.resize(static_cast<size_t>(k));
    return absl::StatusOr<double>(AverageCorrect(correct));
  });
}

absl::StatusOr<std::vector<MetricAtK>> MajorityCurve(const EvalResults& results,
                                                     absl::Span<const int64_t> ks, uint64_t seed) {
  return Curve(results, ks, seed, "maj", [](const ProblemResult& problem, int64_t k) {
    std::vector<Answer> answers;
    std::set<std::string> right;
    for (const SampleResult* sample : Judged(problem)) {
      answers.push_back(sample->answer.empty() ? Answer() : Answer(sample->answer));
      if (sample->correct) right.insert(sample->answer);
    }
    const auto is_right = [&](const std::string&, const std::string& answer) {
      return right.count(answer) > 0;
    };
    if (k == static_cast<int64_t>(answers.size())) {
      return absl::StatusOr<double>(MajorityCorrect(answers, "", is_right));
    }
    return MajorityAtK(answers, "", k, is_right);
  });
}

json SampleMeans(const EvalResults& results) {
  MomentAccumulator right, wrong, truncated, group_std, top_entropy;
  for (const auto& [index, problem] : results.problems) {
    MomentAccumulator correct;
    for (const SampleResult& sample : problem.samples) {
      const double tokens = sample.tokens;
      if (sample.truncated) truncated.Add(tokens);
      if (!sample.judged) continue;
      (sample.correct ? right : wrong).Add(tokens);
      correct.Add(sample.correct ? 1 : 0);
    }
    if (correct.count() > 0) group_std.Add(correct.std());
    if (problem.top_entropy) top_entropy.Add(*problem.top_entropy);
  }
  const auto mean = [](const MomentAccumulator& values) {
    return values.count() > 0 ? json(values.mean()) : json();
  };
  return {{"mean_right_response_tokens", mean(right)},
          {"mean_wrong_response_tokens", mean(wrong)},
          {"mean_truncated_response_tokens", mean(truncated)},
          {"mean_group_std", mean(group_std)},
          {"mean_top_entropy", mean(top_entropy)}};
}

json CurveJson(const std::vector<MetricAtK>& curve) {
  json out = json::array();
  for (const MetricAtK& metric : curve) {
    out.push_back({{"k", metric.k},
                   {"mean", metric.value.mean},
                   {"low", metric.value.low},
                   {"high", metric.value.high},
                   {"problems", metric.problems}});
  }
  return out;
}

}  // namespace cohort

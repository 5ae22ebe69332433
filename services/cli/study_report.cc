#include "services/cli/study_report.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/config/values.h"
#include "common/telemetry/metric_names.h"
#include "services/cli/report_data.h"
#include "services/cli/report_html.h"
#include "services/cli/study_run.h"
#include "services/cli/study_verdict.h"

namespace cohort {
namespace {

using nlohmann::json;

json IntervalJson(const std::vector<double>& values) {
  if (values.empty()) return nullptr;
  const MeanInterval interval = IntervalOf(values);
  const auto [lowest, highest] = std::minmax_element(values.begin(), values.end());
  return {{"mean", interval.mean},
          {"low", interval.low},
          {"high", interval.high},
          {"spread", *highest - *lowest},
          {"values", values}};
}

// A claim that a recipe's own term is needed: the same without it, which is to fail.
bool IsControl(const std::string& claim) { return absl::EndsWith(claim, "/without"); }

// The key of the first held-out set whose accuracy was measured in training; "": none was.
std::string HeldoutKey(const std::vector<json>& lines) {
  for (const json& line : lines) {
    for (const auto& [key, value] : line.items()) {
      if (absl::StartsWith(key, "eval/") && absl::EndsWith(key, "/accuracy")) return key;
    }
  }
  return "";
}

// Problems that somebody solves and somebody else does not, over the seeds.
class SolvedOverSeeds {
 public:
  // `problems`: the first of them, objects with a prompt.
  void Add(int seed, double count, const json& problems) {
    counts_[absl::StrCat(seed)] = count;
    for (const json& problem : problems) seeds_[Text(problem, "prompt")].push_back(seed);
  }

  // Those of most seeds first.
  json Make() const {
    std::vector<std::pair<std::string, json>> sorted(seeds_.begin(), seeds_.end());
    std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
      return a.second.size() > b.second.size();
    });
    json problems = json::array();
    for (const auto& [prompt, seeds] : sorted) {
      problems.push_back({{"prompt", prompt}, {"seeds", seeds}});
    }
    return {{"counts", counts_}, {"problems", problems}};
  }

 private:
  json counts_ = json::object();
  std::map<std::string, json> seeds_;
};

std::string BoundText(const v1::StudyClaim& claim) {
  if (claim.has_above()) return absl::StrCat("above ", NumberText(claim.above()));
  if (claim.has_below()) return absl::StrCat("below ", NumberText(claim.below()));
  return absl::StrCat("within ", NumberText(claim.within()));
}

class Numbers {
 public:
  Numbers(const NamedStudy& study, const StudyPlan& plan, const StudyPaths& paths,
          const StudyOutcome& outcome, StudyNumbers* numbers)
      : name_(study.name),
        study_(study.study),
        plan_(plan),
        paths_(paths),
        outcome_(outcome),
        numbers_(*numbers) {}

  json Make() {
    json out = {{"study", name_}, {"title", study_.title()}, {"seeds", plan_.seeds}};
    out["about"] = json::array();
    for (const std::string& paragraph : study_.about()) out["about"].push_back(paragraph);
    out["claims"] = Claims();
    out["not_reproduced"] = json::array();
    for (const ClaimResult& claim : outcome_.claims) {
      // A control that holds says that the part which it leaves out is not needed.
      const bool against = IsControl(claim.name) ? claim.verdict == Verdict::kHolds
                                                 : claim.verdict == Verdict::kFails;
      if (against) out["not_reproduced"].push_back(claim.name);
    }
    out["evals"] = Evals();
    out["comparisons"] = Comparisons();
    out["bases"] = json::array();
    for (const v1::StudyBase& base : study_.bases()) {
      out["bases"].push_back({{"name", base.name()}, {"about", base.about()}, {"sft", base.sft()}});
    }
    out["arms"] = json::array();
    out["curves"] = json::array();
    std::vector<std::pair<std::string, json>> training;
    for (const v1::StudyArm& arm : study_.arms()) {
      if (!IsPlanned({StudyNode::Kind::kArm, arm.name(), ""})) continue;
      out["arms"].push_back(Arm(arm, &out["curves"]));
      if (IsTrained(arm)) training.emplace_back(arm.name(), TrainingOf(arm.name()));
    }
    out["training"] = std::move(training);
    out["failed"] = outcome_.failed;
    double seconds = 0;
    out["base_seconds"] = json::object();  // by job: other studies share them
    for (const StudyJob& job : plan_.jobs) {
      if (job.seed == 0) {
        out["base_seconds"][job.name] = SecondsOf(job);
      } else {
        seconds += SecondsOf(job);
      }
    }
    out["job_seconds_per_seed"] = seconds / static_cast<double>(plan_.seeds.size());
    return out;
  }

 private:
  bool IsPlanned(const StudyNode& node) const {
    return std::find(plan_.nodes.begin(), plan_.nodes.end(), node) != plan_.nodes.end();
  }

  json Claims() const {
    json out = json::array();
    for (const ClaimResult& result : outcome_.claims) {
      const v1::StudyClaim& claim = *FindClaim(study_, result.name);
      json entry = {
          {"name", result.name},          {"literature", claim.literature()},
          {"expected", claim.expected()}, {"bound", BoundText(claim)},
          {"note", claim.note()},         {"verdict", std::string(VerdictText(result.verdict))},
          {"missing", result.missing},    {"control", IsControl(result.name)}};
      entry["values"] = json::object();
      for (const auto& [seed, value] : result.values) entry["values"][absl::StrCat(seed)] = value;
      if (result.verdict != Verdict::kMissing) {
        entry["mean"] = result.mean;
        entry["low"] = result.low;
        entry["high"] = result.high;
      }
      entry["terms"] = json::array();
      for (const v1::StudyTerm& term : claim.terms()) {
        entry["terms"].push_back(
            {{"arm", term.arm()}, {"metric", term.metric()}, {"weight", term.weight()}});
      }
      out.push_back(std::move(entry));
    }
    return out;
  }

  json Evals() const {
    json out = json::array();
    for (const v1::StudyEval& eval : study_.evals()) {
      out.push_back({{"name", eval.name()},
                     {"source", eval.has_task() ? eval.task() : eval.path()},
                     {"split", eval.split()},
                     {"prompts", eval.prompts()},
                     {"samples", eval.samples()},
                     {"temperature", eval.temperature()}});
    }
    return out;
  }

  std::string RootOf(std::string name) const {
    for (const v1::StudyArm* arm = FindArm(study_, name); arm != nullptr;
         arm = FindArm(study_, name)) {
      name = StartOf(study_, *arm);
    }
    return name;
  }

  // A trained arm and the base that it comes from.
  bool IsPair(const std::string& a, const std::string& b) const {
    const v1::StudyArm *arm_a = FindArm(study_, a), *arm_b = FindArm(study_, b);
    return arm_a != nullptr && arm_b != nullptr && IsTrained(*arm_a) != IsTrained(*arm_b) &&
           RootOf(a) == RootOf(b);
  }

  json Comparisons() const {
    json out = json::array();
    for (const v1::StudyEval& eval : study_.evals()) {
      if (!IsPlanned({StudyNode::Kind::kComparison, eval.name(), ""})) continue;
      json entry = ComparisonOn(eval);
      if (!entry["pages"].empty()) out.push_back(std::move(entry));
    }
    return out;
  }

  json ComparisonOn(const v1::StudyEval& eval) const {
    struct Pair {
      json crossing = json::object();
      SolvedOverSeeds only_a, only_b;
    };
    json pages = json::object();
    std::map<std::pair<std::string, std::string>, Pair> pairs;
    std::map<std::string, SolvedOverSeeds> alone;
    for (int seed : plan_.seeds) {
      const absl::StatusOr<json> report = numbers_.Comparison(seed, eval.name());
      if (!report.ok()) continue;
      pages[absl::StrCat(seed)] = absl::StrCat("seed-", seed, "/compare-", eval.name(), ".html");
      for (const json& one : Part(*report, "crossings")) {
        const auto key = std::pair(Text(one, "a"), Text(one, "b"));
        if (IsPair(key.first, key.second)) {
          pairs[key].crossing[absl::StrCat(seed)] = one.value("k", json());
        }
      }
      for (const json& one : Part(*report, "paired")) {
        const auto key = std::pair(Text(one, "a"), Text(one, "b"));
        if (!IsPair(key.first, key.second)) continue;
        const json& solved = Part(one, "solved");
        pairs[key].only_a.Add(seed, Number(solved, "only_a"), Part(solved, "problems_a"));
        pairs[key].only_b.Add(seed, Number(solved, "only_b"), Part(solved, "problems_b"));
      }
      for (const json& one : Part(*report, "only_solved")) {
        alone[Text(one, "run")].Add(seed, Number(one, "count"), Part(one, "problems"));
      }
    }
    json out = {{"eval", eval.name()},
                {"k", eval.samples()},
                {"pages", pages},
                {"pairs", json::array()},
                {"alone", json::array()}};
    const std::vector<std::string> arms = ArmsOf(study_, eval);
    for (const std::string& a : arms) {
      for (const std::string& b : arms) {
        const auto found = pairs.find({a, b});
        if (found == pairs.end()) continue;
        out["pairs"].push_back({{"a", a},
                                {"b", b},
                                {"crossing", found->second.crossing},
                                {"only_a", found->second.only_a.Make()},
                                {"only_b", found->second.only_b.Make()}});
      }
      const auto found = alone.find(a);
      if (found == alone.end()) continue;
      out["alone"].push_back({{"arm", a}, {"solved", found->second.Make()}});
    }
    return out;
  }

  // One value per seed that has it.
  template <typename Value>
  json OverSeeds(const Value& value) {
    std::vector<double> values;
    for (int seed : plan_.seeds) {
      const absl::StatusOr<double> one = value(seed);
      if (one.ok()) values.push_back(*one);
    }
    return IntervalJson(values);
  }

  json Arm(const v1::StudyArm& arm, json* curves) {
    json out = {{"name", arm.name()},
                {"about", arm.about()},
                {"from", StartOf(study_, arm)},
                {"trained", IsTrained(arm)}};
    if (IsTrained(arm)) {
      const auto train = [&](const std::string& key, const char* part) {
        StudyMetric metric;
        metric.key = key;
        metric.part = part;
        return OverSeeds([&](int seed) -> absl::StatusOr<double> {
          COHORT_ASSIGN_OR_RETURN(const auto* lines, numbers_.Training(seed, arm.name()));
          return TrainNumber(*lines, metric);
        });
      };
      out["steps"] = train(metric::kStep, "max");
      out["sampled_tokens"] = train(metric::kSampledTokens, "max");
      out["reward_first"] = train(metric::kRewardMean, "first");
      out["reward_last"] = train(metric::kRewardMean, "last");
      const std::string heldout = HeldoutKeyOf(arm.name());
      if (!heldout.empty()) {
        out["heldout_peak"] = train(heldout, "max");
        out["heldout_last"] = train(heldout, "last");
      }
      out["seconds"] = OverSeeds([&](int seed) { return Seconds(arm.name(), seed); });
    }
    out["evals"] = json::array();
    for (const v1::StudyEval& eval : study_.evals()) {
      if (!IsPlanned({StudyNode::Kind::kEval, eval.name(), arm.name()})) continue;
      out["evals"].push_back(Eval(arm.name(), eval));
      curves->push_back(
          {{"arm", arm.name()}, {"eval", eval.name()}, {"points", PassPoints(arm.name(), eval)}});
    }
    return out;
  }

  std::string HeldoutKeyOf(const std::string& arm) {
    for (int seed : plan_.seeds) {
      const auto lines = numbers_.Training(seed, arm);
      if (lines.ok()) return HeldoutKey(**lines);
    }
    return "";
  }

  absl::StatusOr<double> Seconds(const std::string& arm, int seed) const {
    for (const StudyJob& job : plan_.jobs) {
      if (job.folder == paths_.Run(seed, arm) && SecondsOf(job) > 0) return SecondsOf(job);
    }
    return absl::NotFoundError(arm);
  }

  json EvalValue(const std::string& arm, const std::string& eval, const std::string& text) {
    const absl::StatusOr<StudyMetric> metric = ParseStudyMetric(text);
    if (!metric.ok()) return nullptr;
    return OverSeeds([&](int seed) -> absl::StatusOr<double> {
      COHORT_ASSIGN_OR_RETURN(const EvalResults* results, numbers_.Eval(seed, arm, eval));
      return EvalNumber(*results, *metric);
    });
  }

  json Eval(const std::string& arm, const v1::StudyEval& eval) {
    json out = {{"eval", eval.name()}, {"k", eval.samples()}};
    const std::vector<std::pair<std::string, std::string>> kinds = {
        {"pass_1", "pass@1"},
        {"pass_k", absl::StrCat("pass@", eval.samples())},
        {"maj_k", absl::StrCat("maj@", eval.samples())},
        {"length", "length"},
        {"entropy", "entropy"},
        {"truncated", "truncated"},
        {"tokens_per_correct", "tokens_per_correct"}};
    for (const auto& [key, metric] : kinds) {
      out[key] = EvalValue(arm, eval.name(), absl::StrCat("eval:", eval.name(), ":", metric));
    }
    return out;
  }

  json PassPoints(const std::string& arm, const v1::StudyEval& eval) {
    json points = json::array();
    for (int64_t k : PowersOfTwoUpTo(eval.samples())) {
      json value = EvalValue(arm, eval.name(), absl::StrCat("eval:", eval.name(), ":pass@", k));
      if (value.is_null()) continue;
      value["k"] = k;
      points.push_back(std::move(value));
    }
    return points;
  }

  // Curve name -> [step, mean, lowest, highest] over the seeds.
  json TrainingOf(const std::string& arm) {
    std::vector<ReportRun> runs;
    for (int seed : plan_.seeds) {
      const auto lines = numbers_.Training(seed, arm);
      if (!lines.ok()) continue;
      ReportRun run;
      run.metrics = **lines;
      runs.push_back(std::move(run));
    }
    std::map<std::string, std::map<double, std::vector<double>>> values;
    for (const json& run : TrainingCurves(runs)) {
      for (const auto& [name, points] : run["series"].items()) {
        for (const json& point : points) values[name][point[0]].push_back(point[1]);
      }
    }
    json out = json::object();
    for (const auto& [name, by_step] : values) {
      json points = json::array();
      for (const auto& [step, all] : by_step) {
        const auto [low, high] = std::minmax_element(all.begin(), all.end());
        points.push_back({step, IntervalOf(all).mean, *low, *high});
      }
      out[name] = std::move(points);
    }
    return out;
  }

  const std::string& name_;
  const v1::Study& study_;
  const StudyPlan& plan_;
  const StudyPaths& paths_;
  const StudyOutcome& outcome_;
  StudyNumbers& numbers_;
};

}  // namespace

json StudyReportNumbers(const NamedStudy& study, const StudyPlan& plan, const StudyPaths& paths,
                        const StudyOutcome& outcome, StudyNumbers* numbers) {
  return Numbers(study, plan, paths, outcome, numbers).Make();
}

absl::Status WriteStudyReport(const std::string& folder, const json& numbers) {
  COHORT_RETURN_IF_ERROR(MakeFolders(folder));
  const std::string text = numbers.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
  COHORT_RETURN_IF_ERROR(WriteFileAtomic(folder + "/report.json", text));
  COHORT_RETURN_IF_ERROR(WriteFileAtomic(folder + "/report.md", StudyMarkdown(numbers)));
  return WriteFileAtomic(folder + "/report.html", StudyPage(numbers));
}

}  // namespace cohort

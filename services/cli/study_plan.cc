#include "services/cli/study_plan.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "common/base/hash.h"
#include "common/base/status_macros.h"
#include "common/config/config.h"
#include "common/config/values.h"

namespace cohort {
namespace {

using NodeKind = StudyNode::Kind;

class Planner {
 public:
  Planner(const NamedStudy& study, const StudyRunOptions& options)
      : name_(study.name),
        study_(study.study),
        options_(options),
        paths_(options.out, study.name) {}

  absl::StatusOr<StudyPlan> Run() {
    plan_.seeds = options_.seeds;
    plan_.whole = options_.claims.empty();
    if (plan_.seeds.empty()) {
      plan_.seeds.resize(static_cast<size_t>(study_.seeds()));
      std::iota(plan_.seeds.begin(), plan_.seeds.end(), 1);
    }
    COHORT_ASSIGN_OR_RETURN(const std::vector<StudyNode> wanted, Wanted());
    COHORT_ASSIGN_OR_RETURN(plan_.nodes, InOrder(study_, wanted));
    for (int seed : plan_.seeds) {
      if (seed < 1) {
        return absl::InvalidArgumentError(absl::StrCat("seeds: expected 1 or more, found ", seed));
      }
      for (const StudyNode& node : plan_.nodes) COHORT_RETURN_IF_ERROR(AddNode(node, seed));
    }
    return std::move(plan_);
  }

 private:
  absl::StatusOr<std::vector<StudyNode>> Wanted() const {
    if (options_.claims.empty()) return AllNodes(study_);
    std::vector<StudyNode> all;
    for (const std::string& name : options_.claims) {
      const v1::StudyClaim* claim = FindClaim(study_, name);
      if (claim == nullptr) {
        return absl::InvalidArgumentError(
            absl::StrCat("study ", name_, " has no claim called ", name));
      }
      COHORT_ASSIGN_OR_RETURN(const std::vector<StudyNode> nodes, NodesOf(study_, *claim));
      all.insert(all.end(), nodes.begin(), nodes.end());
    }
    return all;
  }

  absl::Status AddNode(const StudyNode& node, int seed) {
    switch (node.kind) {
      case NodeKind::kBase:
        return jobs_of_.count({0, node}) > 0 ? absl::OkStatus() : AddBase(node);
      case NodeKind::kFile:
        return AddFile(node, seed);
      case NodeKind::kArm:
        return AddArm(node, seed);
      case NodeKind::kLogits:
        return AddReport(node, seed);
      case NodeKind::kComparison:
        return AddComparison(node, seed);
      case NodeKind::kEval:
        break;
    }
    return AddEval(node, seed);
  }

  // ---- jobs ----

  absl::Status AddBase(const StudyNode& node) {
    const v1::StudyBase& base = *FindBase(study_, node.name);
    const std::string folder = paths_.Base(base.name());
    std::vector<size_t> needs;
    if (!base.tiny_model().empty()) {
      StudyJob job;
      job.kind = StudyJob::Kind::kModel;
      job.name = absl::StrCat("base ", base.name(), " weights");
      job.argv = {options_.make_tiny_model};
      job.argv.insert(job.argv.end(), base.tiny_model().begin(), base.tiny_model().end());
      job.output = base.has_sft() ? folder + "/tiny" : folder + "/model";
      job.argv.insert(job.argv.end(), {"--out", job.output});
      job.state = folder + "/weights";
      needs = {Add(std::move(job), "")};
    }
    if (base.has_sft()) {
      std::vector<std::string> overrides = OverridesOf(study_, base);
      if (!needs.empty()) overrides.push_back(absl::StrCat("model.path=", folder, "/tiny"));
      StudyJob job;
      job.name = absl::StrCat("base ", base.name());
      job.needs = needs;
      COHORT_RETURN_IF_ERROR(
          AddTraining(std::move(job), "sft", ConfigurationOf(base), overrides, 0, folder));
      needs = {plan_.jobs.size() - 1};
    }
    jobs_of_[{0, node}] = needs.back();
    return absl::OkStatus();
  }

  absl::Status AddArm(const StudyNode& node, int seed) {
    const v1::StudyArm& arm = *FindArm(study_, node.name);
    const std::string start = StartOf(study_, arm);
    std::vector<size_t> needs;
    Need(NodeOfModel(start), seed, &needs);
    if (!IsTrained(arm)) {
      // Whoever needs it needs what it is.
      if (!needs.empty()) jobs_of_[{seed, node}] = needs.back();
      return absl::OkStatus();
    }
    std::vector<std::string> overrides = OverridesOf(study_, arm);
    overrides.push_back(absl::StrCat("run.seed=", seed));
    overrides.push_back(absl::StrCat("model.path=", paths_.Model(study_, seed, start)));
    overrides.insert(overrides.end(), options_.overrides.begin(), options_.overrides.end());
    StudyJob job;
    job.name = absl::StrCat("seed ", seed, " ", arm.name());
    job.needs = needs;
    COHORT_RETURN_IF_ERROR(AddTraining(std::move(job), arm.has_sft() ? "sft" : "train",
                                       ConfigurationOf(arm), overrides, seed,
                                       paths_.Arm(seed, arm.name())));
    jobs_of_[{seed, node}] = plan_.jobs.size() - 1;
    return absl::OkStatus();
  }

  absl::Status AddTraining(StudyJob job, const char* command, const std::string& configuration,
                           std::vector<std::string> overrides, int seed,
                           const std::string& folder) {
    Resolve(&overrides, seed, "", &job.needs);
    COHORT_ASSIGN_OR_RETURN(const v1::RunConfig config, LoadConfig(configuration, overrides));
    job.kind = StudyJob::Kind::kTraining;
    job.seed = seed;
    job.folder = folder + "/run";
    job.output = job.link = folder + "/model";
    job.state = seed == 0 ? folder + "/run-job" : StateOf(job.name);
    job.argv = {options_.cohort, command, "-c", configuration, "--out", job.folder};
    for (const std::string& setting : overrides) {
      job.argv.insert(job.argv.end(), {"--set", setting});
    }
    Add(std::move(job), PrintConfig(config));
    return absl::OkStatus();
  }

  absl::Status AddEval(const StudyNode& node, int seed) {
    const v1::StudyEval& eval = *FindEval(study_, node.name);
    StudyJob job;
    job.kind = StudyJob::Kind::kEvaluation;
    job.seed = seed;
    job.name = absl::StrCat("seed ", seed, " ", node.arm, " ", eval.name());
    job.output = paths_.EvalResult(seed, node.arm, eval.name());
    Need(NodeOfModel(node.arm), seed, &job.needs);
    std::vector<std::string> arguments = {eval.has_task() ? "--task" : "--data",
                                          eval.has_task() ? eval.task() : eval.path()};
    arguments.insert(arguments.end(), eval.args().begin(), eval.args().end());
    Resolve(&arguments, seed, "", &job.needs);
    job.argv = {options_.cohort,
                "eval",
                "--model",
                paths_.Model(study_, seed, node.arm),
                "--split",
                eval.split(),
                "--prompts",
                absl::StrCat(eval.prompts()),
                "--samples",
                absl::StrCat(eval.samples()),
                "--temperature",
                NumberText(eval.temperature()),
                "--max-new-tokens",
                absl::StrCat(eval.max_new_tokens()),
                "--seed",
                absl::StrCat(seed),
                "--threads",
                "1",
                "--out",
                job.output};
    job.argv.insert(job.argv.end(), arguments.begin(), arguments.end());
    job.state = StateOf(job.name);
    jobs_of_[{seed, node}] = Add(std::move(job), "");
    return absl::OkStatus();
  }

  absl::Status AddReport(const StudyNode& node, int seed) {
    StudyJob job;
    job.kind = StudyJob::Kind::kReport;
    job.seed = seed;
    job.name = absl::StrCat("seed ", seed, " ", node.arm, " ", node.name, " logits");
    job.output = paths_.Report(seed, node.arm, node.name);
    Need({NodeKind::kEval, node.name, node.arm}, seed, &job.needs);
    job.argv = {options_.cohort,
                "report",
                "--run",
                absl::StrCat(node.arm, "=", paths_.EvalProblems(seed, node.arm, node.name)),
                "--threads",
                "1",
                "--out",
                absl::StrCat(absl::StripSuffix(job.output, ".json"), ".html"),
                "--json",
                job.output};
    job.state = StateOf(job.name);
    jobs_of_[{seed, node}] = Add(std::move(job), "");
    return absl::OkStatus();
  }

  absl::Status AddComparison(const StudyNode& node, int seed) {
    StudyJob job;
    job.kind = StudyJob::Kind::kReport;
    job.seed = seed;
    job.name = absl::StrCat("seed ", seed, " ", node.name, " compared");
    job.output = paths_.Comparison(seed, node.name);
    job.argv = {options_.cohort, "report", "--no-models"};
    for (const std::string& arm : ArmsOf(study_, *FindEval(study_, node.name))) {
      Need({NodeKind::kEval, node.name, arm}, seed, &job.needs);
      job.argv.insert(job.argv.end(),
                      {"--run", absl::StrCat(arm, "=", paths_.EvalProblems(seed, arm, node.name))});
    }
    job.argv.insert(job.argv.end(),
                    {"--out", absl::StrCat(absl::StripSuffix(job.output, ".json"), ".html"),
                     "--json", job.output});
    job.state = StateOf(job.name);
    jobs_of_[{seed, node}] = Add(std::move(job), "");
    return absl::OkStatus();
  }

  absl::Status AddFile(const StudyNode& node, int seed) {
    const v1::StudyFile& file = *FindFile(study_, node.name);
    StudyJob job;
    job.kind = StudyJob::Kind::kFile;
    job.seed = seed;
    job.name = absl::StrCat("seed ", seed, " file ", file.name());
    job.output = paths_.File(seed, file.name());
    std::vector<std::string> arguments = {file.run().begin(), file.run().end()};
    Resolve(&arguments, seed, job.output, &job.needs);
    job.argv = {options_.cohort};
    job.argv.insert(job.argv.end(), arguments.begin(), arguments.end());
    job.state = StateOf(job.name);
    jobs_of_[{seed, node}] = Add(std::move(job), "");
    return absl::OkStatus();
  }

  // ---- pieces ----

  // `configuration`: what the arguments do not show. The program's own path does not count.
  size_t Add(StudyJob job, const std::string& configuration) {
    Sha256 hash;
    hash.Update(absl::StrCat(absl::StrJoin(job.argv.begin() + 1, job.argv.end(), "\n"), "\n\n",
                             configuration));
    std::sort(job.needs.begin(), job.needs.end());
    job.needs.erase(std::unique(job.needs.begin(), job.needs.end()), job.needs.end());
    for (size_t needed : job.needs) hash.Update(plan_.jobs[needed].fingerprint);
    job.fingerprint = hash.HexDigest();
    plan_.jobs.push_back(std::move(job));
    return plan_.jobs.size() - 1;
  }

  std::string StateOf(const std::string& job) const {
    return absl::StrCat(paths_.Study(), "/jobs/", absl::StrReplaceAll(job, {{" ", "-"}}));
  }

  StudyNode NodeOfModel(const std::string& name) const {
    const bool arm = FindArm(study_, name) != nullptr;
    return {arm ? NodeKind::kArm : NodeKind::kBase, name, ""};
  }

  void Need(const StudyNode& node, int seed, std::vector<size_t>* needs) const {
    const auto job = jobs_of_.find({node.kind == NodeKind::kBase ? 0 : seed, node});
    if (job != jobs_of_.end()) needs->push_back(job->second);
  }

  // Puts paths in the place of ${...} and notes whose they are.
  void Resolve(std::vector<std::string>* texts, int seed, const std::string& out,
               std::vector<size_t>* needs) const {
    for (std::string& text : *texts) {
      text = ReplaceReferences(text, [&](const StudyReference& reference) {
        return Value(reference, seed, out, needs);
      });
    }
  }

  std::string Value(const StudyReference& reference, int seed, const std::string& out,
                    std::vector<size_t>* needs) const {
    const std::string& name = reference.name;
    if (reference.kind == "seed") return absl::StrCat(seed);
    if (reference.kind == "out") return out;
    if (reference.kind == "file") {
      Need({NodeKind::kFile, name, ""}, seed, needs);
      return paths_.File(seed, name);
    }
    if (reference.kind == "eval") {
      const size_t slash = name.find('/');
      const std::string arm = name.substr(0, slash), eval = name.substr(slash + 1);
      Need({NodeKind::kEval, eval, arm}, seed, needs);
      return paths_.EvalProblems(seed, arm, eval);
    }
    Need(NodeOfModel(name), seed, needs);
    return reference.kind == "run" ? paths_.Run(seed, name) : paths_.Model(study_, seed, name);
  }

  const std::string name_;
  const v1::Study& study_;
  const StudyRunOptions& options_;
  const StudyPaths paths_;
  StudyPlan plan_;
  // The last job of each node; by seed, 0 of bases.
  std::map<std::pair<int, StudyNode>, size_t> jobs_of_;
};

}  // namespace

// ---- StudyPaths ----

std::string StudyPaths::Study() const { return absl::StrCat(out_, "/", name_); }
std::string StudyPaths::Base(const std::string& base) const {
  return absl::StrCat(out_, "/bases/", base);
}
std::string StudyPaths::Arm(int seed, const std::string& arm) const {
  return absl::StrCat(Study(), "/seed-", seed, "/", arm);
}
std::string StudyPaths::Run(int seed, const std::string& arm) const {
  return absl::StrCat(Arm(seed, arm), "/run");
}
std::string StudyPaths::EvalResult(int seed, const std::string& arm,
                                   const std::string& eval) const {
  return absl::StrCat(Arm(seed, arm), "/eval-", eval, ".json");
}
std::string StudyPaths::EvalProblems(int seed, const std::string& arm,
                                     const std::string& eval) const {
  return absl::StrCat(EvalResult(seed, arm, eval), "l");
}
std::string StudyPaths::Report(int seed, const std::string& arm, const std::string& eval) const {
  return absl::StrCat(Arm(seed, arm), "/report-", eval, ".json");
}
std::string StudyPaths::Comparison(int seed, const std::string& eval) const {
  return absl::StrCat(Study(), "/seed-", seed, "/compare-", eval, ".json");
}
std::string StudyPaths::File(int seed, const std::string& file) const {
  return absl::StrCat(Study(), "/seed-", seed, "/files/", file);
}
std::string StudyPaths::Model(const v1::Study& study, int seed, const std::string& name) const {
  const v1::StudyArm* arm = FindArm(study, name);
  if (arm == nullptr) return absl::StrCat(Base(name), "/model");
  if (!IsTrained(*arm)) return Model(study, seed, StartOf(study, *arm));
  return absl::StrCat(Arm(seed, name), "/model");
}

// ---- the plan ----

int StudyPlan::Count(StudyJob::Kind kind) const {
  return static_cast<int>(std::count_if(jobs.begin(), jobs.end(), [&](const StudyJob& job) {
    return job.kind == kind && job.seed > 0;
  }));
}

absl::StatusOr<StudyPlan> PlanStudy(const NamedStudy& study, const StudyRunOptions& options) {
  return Planner(study, options).Run();
}

std::string BudgetText(const NamedStudy& study, const StudyPlan& plan) {
  const auto bases = std::count_if(plan.jobs.begin(), plan.jobs.end(), [](const StudyJob& job) {
    return job.seed == 0 && job.kind == StudyJob::Kind::kTraining;
  });
  std::string text = absl::StrFormat(
      "study %s: %s\nbudget: %d seeds, %d trainings, %d evaluations, %d base models (made once)",
      study.name, study.study.title(), plan.seeds.size(), plan.Count(StudyJob::Kind::kTraining),
      plan.Count(StudyJob::Kind::kEvaluation), bases);
  const double minutes = study.study.minutes_per_seed();
  if (plan.whole && minutes > 0) {
    absl::StrAppendFormat(&text, "; about %.0f minutes per seed on two cores, %.0f in all", minutes,
                          minutes * static_cast<double>(plan.seeds.size()));
  }
  return text + "\n";
}

}  // namespace cohort

#include "services/cli/study.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "services/cli/commands.h"
#include "services/cli/study_metrics.h"
#include "services/cli/study_plan.h"
#include "services/cli/study_report.h"
#include "services/cli/study_run.h"
#include "services/cli/study_verdict.h"

namespace cohort {
namespace {

namespace fs = std::filesystem;

bool IsAsked(const StudyRunOptions& options, const std::string& claim) {
  return options.claims.empty() ||
         std::find(options.claims.begin(), options.claims.end(), claim) != options.claims.end();
}

absl::StatusOr<double> ValueOf(const v1::StudyClaim& claim, int seed, StudyNumbers* numbers) {
  double sum = 0;
  for (const v1::StudyTerm& term : claim.terms()) {
    const absl::StatusOr<double> value = numbers->Value(term, seed);
    if (!value.ok()) {
      return absl::Status(value.status().code(),
                          absl::StrCat("seed ", seed, ": ", term.arm(), " ", term.metric(), ": ",
                                       value.status().message()));
    }
    sum += term.weight() * *value;
  }
  return sum;
}

ClaimResult Judged(const v1::StudyClaim& claim, const std::vector<int>& seeds,
                   StudyNumbers* numbers) {
  ClaimResult result;
  result.name = claim.name();
  for (int seed : seeds) {
    const absl::StatusOr<double> value = ValueOf(claim, seed, numbers);
    if (value.ok()) {
      result.values[seed] = *value;
    } else {
      result.missing.emplace_back(value.status().message());
    }
  }
  JudgeClaim(claim, &result);
  return result;
}

class StudyCommand {
 public:
  StudyCommand(const NamedStudy& study, StudyRunOptions options)
      : study_(study), options_(std::move(options)), paths_(options_.out, study.name) {}

  absl::Status Prepare() {
    COHORT_RETURN_IF_ERROR(CheckStudy(study_.study));
    if (access(options_.cohort.c_str(), X_OK) != 0) {
      return absl::NotFoundError(absl::StrCat("expected the program cohort at '", options_.cohort,
                                              "', where nothing can be run"));
    }
    if (options_.make_tiny_model.empty() && MakesTinyModels()) {
      COHORT_ASSIGN_OR_RETURN(options_.make_tiny_model, FindMakeTinyModel(options_.cohort));
    }
    COHORT_ASSIGN_OR_RETURN(plan_, PlanStudy(study_, options_));
    return absl::OkStatus();
  }

  absl::StatusOr<StudyOutcome> Run() {
    StudyOutcome outcome;
    outcome.folder = paths_.Study();
    StudyRunnerOptions runner;
    runner.progress = options_.progress;
    absl::Status written;
    runner.seed_done = [&](int seed) {
      if (!options_.report || seed == plan_.seeds.back()) return;
      Judge(&outcome);
      written.Update(Report(outcome));
    };
    COHORT_ASSIGN_OR_RETURN(const StudyProgress progress, RunStudyJobs(plan_, runner));
    COHORT_RETURN_IF_ERROR(written);
    outcome.failed = progress.failed;
    outcome.signal = progress.signal;
    outcome.stopped = progress.signal != 0;
    Judge(&outcome);
    if (options_.report) COHORT_RETURN_IF_ERROR(Report(outcome));
    return outcome;
  }

  const StudyPlan& plan() const { return plan_; }

 private:
  bool MakesTinyModels() const {
    return std::any_of(study_.study.bases().begin(), study_.study.bases().end(),
                       [](const v1::StudyBase& base) { return !base.tiny_model().empty(); });
  }

  void Judge(StudyOutcome* outcome) const {
    StudyNumbers numbers(study_, paths_);
    outcome->claims.clear();
    for (const v1::StudyClaim& claim : study_.study.claims()) {
      if (!IsAsked(options_, claim.name())) continue;
      outcome->claims.push_back(Judged(claim, plan_.seeds, &numbers));
    }
  }

  absl::Status Report(const StudyOutcome& outcome) const {
    StudyNumbers numbers(study_, paths_);
    return WriteStudyReport(paths_.Study(),
                            StudyReportNumbers(study_, plan_, paths_, outcome, &numbers));
  }

  const NamedStudy& study_;
  StudyRunOptions options_;
  const StudyPaths paths_;
  StudyPlan plan_;
};

void PrintPlan(const StudyPlan& plan) {
  for (const StudyJob& job : plan.jobs) {
    std::cout << job.name << ":";
    for (const std::string& argument : job.argv) std::cout << " " << argument;
    std::cout << "\n";
  }
}

void PrintVerdicts(const StudyOutcome& outcome) {
  for (const ClaimResult& claim : outcome.claims) {
    std::cout << VerdictText(claim.verdict) << ": " << claim.name;
    if (claim.verdict != Verdict::kMissing) {
      std::cout << " (" << claim.mean << ", [" << claim.low << ", " << claim.high << "], "
                << claim.values.size() << " seeds)";
    }
    std::cout << "\n";
  }
}

int ListStudies() {
  const std::vector<NamedStudy> studies = Studies();
  size_t width = 0;
  for (const NamedStudy& study : studies) width = std::max(width, study.name.size());
  for (const NamedStudy& study : studies) {
    std::cout << study.name << std::string(width + 2 - study.name.size(), ' ')
              << study.study.title() << "\n";
  }
  return 0;
}

// Up from the program: build/release/bin/cohort lies in the source tree.
std::string AboveProgram(const std::string& program) {
  std::error_code ignored;
  for (fs::path at = fs::weakly_canonical(program, ignored).parent_path(); at.has_relative_path();
       at = at.parent_path()) {
    const fs::path tool = at / "tools" / "make_tiny_model";
    if (access(tool.c_str(), X_OK) == 0) return tool.string();
  }
  return "";
}

}  // namespace

const ClaimResult* StudyOutcome::Claim(absl::string_view name) const {
  const auto found = std::find_if(claims.begin(), claims.end(),
                                  [&](const ClaimResult& claim) { return claim.name == name; });
  return found == claims.end() ? nullptr : &*found;
}

absl::StatusOr<std::string> FindMakeTinyModel(const std::string& program) {
  const std::string above = AboveProgram(program);
  if (!above.empty()) return above;
  if (const char* source = std::getenv("COHORT_SOURCE_DIR")) {
    const std::string tool = absl::StrCat(source, "/tools/make_tiny_model");
    if (access(tool.c_str(), X_OK) == 0) return tool;
  }
  return absl::NotFoundError(
      absl::StrCat("expected tools/make_tiny_model in a folder above ", program,
                   " or in COHORT_SOURCE_DIR; set COHORT_SOURCE_DIR to the source tree"));
}

absl::StatusOr<StudyOutcome> RunStudy(const NamedStudy& study, const StudyRunOptions& options) {
  StudyCommand command(study, options);
  COHORT_RETURN_IF_ERROR(command.Prepare());
  return command.Run();
}

int RunStudyCommand(const StudyArgs& args) {
  if (args.name.empty()) return ListStudies();
  const absl::StatusOr<NamedStudy> study = FindStudy(args.name);
  if (!study.ok()) return Fail("study", study.status());
  StudyRunOptions options;
  options.out = args.out;
  for (int seed = 1; seed <= args.seeds; ++seed) options.seeds.push_back(seed);
  if (!args.only_seeds.empty()) options.seeds = args.only_seeds;
  options.claims = args.claims;
  options.overrides = args.overrides;
  options.cohort = args.self;
  options.progress = &std::cout;
  StudyCommand command(*study, options);
  const absl::Status prepared = command.Prepare();
  if (!prepared.ok()) return Fail("study", prepared);
  std::cout << BudgetText(*study, command.plan()) << std::flush;
  if (args.plan) {
    PrintPlan(command.plan());
    return 0;
  }
  const absl::StatusOr<StudyOutcome> outcome = command.Run();
  if (!outcome.ok()) return Fail("study", outcome.status());
  if (outcome->stopped) {
    std::cout << "stopped; the same command continues" << std::endl;
    return 128 + outcome->signal;
  }
  PrintVerdicts(*outcome);
  std::cout << "report             " << outcome->folder << "/report.html" << std::endl;
  if (outcome->failed.empty()) return 0;
  return Fail("study", absl::UnavailableError(absl::StrCat(
                           outcome->failed.size(), " jobs failed or could not be made; the first: ",
                           outcome->failed.front())));
}

}  // namespace cohort

// What a study runs: its seeds, bases, arms and evaluations as an ordered list of commands.
//
//   OUT/bases/NAME/{tiny,run,model}             shared by all seeds and studies of OUT
//   OUT/STUDY/seed-1/ARM/{run,model}            `model`: a link to what the run ended with
//   OUT/STUDY/seed-1/ARM/eval-EVAL.json, .jsonl
//   OUT/STUDY/seed-1/ARM/report-EVAL.json, .html   where a claim looks at logits
//   OUT/STUDY/seed-1/compare-EVAL.json, .html      where the evaluation asks for it
//   OUT/STUDY/seed-1/files/FILE
//   OUT/STUDY/jobs/JOB.{log,json}               output; how the job ended (study_run.h)
//
// Pure, but for reading the configurations that arms name.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/cli/study.h"

namespace cohort {

struct StudyJob {
  enum class Kind { kModel, kTraining, kEvaluation, kReport, kFile };
  std::string name;  // "base m1", "seed 1 grpo", "seed 1 grpo main"; unique
  Kind kind = Kind::kTraining;
  int seed = 0;                   // 0: of a base
  std::vector<std::string> argv;  // [0]: path of the program
  std::vector<size_t> needs;      // indices of earlier jobs
  std::string state;              // path of its log and state without .log and .json
  std::string output;             // file or folder that is there when it is done
  std::string folder;             // of a training: its run
  std::string link;               // of a training: made to point at its last checkpoint
  std::string fingerprint;        // of its arguments, its configuration and what it needs
};

class StudyPaths {
 public:
  StudyPaths(std::string out, std::string name) : out_(std::move(out)), name_(std::move(name)) {}
  std::string Study() const;
  std::string Base(const std::string& base) const;
  std::string Arm(int seed, const std::string& arm) const;
  std::string Run(int seed, const std::string& arm) const;
  std::string EvalResult(int seed, const std::string& arm, const std::string& eval) const;
  std::string EvalProblems(int seed, const std::string& arm, const std::string& eval) const;
  std::string Report(int seed, const std::string& arm, const std::string& eval) const;
  std::string Comparison(int seed, const std::string& eval) const;
  std::string File(int seed, const std::string& file) const;
  // Of a base or an arm; an arm that is not trained has the model it starts from.
  std::string Model(const v1::Study& study, int seed, const std::string& name) const;

 private:
  std::string out_, name_;
};

struct StudyPlan {
  std::vector<StudyJob> jobs;  // each after what it needs; by seed
  std::vector<int> seeds;
  std::vector<StudyNode> nodes;  // what is made for every seed, in order
  bool whole = true;             // not only what some claims need

  int Count(StudyJob::Kind kind) const;
};

// options.cohort and options.make_tiny_model must be paths.
absl::StatusOr<StudyPlan> PlanStudy(const NamedStudy& study, const StudyRunOptions& options);

// "budget: 12 trainings, 24 evaluations, ...": for a person who is about to start it.
std::string BudgetText(const NamedStudy& study, const StudyPlan& plan);

}  // namespace cohort

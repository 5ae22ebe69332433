// A study from its plan to its verdicts: what `cohort study` and the slow tests call.
//
//   NamedStudy study = *FindStudy("efficient");          // common/config/studies.h
//   StudyRunOptions options;
//   options.out = folder.path();                         // bases, runs and report below it
//   options.seeds = {1};
//   options.claims = {"thinkprune is shorter"};          // only what they need is run
//   options.cohort = bin + "/cohort";                    // the other programs lie beside it
//   StatusOr<StudyOutcome> outcome = RunStudy(study, options);
//   outcome->Claim("thinkprune is shorter")->verdict == Verdict::kHolds
//
// RunStudy forks (no gRPC, no LibTorch in this process before or during it) and takes this
// process's signals until it returns; for one thread. What a finished job left is kept and not made
// again, so that a second call with the same folder continues the first. Two processes must not run
// the same study in one folder at a time.
#pragma once

#include <map>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/config/studies.h"

namespace cohort {

struct StudyRunOptions {
  std::string out = "runs/studies";    // bases in OUT/bases, the rest in OUT/NAME
  std::vector<int> seeds;              // empty: 1 to the study's own number
  std::vector<std::string> claims;     // only what these need; empty: everything
  std::vector<std::string> overrides;  // key=value, of every arm's training, after its own
  std::string cohort;                  // path of the `cohort` program
  std::string make_tiny_model;         // path; empty: looked for (FindMakeTinyModel)
  std::ostream* progress = nullptr;    // lines for people; null: none
  bool report = true;                  // write report.json, report.md and report.html
};

enum class Verdict { kHolds, kFails, kUnclear, kMissing };  // kMissing: no seed has a value
absl::string_view VerdictText(Verdict verdict);             // "holds", ...

struct ClaimResult {
  std::string name;
  std::map<int, double> values;        // by seed
  double mean = 0, low = 0, high = 0;  // 95 % interval of the mean, Student's t
  Verdict verdict = Verdict::kMissing;
  std::vector<std::string> missing;  // why seeds have no value, one line each
};

struct StudyOutcome {
  std::vector<ClaimResult> claims;  // in the study's order
  // Jobs that failed or could not start, with their log, one line each.
  std::vector<std::string> failed;
  std::string folder;    // OUT/NAME
  bool stopped = false;  // by a signal: 128 + it is the exit status
  int signal = 0;

  const ClaimResult* Claim(absl::string_view name) const;  // null: not asked for
};

// InvalidArgument: the study or the options; NotFound: a program. Failed jobs are no error of this.
absl::StatusOr<StudyOutcome> RunStudy(const NamedStudy& study, const StudyRunOptions& options);

// tools/make_tiny_model: above the program's folder, or in COHORT_SOURCE_DIR.
absl::StatusOr<std::string> FindMakeTinyModel(const std::string& program);

}  // namespace cohort

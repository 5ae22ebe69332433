// The jobs of a study as child processes: trainings one at a time (learner and workers share the
// cores), evaluations and files two at a time.
//
// How a job ended is written to its STATE.json: {"fingerprint", "state": "started", "finished" or
// "failed", "seconds", "argv"}. A finished one with the same fingerprint and its output there is
// not repeated; a training that was interrupted goes on from its checkpoint, if it left one;
// everything else is made anew. What needs a failed job is left out; the rest goes on.
//
// For one thread without others: it forks (supervisor.h).
#pragma once

#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/cli/study_plan.h"

namespace cohort {

struct StudyProgress {
  std::vector<std::string> failed;  // a line each: what failed and why, or what it lacked
  int signal = 0;                   // that stopped it
  int ran = 0;                      // jobs started by this call
};

struct StudyRunnerOptions {
  std::ostream* progress = nullptr;  // null: none
  int slots = 2;                     // a training takes all of them
  // After the last job of a seed.
  std::function<void(int seed)> seed_done = nullptr;
};

// An error is of this machine: a folder that cannot be written.
absl::StatusOr<StudyProgress> RunStudyJobs(const StudyPlan& plan,
                                           const StudyRunnerOptions& options);

// Seconds that a finished job took; 0: not finished.
double SecondsOf(const StudyJob& job);

}  // namespace cohort

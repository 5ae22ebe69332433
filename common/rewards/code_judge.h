// Tests in Python, judged where the answer cannot reach them: two sandboxes with a channel between
// them. In one the answer runs, as a module; in the other a judge runs the tests, asks the first
// to call its functions, and compares what it says with what is expected. The answer's process sees
// the arguments of the calls and nothing else: no test, no expected value, no mark by which the
// verdict is told. docs/rewards.md says what follows from that, and what does not.
//
// The judge's Python is in python/: wire.py (values on the channel), remote.py (the answer's
// objects), names.py and runner.py (tests), judge.py; the answer's side is guest.py.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/rewards/code_cases.h"
#include "common/rewards/sandbox.h"
#include "common/rewards/verifier.h"

namespace cohort {

struct JudgedRun {
  enum class Verdict : uint8_t {
    kRight,
    kWrong,
    kVoid,  // the tests cannot be run, or test nothing, whatever the answer is
    kNone,  // the judge itself did not get to its end
  };
  Verdict verdict = Verdict::kNone;
  std::string note;
  SandboxResult answer;  // of the process that ran it
  SandboxResult::End judge_end = SandboxResult::End::kExited;
};

// `code`: the answer. Takes the answer's own time and a little, as RunInSandbox does; an error: a
// process could not be started. Thread-safe.
absl::StatusOr<JudgedRun> RunJudged(const std::string& code, const CodeTests& tests,
                                    const CodeOptions& options,
                                    const std::vector<std::string>& readable);

// The longest that RunJudged takes.
absl::Duration JudgedBound(absl::Duration seconds);

namespace internal {
extern const char kJudgeScript[];
extern const char kGuestScript[];
}  // namespace internal

}  // namespace cohort

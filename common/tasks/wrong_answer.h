// Written-out solutions that end in a wrong answer, for bases that say less (or more) than they
// know on purpose (sft.wrong_share). Pure functions of the prompt and the draws.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "common/base/rng.h"
#include "common/tasks/prompt_source.h"

namespace cohort {

enum class WrongAnswerKind : uint8_t {
  kAny,   // another number with as many digits, each as likely
  kNext,  // the right number plus one
};

// Replaces the end of Prompt::solution, which is Prompt::answer; the steps before it and the answer
// that a verifier looks at stay. InvalidArgument where the answer is no whole number of at least 0
// or the solution does not end with it.
absl::Status EndInWrongAnswer(WrongAnswerKind kind, CounterRng* rng, Prompt* prompt);

}  // namespace cohort

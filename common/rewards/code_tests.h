// Rewards for programs: the answer's code is run against the prompt's tests in a sandbox.
//
// Column `tests` (code_cases.h):
//   code (a text, or a list of texts; Python): judged by code_judge.h, so that the answer sees
//   neither
//       the tests nor what is expected.
//   cases (an input and the output that belongs to it, or a function's arguments and result): a run
//       with that standard input, right when the output is the one given, white space at line
//       ends aside; for any language. Or a call, judged as above.
// Tests that an empty program passes are none: unscorable.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/rewards/verifier.h"

namespace cohort {

// Errors name the configuration's field: no interpreter, one that is not there, one that does not
// run in the sandbox (tried here with a program of one line).
absl::StatusOr<std::unique_ptr<Verifier>> MakeCodeVerifier(const VerifierOptions& options);

}  // namespace cohort

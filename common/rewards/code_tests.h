// Rewards for programs: the answer's code is run against the prompt's tests in a sandbox.
//
// Column `tests`, in one of two forms:
//   code (a text, or a list of texts): put after the answer's code; right when all of it runs to
//       its end. For an interpreter in which print("x") prints, such as Python.
//   cases (a list of {"input": ..., "output": ...}): each is a run with that standard input; right
//       when every output is the one given, white space at line ends aside. For any language.
// The answer's code is its last ``` block, or all of it when there is none.
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

// The content of the last ``` block (to the end where it is not closed), else the text.
absl::string_view ExtractCode(absl::string_view text);

}  // namespace cohort

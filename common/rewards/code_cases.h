// The column `tests` of a prompt whose answers are programs, in the forms that data sets have.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "common/rewards/verifier.h"

namespace cohort {

// A run with an input, and what it has to print.
struct OutputCase {
  std::string input;
  std::string output;
};

struct CodeTests {
  std::string code;         // Python; "": none
  std::string entry_point;  // of a function `check` in `code`
  std::string function;     // called with each of `calls`
  nlohmann::json calls;     // [[arguments], result] each
  std::vector<OutputCase> outputs;
  std::set<std::string> names;  // of the answer, as far as the tests show
  std::string problem;          // why these are no tests; "": they are
};

CodeTests ReadCodeTests(const nlohmann::json& columns);

}  // namespace cohort

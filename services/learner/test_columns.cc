#include "services/learner/test_columns.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/rewards/code_cases.h"
#include "common/text/json.h"

namespace cohort {
namespace {

constexpr uint64_t kLooked = 10000;  // prompts; reading their tests takes time

}  // namespace

absl::Status CheckTestColumns(const PromptSource& source, Split split) {
  const uint64_t size = std::min(source.Size(split), kLooked);
  uint64_t without = 0;
  std::string first;
  for (uint64_t i = 0; i < size; ++i) {
    COHORT_ASSIGN_OR_RETURN(const Prompt prompt, source.At(i, split));
    COHORT_ASSIGN_OR_RETURN(const nlohmann::json columns,
                            ParseJson(prompt.columns_json, "prompt columns"));
    const std::string problem = ReadCodeTests(columns).problem;
    if (problem.empty()) continue;
    if (++without == 1) first = absl::StrCat("prompt ", i, ": ", problem);
  }
  if (without == 0) return absl::OkStatus();
  const std::string found = absl::StrCat("data source ", source.name(), ": ", without, " of ", size,
                                         " prompts have no tests for code_tests (", first, ")");
  if (without == size) {
    return absl::InvalidArgumentError(
        absl::StrCat(found, "; docs/rewards.md says which forms the column `tests` may have"));
  }
  COHORT_LOG(WARNING) << found << "; their samples are unscorable and left out of training";
  return absl::OkStatus();
}

}  // namespace cohort

// Whether prompts whose answers are programs come with tests.
#pragma once

#include "absl/status/status.h"
#include "common/tasks/prompt_source.h"

namespace cohort {

// Reads the column `tests` of the source's prompts, of a long file the first ones. Some that have
// none are told in the log, once and together: their samples will be unscorable. None that has any
// is an error.
absl::Status CheckTestColumns(const PromptSource& source, Split split);

}  // namespace cohort

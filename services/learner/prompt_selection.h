// algorithm.data.select: the prompts that an earlier run's history recommends, and no others
// (algorithms.md 8.1, 8.2). `cohort select` does the same to a file.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "common/config/config.h"
#include "common/tasks/prompt_source.h"
#include "common/text/tokenizer.h"

namespace cohort {

// Nothing where no selection is asked for. Otherwise ranks the prompts of all parts together and
// leaves each part its chosen ones, equally often; parts without any are dropped. Of a procedural
// task the distinct prompts among its first 4096 draws are ranked. An epoch is one pass over a
// single source; with several, the n-th visit of a prompt is its n-th epoch.
absl::Status SelectPrompts(const v1::RunConfig& config, const PromptFormat& format,
                           const Tokenizer& tokenizer, std::vector<PromptMixture::Part>* parts);

}  // namespace cohort

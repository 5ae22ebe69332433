// One hash for what a Hugging Face folder contains: by it learner and worker know that they have
// the same model.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace cohort {

// Hex SHA-256 over the folder's weights, tokenizer, chat template and configuration files: over the
// lines "NAME SIZE CHUNK...\n" in name order, where CHUNK is the SHA-256 of 8 MiB of the file (so
// that cores share the work). Other files do not count. NotFound when config.json or the weights
// are missing.
absl::StatusOr<std::string> ModelContentHash(const std::string& folder);

}  // namespace cohort

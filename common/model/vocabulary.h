// Whether a tokenizer and a model can be of one folder.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "common/model/model_config.h"

namespace cohort {

// `token_ids`: the tokenizer's largest id + 1. InvalidArgument when the model has fewer embeddings;
// a model may have more (padding). `folder` is for the message.
absl::Status CheckVocabulary(const std::string& folder, int64_t token_ids,
                             const ModelConfig& config);

}  // namespace cohort

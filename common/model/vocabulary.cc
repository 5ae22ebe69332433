#include "common/model/vocabulary.h"

#include "absl/strings/str_cat.h"

namespace cohort {

absl::Status CheckVocabulary(const std::string& folder, int64_t token_ids,
                             const ModelConfig& config) {
  if (token_ids <= config.vocab_size) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(folder, ": the tokenizer has ids up to ", token_ids - 1, " but the model only ",
                   config.vocab_size, " embeddings; they are not of one model"));
}

}  // namespace cohort

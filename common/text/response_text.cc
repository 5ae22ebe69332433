#include "common/text/response_text.h"

namespace cohort {

absl::StatusOr<std::string> ResponseText(const Tokenizer& tokenizer,
                                         absl::Span<const int32_t> response) {
  if (!response.empty() && tokenizer.IsEos(response.back())) response.remove_suffix(1);
  return tokenizer.Decode(response, /*skip_special=*/false);
}

}  // namespace cohort

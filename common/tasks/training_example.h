// From a prompt with a written-out response to tokens for supervised training: which of them the
// model is to learn (what an assistant says, up to its end-of-sequence token) and which it only
// reads. Pure functions.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/tasks/prompt_source.h"
#include "common/text/tokenizer.h"

namespace cohort {

struct TrainingExample {
  std::vector<int32_t> prompt;  // tokens before the first one that carries loss, at least one
  std::vector<int32_t> tokens;  // the rest
  std::vector<uint8_t> mask;    // one entry per `tokens`; 1: carries loss
  int64_t size() const { return static_cast<int64_t>(prompt.size() + tokens.size()); }
};

// The conversation is Prompt::messages; one that does not end with the assistant is continued by
// Prompt::solution. With a chat template every assistant message carries loss and each prompt reads
// exactly as EncodePrompt gives it to a sampler; without one, only the last message does.
// InvalidArgument: there is nothing to learn, or the template does not render a conversation as a
// continuation of its own prompt.
absl::StatusOr<TrainingExample> EncodeTrainingExample(const Prompt& prompt,
                                                      const PromptFormat& format,
                                                      const Tokenizer& tokenizer);

}  // namespace cohort

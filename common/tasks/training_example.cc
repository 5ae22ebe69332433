#include "common/tasks/training_example.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "common/base/status_macros.h"

namespace cohort {
namespace {

constexpr char kAssistant[] = "assistant";

// Collects pieces of a conversation; everything before the first learned token is the prompt.
class ExampleBuilder {
 public:
  void Add(absl::Span<const int32_t> tokens, bool learned) {
    if (tokens.empty()) return;
    const bool still_prompt = example_.tokens.empty() && !learned;
    auto& out = still_prompt ? example_.prompt : example_.tokens;
    out.insert(out.end(), tokens.begin(), tokens.end());
    if (!still_prompt) example_.mask.insert(example_.mask.end(), tokens.size(), learned ? 1 : 0);
  }

  // Trailing tokens that carry no loss need not be computed.
  TrainingExample Finish() {
    while (!example_.mask.empty() && example_.mask.back() == 0) {
      example_.mask.pop_back();
      example_.tokens.pop_back();
    }
    return std::move(example_);
  }

 private:
  TrainingExample example_;
};

std::string Where(const Prompt& prompt) {
  return absl::StrCat("example ", prompt.ordinal, " of ", prompt.source);
}

absl::StatusOr<std::vector<ChatMessage>> Conversation(const Prompt& prompt,
                                                      const PromptFormat& format) {
  std::vector<ChatMessage> messages = FormatMessages(prompt, format);
  if (!messages.empty() && messages.back().role == kAssistant) return messages;
  if (prompt.solution.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(Where(prompt),
                     ": expected a response to learn, found none; give `response`, `completion` or "
                     "`solution`, or `messages` that end with the assistant"));
  }
  messages.push_back({kAssistant, prompt.solution});
  return messages;
}

// Tokens of what the assistant says: through the first end-of-sequence token, which is added where
// the template writes none.
size_t LearnedLength(const Tokenizer& tokenizer, std::vector<int32_t>* tokens) {
  const auto end =
      std::find_if(tokens->begin(), tokens->end(), [&](int32_t id) { return tokenizer.IsEos(id); });
  if (end != tokens->end()) return static_cast<size_t>(end - tokens->begin()) + 1;
  if (!tokenizer.eos_ids().empty()) tokens->push_back(tokenizer.eos_ids().front());
  return tokens->size();
}

absl::StatusOr<TrainingExample> EncodePlain(const Prompt& prompt,
                                            absl::Span<const ChatMessage> messages,
                                            const Tokenizer& tokenizer) {
  std::string text;
  for (const ChatMessage& message : messages.first(messages.size() - 1)) {
    absl::StrAppend(&text, text.empty() ? "" : "\n", message.content);
  }
  ExampleBuilder builder;
  COHORT_ASSIGN_OR_RETURN(const std::vector<int32_t> before, tokenizer.Encode(text, true));
  if (before.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(Where(prompt), ": the prompt has no tokens"));
  }
  builder.Add(before, false);
  COHORT_ASSIGN_OR_RETURN(std::vector<int32_t> said,
                          tokenizer.Encode(messages.back().content, false));
  LearnedLength(tokenizer, &said);
  builder.Add(said, true);
  return builder.Finish();
}

absl::StatusOr<TrainingExample> EncodeConversation(const Prompt& prompt,
                                                   absl::Span<const ChatMessage> messages,
                                                   const Tokenizer& tokenizer) {
  ExampleBuilder builder;
  std::string done;  // the text so far
  for (size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].role != kAssistant) continue;
    COHORT_ASSIGN_OR_RETURN(const std::string asked, tokenizer.RenderChat(messages.first(i), true));
    COHORT_ASSIGN_OR_RETURN(const std::string said,
                            tokenizer.RenderChat(messages.first(i + 1), false));
    if (!absl::StartsWith(asked, done) || !absl::StartsWith(said, asked)) {
      return absl::InvalidArgumentError(absl::StrCat(
          Where(prompt), ": the chat template changes what was said before message ", i,
          " when it is rendered, so that the conversation does not continue its own prompt; train "
          "on single turns or set data.chat_template: false"));
    }
    COHORT_ASSIGN_OR_RETURN(const std::vector<int32_t> before,
                            tokenizer.Encode(absl::string_view(asked).substr(done.size()), false));
    COHORT_ASSIGN_OR_RETURN(std::vector<int32_t> tokens,
                            tokenizer.Encode(absl::string_view(said).substr(asked.size()), false));
    const size_t learned = LearnedLength(tokenizer, &tokens);
    builder.Add(before, false);
    builder.Add(absl::MakeConstSpan(tokens).first(learned), true);
    builder.Add(absl::MakeConstSpan(tokens).subspan(learned), false);
    done = said;
  }
  return builder.Finish();
}

}  // namespace

absl::StatusOr<TrainingExample> EncodeTrainingExample(const Prompt& prompt,
                                                      const PromptFormat& format,
                                                      const Tokenizer& tokenizer) {
  COHORT_ASSIGN_OR_RETURN(const std::vector<ChatMessage> messages, Conversation(prompt, format));
  return format.chat_template ? EncodeConversation(prompt, messages, tokenizer)
                              : EncodePlain(prompt, messages, tokenizer);
}

}  // namespace cohort

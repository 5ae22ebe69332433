#include "common/tasks/prompt_source.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/hash.h"
#include "common/base/status_macros.h"

namespace cohort {

absl::StatusOr<std::unique_ptr<PromptSource>> MakeSource(const SourceOptions& options) {
  if (options.task.empty() == options.path.empty()) {
    return absl::InvalidArgumentError(
        "a data source needs exactly one of `task` (a procedural task) and `path` (a JSONL file)");
  }
  return options.path.empty() ? MakeProceduralSource(options) : MakeJsonlSource(options);
}

std::vector<ChatMessage> FormatMessages(const Prompt& prompt, const PromptFormat& format) {
  std::vector<ChatMessage> messages = prompt.messages;
  const std::string& suffix =
      format.prompt_suffix.empty() ? prompt.instruction : format.prompt_suffix;
  const auto last_user = std::find_if(messages.rbegin(), messages.rend(),
                                      [](const ChatMessage& m) { return m.role == "user"; });
  if (last_user != messages.rend()) last_user->content += suffix;
  const bool has_system = std::any_of(messages.begin(), messages.end(),
                                      [](const ChatMessage& m) { return m.role == "system"; });
  if (!format.system_prompt.empty() && !has_system) {
    messages.insert(messages.begin(), ChatMessage{"system", format.system_prompt});
  }
  return messages;
}

absl::StatusOr<std::vector<int32_t>> EncodePrompt(const Prompt& prompt, const PromptFormat& format,
                                                  const Tokenizer& tokenizer) {
  const std::vector<ChatMessage> messages = FormatMessages(prompt, format);
  if (format.chat_template) return tokenizer.EncodeChat(messages, /*add_generation_prompt=*/true);
  std::string text;
  for (const ChatMessage& message : messages) {
    absl::StrAppend(&text, text.empty() ? "" : "\n", message.content);
  }
  return tokenizer.Encode(text, /*add_special=*/true);
}

std::string PromptKey(absl::Span<const int32_t> tokens) {
  return HexEncode(Xxh3(tokens.data(), tokens.size() * sizeof(int32_t)));
}

}  // namespace cohort

// The text side of a model folder: token ids, stop ids and the chat template, as `transformers`
// computes them for the same folder.
//
// Everything is read once by Load. Const methods may be called from several threads at once.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

struct CohortTokenizer;  // text_ffi.h
struct CohortTemplate;

namespace cohort {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant", ...
  std::string content;
  friend bool operator==(const ChatMessage&, const ChatMessage&) = default;
};

class Tokenizer {
 public:
  // Reads tokenizer.json (required) and, where present, tokenizer_config.json,
  // special_tokens_map.json, chat_template.jinja, generation_config.json and config.json of
  // `folder`. Errors name the file.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::string& folder);
  ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // `add_special`: let the tokenizer add what it adds around a text (such as a BOS token). Special
  // tokens written in `text` are recognised either way. InvalidArgument when not UTF-8.
  absl::StatusOr<std::vector<int32_t>> Encode(absl::string_view text, bool add_special) const;

  // Ids without a token are left out; bytes that are not UTF-8 become U+FFFD.
  absl::StatusOr<std::string> Decode(absl::Span<const int32_t> ids, bool skip_special) const;

  // The prompt text that the model was trained to continue. FailedPrecondition when the folder has
  // no chat template. `now` is what a template's strftime_now sees.
  absl::StatusOr<std::string> RenderChat(absl::Span<const ChatMessage> messages,
                                         bool add_generation_prompt,
                                         absl::Time now = absl::Now()) const;
  // The same for an array of message objects with any fields.
  absl::StatusOr<std::string> RenderChatJson(const nlohmann::json& messages,
                                             bool add_generation_prompt,
                                             absl::Time now = absl::Now()) const;
  // RenderChat, then Encode without further special tokens.
  absl::StatusOr<std::vector<int32_t>> EncodeChat(absl::Span<const ChatMessage> messages,
                                                  bool add_generation_prompt) const;

  bool has_chat_template() const { return chat_template_ != nullptr; }
  // The largest token id + 1. A model's embedding has at least as many rows.
  int32_t vocab_size() const { return vocab_size_; }
  // Every id that ends a response, ascending: generation_config.json, config.json and the
  // tokenizer's eos_token together. May be empty.
  const std::vector<int32_t>& eos_ids() const { return eos_ids_; }
  bool IsEos(int32_t id) const;
  // The tokenizer's pad_token, or the configuration's, or the first eos id; -1: none of them.
  int32_t pad_id() const { return pad_id_; }
  // The id of one token by its exact text; -1 when there is none.
  int32_t TokenToId(absl::string_view token) const;

 private:
  struct FfiDeleter {
    void operator()(::CohortTokenizer* handle) const;
    void operator()(::CohortTemplate* handle) const;
  };
  Tokenizer();
  absl::Status LoadSpecialTokens(const std::string& folder);
  absl::Status LoadChatTemplate(const std::string& folder);
  absl::Status LoadStopIds(const std::string& folder);

  // Constant after Load.
  std::unique_ptr<::CohortTokenizer, FfiDeleter> handle_;
  std::unique_ptr<::CohortTemplate, FfiDeleter> chat_template_;
  std::unique_ptr<nlohmann::json> tokenizer_config_;
  std::unique_ptr<nlohmann::json> special_tokens_;  // name ("eos_token") -> text
  int32_t vocab_size_ = 0;
  int32_t pad_id_ = -1;
  std::vector<int32_t> eos_ids_;
};

// Turns a growing list of ids into text that never ends inside a character: what Append has
// returned, joined, is the text so far, less bytes that may still become part of a character.
// Not thread-safe; the tokenizer must outlive it.
class IncrementalDecoder {
 public:
  explicit IncrementalDecoder(const Tokenizer* tokenizer, bool skip_special = true)
      : tokenizer_(tokenizer), skip_special_(skip_special) {}

  // The text that became certain with this id; often one token's, sometimes "".
  absl::StatusOr<std::string> Append(int32_t id);
  // What is still held back (as U+FFFD where it is not a character). Starts over.
  absl::StatusOr<std::string> Finish();

 private:
  absl::StatusOr<std::string> Take(size_t stable_size, const std::string& text);

  const Tokenizer* tokenizer_;
  bool skip_special_;
  // The last tokens, enough of them for the decoder to treat the newest as it would at the end of
  // the whole list, and how many bytes of their text have been returned.
  std::vector<int32_t> window_;
  size_t returned_ = 0;
};

}  // namespace cohort

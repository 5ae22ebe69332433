#include "common/text/tokenizer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/text/json.h"
#include "common/text/text_ffi.h"

namespace cohort {
namespace {

using nlohmann::json;

// A result or a message that Rust allocated.
class FfiBuffer {
 public:
  FfiBuffer() = default;
  ~FfiBuffer() { cohort_text_buffer_free(&buffer_); }
  FfiBuffer(const FfiBuffer&) = delete;
  FfiBuffer& operator=(const FfiBuffer&) = delete;

  CohortTextBuffer* get() { return &buffer_; }
  size_t size() const { return buffer_.size; }
  const uint8_t* data() const { return buffer_.data; }
  std::string text() const {
    return buffer_.size == 0
               ? std::string()
               : std::string(reinterpret_cast<const char*>(buffer_.data), buffer_.size);
  }

 private:
  CohortTextBuffer buffer_ = {nullptr, 0};
};

const uint8_t* Bytes(absl::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

// An absent file is an empty object.
absl::StatusOr<json> ReadOptionalObject(const std::string& path) {
  absl::StatusOr<json> value = ReadJsonObject(path);
  if (absl::IsNotFound(value.status())) return json::object();
  return value;
}

const json* Find(const json& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

// A special token is written as its text or as an AddedToken object.
json TokenText(const json& token) {
  if (token.is_object() && token.contains("content")) return token["content"];
  return token;
}

bool IsSpecialTokenName(const std::string& key) {
  static constexpr const char* kNames[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                           "pad_token", "cls_token", "mask_token"};
  return std::find(std::begin(kNames), std::end(kNames), key) != std::end(kNames);
}

void CollectSpecialTokens(const json& from, json* into) {
  for (const auto& [key, value] : from.items()) {
    if (!IsSpecialTokenName(key) || into->contains(key)) continue;
    if (json text = TokenText(value); text.is_string()) (*into)[key] = std::move(text);
  }
}

absl::Status AppendIds(const json* value, const std::string& what, std::vector<int32_t>* ids) {
  if (value == nullptr) return absl::OkStatus();
  if (value->is_array()) {
    for (const json& item : *value) COHORT_RETURN_IF_ERROR(AppendIds(&item, what, ids));
    return absl::OkStatus();
  }
  if (!value->is_number_integer() || value->get<int64_t>() < 0 ||
      value->get<int64_t>() > INT32_MAX) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": expected a token id or a list of them, found ", value->type_name()));
  }
  ids->push_back(static_cast<int32_t>(value->get<int64_t>()));
  return absl::OkStatus();
}

// tokenizer_config.json holds one template or a list of named ones.
absl::StatusOr<std::string> TemplateFromConfig(const json& config, const std::string& folder) {
  const json* value = Find(config, "chat_template");
  if (value == nullptr) return std::string();
  if (value->is_string()) return value->get<std::string>();
  if (value->is_array()) {
    for (const json& entry : *value) {
      if (entry.is_object() && entry.value("name", json()) == "default" &&
          entry.value("template", json()).is_string()) {
        return entry["template"].get<std::string>();
      }
    }
  }
  return absl::InvalidArgumentError(absl::StrCat(folder,
                                                 "/tokenizer_config.json: chat_template: expected "
                                                 "a string or a list with one named \"default\""));
}

}  // namespace

Tokenizer::Tokenizer() = default;
Tokenizer::~Tokenizer() = default;
void Tokenizer::FfiDeleter::operator()(CohortTokenizer* handle) const {
  cohort_tokenizer_free(handle);
}
void Tokenizer::FfiDeleter::operator()(CohortTemplate* handle) const {
  cohort_template_free(handle);
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::string& folder) {
  const std::string path = absl::StrCat(folder, "/tokenizer.json");
  COHORT_ASSIGN_OR_RETURN(const std::string content, ReadFile(path));
  std::unique_ptr<Tokenizer> tokenizer(new Tokenizer());
  CohortTokenizer* handle = nullptr;
  FfiBuffer error;
  if (cohort_tokenizer_new(Bytes(content), content.size(), &handle, error.get()) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": not a tokenizer this program can use: ", error.text()));
  }
  tokenizer->handle_.reset(handle);
  tokenizer->vocab_size_ = static_cast<int32_t>(cohort_tokenizer_vocab_size(handle));
  COHORT_RETURN_IF_ERROR(tokenizer->LoadSpecialTokens(folder));
  COHORT_RETURN_IF_ERROR(tokenizer->LoadChatTemplate(folder));
  COHORT_RETURN_IF_ERROR(tokenizer->LoadStopIds(folder));
  return tokenizer;
}

absl::Status Tokenizer::LoadSpecialTokens(const std::string& folder) {
  COHORT_ASSIGN_OR_RETURN(json config, ReadOptionalObject(folder + "/tokenizer_config.json"));
  COHORT_ASSIGN_OR_RETURN(const json map, ReadOptionalObject(folder + "/special_tokens_map.json"));
  special_tokens_ = std::make_unique<json>(json::object());
  CollectSpecialTokens(config, special_tokens_.get());
  CollectSpecialTokens(map, special_tokens_.get());
  tokenizer_config_ = std::make_unique<json>(std::move(config));
  return absl::OkStatus();
}

absl::Status Tokenizer::LoadChatTemplate(const std::string& folder) {
  absl::StatusOr<std::string> source = ReadFile(folder + "/chat_template.jinja");
  if (absl::IsNotFound(source.status())) source = TemplateFromConfig(*tokenizer_config_, folder);
  COHORT_RETURN_IF_ERROR(source.status());
  if (source->empty()) return absl::OkStatus();
  CohortTemplate* handle = nullptr;
  FfiBuffer error;
  if (cohort_template_new(Bytes(*source), source->size(), &handle, error.get()) != 0) {
    return absl::InvalidArgumentError(absl::StrCat(folder, ": chat template: ", error.text()));
  }
  chat_template_.reset(handle);
  return absl::OkStatus();
}

absl::Status Tokenizer::LoadStopIds(const std::string& folder) {
  std::vector<int32_t> pads;
  if (const json* pad = Find(*special_tokens_, "pad_token")) {
    if (const int32_t id = TokenToId(pad->get<std::string>()); id >= 0) pads.push_back(id);
  }
  for (const char* name : {"generation_config.json", "config.json"}) {
    const std::string path = absl::StrCat(folder, "/", name);
    COHORT_ASSIGN_OR_RETURN(const json config, ReadOptionalObject(path));
    COHORT_RETURN_IF_ERROR(
        AppendIds(Find(config, "eos_token_id"), path + ": eos_token_id", &eos_ids_));
    COHORT_RETURN_IF_ERROR(AppendIds(Find(config, "pad_token_id"), path + ": pad_token_id", &pads));
  }
  if (const json* eos = Find(*special_tokens_, "eos_token")) {
    if (const int32_t id = TokenToId(eos->get<std::string>()); id >= 0) eos_ids_.push_back(id);
  }
  std::sort(eos_ids_.begin(), eos_ids_.end());
  eos_ids_.erase(std::unique(eos_ids_.begin(), eos_ids_.end()), eos_ids_.end());
  pad_id_ = !pads.empty() ? pads.front() : !eos_ids_.empty() ? eos_ids_.front() : -1;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int32_t>> Tokenizer::Encode(absl::string_view text,
                                                       bool add_special) const {
  FfiBuffer out;
  if (cohort_tokenizer_encode(handle_.get(), Bytes(text), text.size(), add_special, out.get()) !=
      0) {
    return absl::InvalidArgumentError(absl::StrCat("cannot tokenize: ", out.text()));
  }
  std::vector<int32_t> ids(out.size() / sizeof(int32_t));
  if (!ids.empty()) std::memcpy(ids.data(), out.data(), ids.size() * sizeof(int32_t));
  return ids;
}

absl::StatusOr<std::string> Tokenizer::Decode(absl::Span<const int32_t> ids,
                                              bool skip_special) const {
  if (std::any_of(ids.begin(), ids.end(), [](int32_t id) { return id < 0; })) {
    return absl::InvalidArgumentError("cannot decode: a token id is negative");
  }
  FfiBuffer out;
  if (cohort_tokenizer_decode(handle_.get(), reinterpret_cast<const uint32_t*>(ids.data()),
                              ids.size(), skip_special, out.get()) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("cannot decode: ", out.text()));
  }
  return out.text();
}

absl::StatusOr<std::string> Tokenizer::RenderChat(absl::Span<const ChatMessage> messages,
                                                  bool add_generation_prompt,
                                                  absl::Time now) const {
  json list = json::array();
  for (const ChatMessage& message : messages) {
    list.push_back({{"role", message.role}, {"content", message.content}});
  }
  return RenderChatJson(list, add_generation_prompt, now);
}

absl::StatusOr<std::string> Tokenizer::RenderChatJson(const json& messages,
                                                      bool add_generation_prompt,
                                                      absl::Time now) const {
  if (chat_template_ == nullptr) {
    return absl::FailedPreconditionError(
        "the model folder has no chat template: use plain prompts (\"prompt\" instead of "
        "\"messages\", --raw) or add chat_template.jinja to it");
  }
  json context = *special_tokens_;
  context["messages"] = messages;
  context["tools"] = nullptr;
  context["documents"] = nullptr;
  context["add_generation_prompt"] = add_generation_prompt;
  COHORT_ASSIGN_OR_RETURN(const std::string text, DumpJson(context, "chat messages"));
  FfiBuffer out;
  if (cohort_template_render(chat_template_.get(), Bytes(text), text.size(),
                             absl::ToUnixSeconds(now), out.get()) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("chat template: ", out.text()));
  }
  return out.text();
}

absl::StatusOr<std::vector<int32_t>> Tokenizer::EncodeChat(absl::Span<const ChatMessage> messages,
                                                           bool add_generation_prompt) const {
  COHORT_ASSIGN_OR_RETURN(const std::string text, RenderChat(messages, add_generation_prompt));
  return Encode(text, /*add_special=*/false);
}

bool Tokenizer::IsEos(int32_t id) const {
  return std::binary_search(eos_ids_.begin(), eos_ids_.end(), id);
}

int32_t Tokenizer::TokenToId(absl::string_view token) const {
  return static_cast<int32_t>(
      cohort_tokenizer_token_to_id(handle_.get(), Bytes(token), token.size()));
}

}  // namespace cohort

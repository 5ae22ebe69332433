#include "common/text/tiny_tokenizer.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace cohort {
namespace {

using nlohmann::json;

constexpr const char* kSpecialTokens[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
constexpr std::pair<const char*, const char*> kMerges[] = {
    {"t", "h"}, {"th", "e"}, {"i", "n"}, {"a", "n"}, {"1", "2"}};
constexpr const char* kChatTemplate =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] "
    "+ '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ "
    "'<|im_start|>assistant\\n' }}{% endif %}";

std::string Utf8(uint32_t code) {  // below U+0800
  if (code < 0x80) return std::string(1, static_cast<char>(code));
  return {static_cast<char>(0xC0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3F))};
}

// GPT-2's printable stand-in for each byte.
std::vector<std::string> ByteAlphabet() {
  std::vector<std::string> letters(256);
  uint32_t next = 256;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
    letters[byte] = Utf8(printable ? byte : next++);
  }
  return letters;
}

json AddedToken(int id, const char* text) {
  return {{"id", id},        {"content", text},     {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

json TokenizerJson() {
  json vocab = json::object();
  json added = json::array();
  int id = 0;
  for (const char* token : kSpecialTokens) {
    added.push_back(AddedToken(id, token));
    vocab[token] = id++;
  }
  for (const std::string& letter : ByteAlphabet()) vocab[letter] = id++;
  json merges = json::array();
  for (const auto& [left, right] : kMerges) {
    merges.push_back(json::array({left, right}));
    vocab[std::string(left) + right] = id++;
  }
  const json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", true},
                           {"use_regex", true}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level},
          {"post_processor", nullptr},
          {"decoder", byte_level},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"vocab", vocab},
            {"merges", merges}}}};
}

}  // namespace

absl::Status WriteTinyTokenizer(const std::string& folder) {
  const json config = {{"eos_token", "<|im_end|>"},
                       {"pad_token", {{"content", "<|endoftext|>"}}},
                       {"chat_template", kChatTemplate}};
  const json generation = {{"eos_token_id", {kTinyEndOfText, kTinyMessageEnd}}};
  COHORT_RETURN_IF_ERROR(WriteFileAtomic(folder + "/tokenizer.json", TokenizerJson().dump()));
  COHORT_RETURN_IF_ERROR(WriteFileAtomic(folder + "/tokenizer_config.json", config.dump()));
  return WriteFileAtomic(folder + "/generation_config.json", generation.dump());
}

}  // namespace cohort

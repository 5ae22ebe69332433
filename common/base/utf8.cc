#include "common/base/utf8.h"

#include <cstddef>
#include <cstdint>

namespace cohort {
namespace {

// Length of the well-formed sequence (RFC 3629) that `text` starts with; 0: none.
size_t SequenceLength(absl::string_view text) {
  const auto byte = [&text](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte(0);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  if (first == 0xe0 && byte(1) < 0xa0) return 0;  // overlong
  if (first == 0xed && byte(1) > 0x9f) return 0;  // surrogates
  if (first == 0xf0 && byte(1) < 0x90) return 0;  // overlong
  if (first == 0xf4 && byte(1) > 0x8f) return 0;  // beyond U+10FFFF
  return length;
}

bool IsControl(absl::string_view character) {
  const auto first = static_cast<uint8_t>(character[0]);
  if (character.size() == 1) return first < 0x20 || first == 0x7f;
  return first == 0xc2 && static_cast<uint8_t>(character[1]) < 0xa0;  // U+0080 to U+009F
}

void AppendHex(absl::string_view bytes, std::string* out) {
  constexpr absl::string_view kDigits = "0123456789abcdef";
  for (const char byte : bytes) {
    *out += "\\x";
    *out += kDigits[static_cast<uint8_t>(byte) >> 4];
    *out += kDigits[static_cast<uint8_t>(byte) & 15];
  }
}

}  // namespace

std::string EscapeControls(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t length = SequenceLength(text);
    const absl::string_view character = text.substr(0, length == 0 ? 1 : length);
    if (length == 0 || IsControl(character)) {
      AppendHex(character, &out);
    } else {
      out.append(character.data(), character.size());
    }
    text.remove_prefix(character.size());
  }
  return out;
}

bool HasControls(absl::string_view text) { return EscapeControls(text).size() != text.size(); }

std::string ValidUtf8(absl::string_view text) {
  std::string valid;
  valid.reserve(text.size());
  while (!text.empty()) {
    const size_t length = SequenceLength(text);
    if (length == 0) {
      valid += "\uFFFD";
    } else {
      valid.append(text.data(), length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return valid;
}

}  // namespace cohort

#include "common/rewards/plain_text.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/rewards/latex_unicode.h"

namespace cohort {
namespace {

// The ASCII character that `character` stands for; 0: none.
char PlainOf(char32_t character) {
  if (character >= 0xFF01 && character <= 0xFF5E) {  // full width
    return static_cast<char>(character - 0xFF01 + '!');
  }
  if (character >= 0x2010 && character <= 0x2013) return '-';  // hyphens, figure dash, en dash
  if (character >= 0x2002 && character <= 0x200A) return ' ';  // spaces of all widths
  switch (character) {
    case 0x00A0:
    case 0x2000:
    case 0x202F:
    case 0x3000:
      return ' ';
    case 0x207B:  // superscript minus
    case 0x2212:  // minus
    case 0x2796:  // heavy minus
    case 0xFE63:  // small hyphen-minus
      return '-';
    case 0x3001:
      return ',';
    case 0x3002:
    case 0xFF61:
      return '.';
    default:
      return '\0';
  }
}

// The same of what stands at `at`; `size` are its bytes.
char PlainAt(absl::string_view text, size_t at, size_t* size) {
  const char32_t character = CharacterAt(text, at, size);
  // More bytes than it needs: malformed.
  return *size == (character < 0x800 ? 2U : 3U) ? PlainOf(character) : '\0';
}

bool StripOnce(absl::string_view* text) {
  const size_t before = text->size();
  *text = absl::StripAsciiWhitespace(*text);
  for (const absl::string_view mark : {"*", "__", "`", "\""}) {
    while (absl::ConsumePrefix(text, mark) || absl::ConsumeSuffix(text, mark)) {
    }
  }
  const std::pair<absl::string_view, absl::string_view> kPairs[] = {
      {"$$", "$$"}, {"$", "$"}, {"\\(", "\\)"}, {"\\[", "\\]"}};
  for (const auto& [open, close] : kPairs) {
    if (text->size() < open.size() + close.size()) continue;
    if (!absl::StartsWith(*text, open) || !absl::EndsWith(*text, close)) continue;
    // "\$5" ends with a sign of its own, and "$5, $6$" opens twice.
    const absl::string_view inside =
        text->substr(open.size(), text->size() - open.size() - close.size());
    if (absl::EndsWith(inside, "\\") || absl::StrContains(inside, close)) continue;
    *text = inside;
    break;
  }
  // "\\," and the like are spacing, not stops.
  while (!text->empty() && absl::StrContains(".,;:", text->back()) &&
         (text->back() == '.' || text->size() < 2 || (*text)[text->size() - 2] != '\\')) {
    text->remove_suffix(1);
  }
  return text->size() < before;
}

}  // namespace

std::string PlainText(absl::string_view text) {
  const auto wide = [](char c) { return static_cast<unsigned char>(c) >= 0x80; };
  if (std::none_of(text.begin(), text.end(), wide)) return std::string(text);
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    size_t size = 1;
    const char plain = wide(text[i]) ? PlainAt(text, i, &size) : '\0';
    if (plain != '\0') {
      out += plain;
    } else {
      absl::StrAppend(&out, text.substr(i, size));
    }
    i += size;
  }
  return out;
}

absl::string_view StripDecoration(absl::string_view text) {
  while (StripOnce(&text)) {
  }
  return text;
}

}  // namespace cohort

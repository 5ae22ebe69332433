#include "common/rewards/plain_text.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"

namespace cohort {
namespace {

using Replacement = std::pair<absl::string_view, char>;

constexpr std::array<Replacement, 24> kPlain = {{
    {"\u2212", '-'}, {"\u2010", '-'}, {"\u2011", '-'}, {"\u2012", '-'}, {"\u2013", '-'},
    {"\ufe63", '-'}, {"\u2796", '-'}, {"\u207b", '-'}, {"\u3002", '.'}, {"\uff61", '.'},
    {"\u3001", ','}, {"\u00a0", ' '}, {"\u2000", ' '}, {"\u2002", ' '}, {"\u2003", ' '},
    {"\u2004", ' '}, {"\u2005", ' '}, {"\u2006", ' '}, {"\u2007", ' '}, {"\u2008", ' '},
    {"\u2009", ' '}, {"\u200a", ' '}, {"\u202f", ' '}, {"\u3000", ' '},
}};

// The ASCII character that the one at the start of `text` stands for, and its bytes; 0: none.
std::pair<char, size_t> PlainAt(absl::string_view text) {
  if (text.size() >= 3 && text[0] == '\xEF' && (text[1] == '\xBC' || text[1] == '\xBD')) {
    const int low = static_cast<unsigned char>(text[2]) - 0x80;
    const int code = text[1] == '\xBC' ? low + 0x20 : low + 0x60;  // U+FF01 is U+0021
    if (low >= 0 && low < 0x40 && code > 0x20 && code < 0x7F) return {static_cast<char>(code), 3};
  }
  for (const auto& [from, to] : kPlain) {
    if (absl::StartsWith(text, from)) return {to, from.size()};
  }
  return {0, 0};
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
    const auto [plain, size] =
        wide(text[i]) ? PlainAt(text.substr(i, 3)) : std::pair{'\0', size_t{0}};
    out += size > 0 ? plain : text[i];
    i += std::max<size_t>(size, 1);
  }
  return out;
}

absl::string_view StripDecoration(absl::string_view text) {
  while (StripOnce(&text)) {
  }
  return text;
}

}  // namespace cohort

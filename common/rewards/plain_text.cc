#include "common/rewards/plain_text.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"

namespace cohort {
namespace {

// U+2000 to U+203F.
char PunctuationAt(unsigned char last) {
  if (last == 0x80 || (last >= 0x82 && last <= 0x8A) || last == 0xAF) return ' ';
  return last >= 0x90 && last <= 0x93 ? '-' : '\0';  // hyphens, figure dash, en dash
}

// U+3000 to U+303F.
char IdeographicAt(unsigned char last) {
  if (last == 0x80) return ' ';
  return last == 0x81 ? ',' : last == 0x82 ? '.' : '\0';
}

// U+FF01 to U+FF5E; U+FF61 is a stop.
char FullWidthAt(unsigned char middle, unsigned char last) {
  if (middle == 0xBD && last == 0xA1) return '.';
  const int code = last - 0x80 + (middle == 0xBC ? 0x20 : 0x60);
  return last >= 0x80 && last < 0xC0 && code > 0x20 && code < 0x7F ? static_cast<char>(code) : '\0';
}

// The ASCII character that the one at the start of `text` stands for, and its bytes; 0: none. Every
// character of a long text comes here.
std::pair<char, size_t> PlainAt(absl::string_view text) {
  const auto byte = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : static_cast<unsigned char>(0);
  };
  const unsigned char first = byte(0), middle = byte(1), last = byte(2);
  if (first == 0xC2) return {middle == 0xA0 ? ' ' : '\0', middle == 0xA0 ? 2 : 0};
  char plain = '\0';
  if (first == 0xE2 && middle == 0x80) plain = PunctuationAt(last);
  if (first == 0xE2 && ((middle == 0x88 && last == 0x92) || (middle == 0x81 && last == 0xBB) ||
                        (middle == 0x9E && last == 0x96))) {
    plain = '-';  // minus, superscript minus, heavy minus
  }
  if (first == 0xE3 && middle == 0x80) plain = IdeographicAt(last);
  if (first == 0xEF && (middle == 0xBC || middle == 0xBD)) plain = FullWidthAt(middle, last);
  if (first == 0xEF && middle == 0xB9 && last == 0xA3) plain = '-';  // small hyphen-minus
  return {plain, plain == '\0' ? size_t{0} : size_t{3}};
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

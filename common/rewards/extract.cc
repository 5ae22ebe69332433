#include "common/rewards/extract.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "common/rewards/literal.h"
#include "common/rewards/plain_text.h"

namespace cohort {
namespace {

constexpr absl::string_view kBox = "\\boxed{";
constexpr absl::string_view kThinkEnd = "</think>";
constexpr size_t kMaxBoxOption = 40;  // bytes
constexpr int kMostMarks = 256;

bool IsDigit(char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }

// Bytes of the white space character at `text[i]`, as Python's \s sees it; 0: another character.
size_t SpaceSize(absl::string_view text, size_t i) {
  const auto c = static_cast<unsigned char>(text[i]);
  if ((c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20)) return 1;
  const absl::string_view two = text.substr(i, 2);
  if (two == "\xC2\x85" || two == "\xC2\xA0") return 2;
  const absl::string_view three = text.substr(i, 3);
  if (three == "\xE1\x9A\x80" || three == "\xE2\x81\x9F" || three == "\xE3\x80\x80") return 3;
  if (three.size() == 3 && three.substr(0, 2) == "\xE2\x80") {
    const auto last = static_cast<unsigned char>(three[2]);
    if ((last >= 0x80 && last <= 0x8A) || last == 0xA8 || last == 0xA9 || last == 0xAF) return 3;
  }
  return 0;
}

size_t SkipSpaces(absl::string_view text, size_t i) {
  while (i < text.size()) {
    const size_t size = SpaceSize(text, i);
    if (size == 0) break;
    i += size;
  }
  return i;
}

// Where the answer after a colon at `begin` starts: after the white space, or, when nothing else
// follows, at the last white space that is not a line end (as a backtracking \s* would give it
// back). npos: no match.
size_t AnswerStart(absl::string_view text, size_t begin) {
  const size_t end = SkipSpaces(text, begin);
  if (end < text.size()) return end;
  size_t start = absl::string_view::npos;
  for (size_t i = begin; i < end; i += SpaceSize(text, i)) {
    if (text[i] != '\n') start = i;
  }
  return start;
}

// Behind the name of a box at the backslash `at`, and its options; 0: there is none.
size_t BoxNameEnd(absl::string_view text, size_t at) {
  for (const absl::string_view name : {"\\boxed", "\\fbox", "\\framebox"}) {
    if (!absl::StartsWith(text.substr(at), name)) continue;
    size_t end = at + name.size();
    if (end < text.size() && absl::ascii_isalpha(static_cast<unsigned char>(text[end]))) return 0;
    while (name == "\\framebox" && end < text.size() && text[end] == '[') {  // [width][place]
      const size_t close = text.substr(end, kMaxBoxOption).find(']');
      if (close == absl::string_view::npos) return 0;
      end += close + 1;
    }
    return end;
  }
  return 0;
}

// Behind the number or the letter that stands in a box without braces; `begin`: there is none.
size_t BareBoxEnd(absl::string_view text, size_t begin) {
  size_t end = begin < text.size() && text[begin] == '-' ? begin + 1 : begin;
  const size_t digits = end;
  const auto digit = [&](size_t i) { return i < text.size() && IsDigit(text[i]); };
  while (digit(end) || (end > digits && end < text.size() && text[end] == '.' && digit(end + 1))) {
    ++end;
  }
  if (end > digits) return end;
  const auto letter = [&](size_t i) {
    return i < text.size() && absl::ascii_isalpha(static_cast<unsigned char>(text[i]));
  };
  return letter(begin) && !letter(begin + 1) ? begin + 1 : begin;
}

// Calls `take(begin, end)` for the content of every box that is closed, in the order of their ends.
template <typename Take>
void ForEachBox(absl::string_view text, Take take) {
  constexpr size_t kPlainBrace = absl::string_view::npos;
  std::vector<size_t> open;  // where the content of a box begins, kPlainBrace for other braces
  for (size_t i = text.find_first_of("\\{}"); i < text.size(); i = text.find_first_of("\\{}", i)) {
    if (text[i] == '{') {
      open.push_back(kPlainBrace);
    } else if (text[i] == '}') {
      if (open.empty()) {
        ++i;
        continue;
      }
      if (open.back() != kPlainBrace) take(open.back(), i);
      open.pop_back();
    } else if (const size_t name = BoxNameEnd(text, i); name > 0) {
      const size_t content = SkipSpaces(text, name);
      const size_t bare = BareBoxEnd(text, content);
      if (content < text.size() && text[content] == '{') {
        open.push_back(content + 1);
        i = content + 1;
        continue;
      }
      if (bare > content) take(content, bare);
      i = name;
      continue;
    } else {
      // An escaped brace is none; a box may follow a backslash that was written twice.
      const bool escaped = i + 1 < text.size() && text[i + 1] != '\\';
      const bool row_end = !escaped && BoxNameEnd(text, std::min(i + 1, text.size() - 1)) == 0;
      i += escaped || row_end ? 2 : 1;
      continue;
    }
    ++i;
  }
}

bool StartsLikeNumber(absl::string_view line) {
  constexpr absl::string_view kFirst = "0123456789+-.$\\(*";
  if (absl::StrContains(kFirst, line[0])) return true;
  for (const absl::string_view sign :
       {"\u20ac", "\u00a3", "\u00a5", "\u20b9", "\u221a", "\u03c0"}) {
    if (absl::StartsWith(line, sign)) return true;
  }
  return false;
}

// "Total = 24", "Total: 24", "The answer is 24": a name or an announcement and its number.
bool NamesNumber(absl::string_view line) {
  size_t begin = line.rfind('=');
  if (begin == absl::string_view::npos) begin = line.rfind(':');
  if (begin == absl::string_view::npos) {
    absl::string_view rest = line;
    for (const absl::string_view word : {"the ", "final "}) {
      if (absl::StartsWithIgnoreCase(rest, word)) rest.remove_prefix(word.size());
    }
    begin = absl::StartsWithIgnoreCase(rest, "answer") ? line.rfind(" is ") : begin;
    if (begin == absl::string_view::npos) return false;
    begin += 3;
  } else if (line[begin] == ':' &&
             line.substr(0, begin).find_first_of("0123456789") != absl::string_view::npos) {
    return false;  // "Step 2: 40" is a heading
  }
  const absl::string_view behind = StripDecoration(line.substr(begin + 1));
  return !behind.empty() && StartsLikeNumber(behind);
}

size_t SkipEmphasis(absl::string_view text, size_t i) {
  while (i < text.size() && (text[i] == '*' || text[i] == '_')) ++i;
  return i;
}

// Behind the colon that ends the word before `i`; 0: no colon follows.
size_t ColonEnd(absl::string_view text, size_t i) {
  i = SkipSpaces(text, SkipEmphasis(text, i));
  if (absl::StartsWith(text.substr(i), ":")) return i + 1;
  return absl::StartsWith(text.substr(i), "\uff1a") ? i + 3 : 0;
}

// Behind emphasis that ends at the colon before `i`: "**Answer:** 5".
size_t ClosedEmphasis(absl::string_view text, size_t i) {
  const size_t end = SkipEmphasis(text, i);
  return end == text.size() || SpaceSize(text, end) > 0 ? end : i;
}

}  // namespace

absl::string_view LastCharacters(absl::string_view text, size_t count) {
  size_t begin = text.size();
  for (size_t taken = 0; begin > 0 && taken < count; ++taken) {
    --begin;
    for (int k = 0; k < 3 && begin > 0 && (static_cast<unsigned char>(text[begin]) >> 6) == 2;
         ++k) {
      --begin;
    }
  }
  return text.substr(begin);
}

absl::string_view AfterThinking(absl::string_view text) {
  const size_t at = text.rfind(kThinkEnd);
  return text.substr(at == absl::string_view::npos ? text.size() : at + kThinkEnd.size());
}

std::optional<std::string> ExtractBoxed(absl::string_view text) {
  std::optional<absl::string_view> last;
  ForEachBox(text, [&](size_t begin, size_t end) { last = text.substr(begin, end - begin); });
  return last ? std::optional<std::string>(std::string(*last)) : std::nullopt;
}

std::optional<std::string> ExtractBoxedCompat(absl::string_view text) {
  const size_t at = text.rfind(kBox);
  if (at == absl::string_view::npos) return std::nullopt;
  const size_t begin = at + kBox.size();
  size_t depth = 1;
  for (size_t i = begin; i < text.size(); ++i) {
    if (text[i] == '{') ++depth;
    if (text[i] == '}' && --depth == 0) return std::string(text.substr(begin, i - begin));
  }
  return std::nullopt;
}

std::optional<std::string> ExtractGsm8kStrict(absl::string_view text, size_t window) {
  constexpr absl::string_view kMark = "#### ";
  text = LastCharacters(text, window);
  for (size_t at = text.rfind(kMark); at != absl::string_view::npos;
       at = at == 0 ? absl::string_view::npos : text.rfind(kMark, at - 1)) {
    const size_t begin = at + kMark.size();
    size_t end = begin < text.size() && text[begin] == '-' ? begin + 1 : begin;
    const size_t first = end;
    while (end < text.size() && (IsDigit(text[end]) || text[end] == '.' || text[end] == ',')) ++end;
    if (end > first) return absl::StrReplaceAll(text.substr(begin, end - begin), {{",", ""}});
  }
  return std::nullopt;
}

std::optional<std::string> ExtractDapoAnswer(absl::string_view text, size_t window) {
  constexpr absl::string_view kWord = "answer";
  text = LastCharacters(text, window);
  std::optional<std::string> last;
  for (size_t i = 0; i + kWord.size() <= text.size();) {
    if (!absl::EqualsIgnoreCase(text.substr(i, kWord.size()), kWord)) {
      ++i;
      continue;
    }
    const size_t colon = SkipSpaces(text, i + kWord.size());
    const size_t start = colon < text.size() && text[colon] == ':' ? AnswerStart(text, colon + 1)
                                                                   : absl::string_view::npos;
    if (start == absl::string_view::npos) {
      i += kWord.size();
      continue;
    }
    const size_t end = std::min(text.find('\n', start), text.size());
    last = std::string(text.substr(start, end - start));
    i = end;
  }
  return last;
}

std::optional<std::string> ExtractGsm8kAnswer(absl::string_view text) {
  constexpr absl::string_view kMark = "####";
  size_t at = text.rfind(kMark);
  for (int tries = 0; at != absl::string_view::npos && tries < kMostMarks; ++tries) {
    const size_t begin = SkipSpaces(text, at + kMark.size());
    const absl::string_view line =
        StripDecoration(text.substr(begin, text.find('\n', begin) - begin));
    if (!line.empty() && (StartsLikeNumber(PlainText(line.substr(0, 4))) || NamesNumber(line))) {
      return std::string(line);
    }
    while (at > 0 && text[at - 1] == '#') --at;  // a deeper heading
    at = at == 0 ? absl::string_view::npos : text.rfind(kMark, at - 1);
  }
  return std::nullopt;
}

std::optional<std::string> ExtractAnswerLine(absl::string_view text) {
  constexpr absl::string_view kWord = "answer";
  std::optional<absl::string_view> last;
  for (size_t i = 0; i + kWord.size() <= text.size(); ++i) {
    // The cheap test first: this loop visits every character.
    if ((text[i] | 0x20) != 'a' || !absl::EqualsIgnoreCase(text.substr(i, kWord.size()), kWord)) {
      continue;
    }
    const size_t colon = ColonEnd(text, i + kWord.size());
    if (colon == 0) continue;
    const size_t start = SkipSpaces(text, ClosedEmphasis(text, SkipSpaces(text, colon)));
    if (start >= text.size()) continue;
    const size_t end = std::min(text.find('\n', start), text.size());
    last = text.substr(start, end - start);
    i = end - 1;
  }
  return last ? std::optional<std::string>(std::string(*last)) : std::nullopt;
}

std::optional<std::string> ExtractLastInteger(absl::string_view text) {
  const auto literal = LastLiteral(text);
  if (!literal || !literal->integer) return std::nullopt;
  const absl::string_view written = literal->text;
  std::string digits;
  for (const char c : written.substr(0, written.find('.'))) {
    if (IsDigit(c) || c == '-') digits += c;
  }
  return digits;
}

double FormatBoxedReward(absl::string_view text) {
  bool any = false;
  ForEachBox(text, [&](size_t begin, size_t end) { any = any || SkipSpaces(text, begin) < end; });
  return any ? 1.0 : 0.0;
}

}  // namespace cohort

#include "common/rewards/extract.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace cohort {
namespace {

constexpr absl::string_view kBox = "\\boxed{";
constexpr absl::string_view kThinkEnd = "</think>";

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

// A number as it is written from `begin`: digits, groups of three after commas, a fraction.
struct WrittenNumber {
  size_t end = 0;
  std::string digits;
  bool whole = true;  // the fraction, if any, is all zeros
};

bool IsThousandsGroup(absl::string_view text, size_t comma) {
  if (comma + 3 >= text.size() || text[comma] != ',') return false;
  const bool three =
      IsDigit(text[comma + 1]) && IsDigit(text[comma + 2]) && IsDigit(text[comma + 3]);
  return three && (comma + 4 >= text.size() || !IsDigit(text[comma + 4]));
}

WrittenNumber ReadNumber(absl::string_view text, size_t begin) {
  WrittenNumber number;
  size_t i = begin;
  while (i < text.size() && IsDigit(text[i])) ++i;
  number.digits = std::string(text.substr(begin, i - begin));
  if (i - begin <= 3) {
    for (; IsThousandsGroup(text, i); i += 4) number.digits.append(text.data() + i + 1, 3);
  }
  if (i + 1 < text.size() && text[i] == '.' && IsDigit(text[i + 1])) {
    for (++i; i < text.size() && IsDigit(text[i]); ++i) number.whole &= text[i] == '0';
  }
  number.end = i;
  return number;
}

// A minus right after a letter, a digit or a bracket subtracts ("x-5"); so does one that is parted
// from a number by spaces only ("10 -5").
bool HasSign(absl::string_view text, size_t begin) {
  if (begin == 0 || text[begin - 1] != '-') return false;
  const absl::string_view before = text.substr(0, begin - 1);
  if (before.empty()) return true;
  const auto adjacent = static_cast<unsigned char>(before.back());
  if (absl::ascii_isalnum(adjacent) || adjacent == ')') return false;
  const size_t word = before.find_last_not_of(' ');
  return word == absl::string_view::npos || (!IsDigit(before[word]) && before[word] != ')');
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
  return at == absl::string_view::npos ? text : text.substr(at + kThinkEnd.size());
}

std::optional<std::string> ExtractBoxed(absl::string_view text) {
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

std::optional<std::string> ExtractLastInteger(absl::string_view text) {
  std::optional<std::string> last;
  for (size_t i = 0; i < text.size();) {
    if (!IsDigit(text[i])) {
      ++i;
      continue;
    }
    WrittenNumber number = ReadNumber(text, i);
    if (number.whole) last = absl::StrCat(HasSign(text, i) ? "-" : "", number.digits);
    i = number.end;
  }
  return last;
}

double FormatBoxedReward(absl::string_view text) {
  constexpr size_t kOther = absl::string_view::npos;
  std::vector<size_t> open;  // where the content of a box begins; kOther: braces of another kind
  size_t ink = 0;            // behind the last character that is no white space
  for (size_t i = 0; i < text.size();) {
    if (const size_t space = SpaceSize(text, i); space > 0) {
      i += space;
      continue;
    }
    if (text[i] == '{') {
      const bool box = absl::EndsWith(text.substr(0, i + 1), kBox);
      open.push_back(box ? i + 1 : kOther);
    } else if (text[i] == '}' && !open.empty()) {
      if (open.back() != kOther && ink > open.back()) return 1.0;
      open.pop_back();
    }
    ink = ++i;
  }
  return 0.0;
}

}  // namespace cohort

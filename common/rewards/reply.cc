#include "common/rewards/reply.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "common/rewards/extract.h"

namespace cohort {
namespace {

constexpr size_t kChoiceWindow = 1 << 16;  // bytes

constexpr absl::string_view kOpenTag = "<answer>";
constexpr absl::string_view kCloseTag = "</answer>";
constexpr absl::string_view kWord = "answer";

bool IsDigit(char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }
bool IsLetter(char c) { return absl::ascii_isalpha(static_cast<unsigned char>(c)); }
bool IsAlnum(char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)); }

// Wrappers and emphasis around a letter: "**C**", "$\text{C}$", "`C`".
absl::string_view Unwrap(absl::string_view reply) {
  reply = absl::StripAsciiWhitespace(reply);
  for (int i = 0; i < 8; ++i) {
    const size_t before = reply.size();
    for (const absl::string_view mark : {"**", "*", "$", "`", "\"", "'", "(", "["}) {
      absl::ConsumePrefix(&reply, mark);
    }
    for (const absl::string_view command : {"\\text{", "\\textbf{", "\\mathrm{", "\\mathbf{"}) {
      absl::ConsumePrefix(&reply, command);
    }
    reply = absl::StripLeadingAsciiWhitespace(reply);
    if (reply.size() == before) break;
  }
  return reply;
}

// After the letter of "C. Paris", "C: Paris", "C", "C)". "A good one" is no choice: a space alone
// does not part a letter from its text.
bool EndsLetter(absl::string_view rest) {
  return rest.empty() || absl::StrContains(".,:;)]}*$`\"'!?\n\r", rest[0]);
}

// "is", "is:", ":", "would be", "=" and brackets between "answer" and the letter.
absl::string_view SkipLinkWords(absl::string_view text) {
  for (int i = 0; i < 8; ++i) {
    const size_t before = text.size();
    text = absl::StripLeadingAsciiWhitespace(text);
    for (const absl::string_view word : {"is ", "is:", "is(", "be ", "should ", "would ", "must ",
                                         "choice ", "option ", ":", "="}) {
      if (!absl::StartsWithIgnoreCase(text, word)) continue;
      text.remove_prefix(word.back() == '(' ? word.size() - 1 : word.size());
      break;
    }
    if (text.size() == before) break;
  }
  return text;
}

std::optional<char> Within(std::optional<char> letter, char last) {
  return letter && *letter <= last ? letter : std::nullopt;
}

// After the last "answer" that a letter follows.
std::optional<char> ChoiceAfterAnswer(absl::string_view text, char last) {
  for (size_t end = text.size(); end >= kWord.size(); --end) {
    const size_t at = end - kWord.size();
    // The cheap test first: this loop visits every character.
    if ((text[at] | 0x20) != 'a' || !absl::EqualsIgnoreCase(text.substr(at, kWord.size()), kWord)) {
      continue;
    }
    const absl::string_view after = SkipLinkWords(text.substr(end, 200));
    if (after.size() == text.substr(end, 200).size()) continue;  // "answers", "answer\n"
    if (const auto letter = Within(ChoiceLetter(after), last)) return letter;
  }
  return std::nullopt;
}

// The digits, separators and decimals from `begin`; the end.
size_t NumeralEnd(absl::string_view text, size_t begin) {
  size_t i = begin;
  while (i < text.size() && IsDigit(text[i])) ++i;
  while (i > begin && i - begin >= 1 && i + 3 < text.size() && text[i] == ',' &&
         IsDigit(text[i + 1]) && IsDigit(text[i + 2]) && IsDigit(text[i + 3]) &&
         (i + 4 >= text.size() || !IsDigit(text[i + 4]))) {
    i += 4;
  }
  if (i + 1 < text.size() && text[i] == '.' && IsDigit(text[i + 1])) {
    ++i;
    while (i < text.size() && IsDigit(text[i])) ++i;
  }
  return i;
}

// A minus that belongs to the number at `begin`, not to a subtraction ("7-5").
bool HasSign(absl::string_view text, size_t begin) {
  if (begin == 0 || text[begin - 1] != '-') return false;
  if (begin == 1) return true;
  const char before = text[begin - 2];
  return !IsAlnum(before) && before != ')' && before != '}';
}

}  // namespace

std::optional<absl::string_view> ExtractTagged(absl::string_view text) {
  const size_t open = text.rfind(kOpenTag);
  if (open == absl::string_view::npos) return std::nullopt;
  text.remove_prefix(open + kOpenTag.size());
  return absl::StripAsciiWhitespace(text.substr(0, text.find(kCloseTag)));
}

absl::string_view LastLine(absl::string_view text) {
  text = absl::StripTrailingAsciiWhitespace(text);
  const size_t line_end = text.rfind('\n');
  return absl::StripAsciiWhitespace(
      line_end == absl::string_view::npos ? text : text.substr(line_end + 1));
}

std::string ExtractReply(absl::string_view text) {
  if (const auto box = ExtractBoxed(text)) {
    return std::string(absl::StripAsciiWhitespace(*box));
  }
  if (const auto tagged = ExtractTagged(text)) return std::string(*tagged);
  if (const auto line = ExtractDapoAnswer(text, kNoWindow)) {
    return std::string(absl::StripAsciiWhitespace(*line));
  }
  return std::string(LastLine(text));
}

std::optional<char> ChoiceLetter(absl::string_view reply) {
  const absl::string_view trimmed = absl::StripAsciiWhitespace(reply);
  const absl::string_view inside = Unwrap(trimmed);
  if (inside.empty() || !IsLetter(inside[0]) || !EndsLetter(inside.substr(1))) return std::nullopt;
  // A small letter counts only where it cannot be a word: alone or in brackets.
  const bool bracketed = inside.size() < trimmed.size();
  const bool alone = inside.size() == 1;
  if (absl::ascii_islower(static_cast<unsigned char>(inside[0])) && !bracketed && !alone &&
      inside[1] != ')') {
    return std::nullopt;
  }
  return absl::ascii_toupper(static_cast<unsigned char>(inside[0]));
}

std::optional<char> ExtractChoice(absl::string_view text, char last) {
  if (const auto box = ExtractBoxed(text)) return Within(ChoiceLetter(*box), last);
  if (const auto tagged = ExtractTagged(text)) return Within(ChoiceLetter(*tagged), last);
  // A choice is named near the end; a completion may be a megabyte of the word "answer".
  if (text.size() > kChoiceWindow) text.remove_prefix(text.size() - kChoiceWindow);
  if (const auto letter = ChoiceAfterAnswer(text, last)) return letter;
  return Within(ChoiceLetter(LastLine(text)), last);
}

std::optional<absl::string_view> ExtractLastNumber(absl::string_view text) {
  std::optional<absl::string_view> last;
  for (size_t i = 0; i < text.size();) {
    const bool point = text[i] == '.' && i + 1 < text.size() && IsDigit(text[i + 1]) &&
                       (i == 0 || !IsAlnum(text[i - 1]));
    if (!IsDigit(text[i]) && !point) {
      ++i;
      continue;
    }
    size_t end = NumeralEnd(text, i);
    if (end + 1 < text.size() && text[end] == '/' && IsDigit(text[end + 1])) {
      end = NumeralEnd(text, end + 1);
    }
    if (end < text.size() && text[end] == '%') {
      ++end;
    } else if (absl::StartsWith(text.substr(end), "\\%")) {
      end += 2;
    }
    const size_t begin = HasSign(text, i) ? i - 1 : i;
    last = text.substr(begin, end - begin);
    i = end;
  }
  return last;
}

}  // namespace cohort

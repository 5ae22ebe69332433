#include "common/rewards/normalize.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace cohort {
namespace {

// No answer worth comparing is longer; a longer one is left as it is.
constexpr size_t kMaxAnswerBytes = 64 << 10;

std::string Replace(absl::string_view text, absl::string_view from, absl::string_view to) {
  return absl::StrReplaceAll(text, {{from, to}});
}

bool AllDigits(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), absl::ascii_isdigit);
}

bool IsInteger(absl::string_view text) {  // as Python prints one
  if (absl::StartsWith(text, "-"))
    return text != "-0" && IsInteger(text.substr(1)) && text[1] != '-';
  return AllDigits(text) && (text.size() == 1 || text[0] != '0');
}

// "\sqrt3" -> "\sqrt{3}".
std::string BraceRoots(const std::string& text) {
  std::vector<std::string> parts = absl::StrSplit(text, "\\sqrt");
  for (size_t i = 1; i < parts.size(); ++i) {
    if (!parts[i].empty() && parts[i][0] != '{') {
      parts[i] = absl::StrCat("{", parts[i].substr(0, 1), "}", parts[i].substr(1));
    }
  }
  return absl::StrJoin(parts, "\\sqrt");
}

// "\frac12" -> "\frac{1}{2}", "\frac1{72}" -> "\frac{1}{72}"; unchanged when one has no operands.
std::string BraceFractions(const std::string& text) {
  std::vector<std::string> parts = absl::StrSplit(text, "\\frac");
  for (size_t i = 1; i < parts.size(); ++i) {
    const std::string& part = parts[i];
    if (!part.empty() && part[0] == '{') continue;
    if (part.size() < 2) return text;
    const std::string second = part[1] == '{' ? "{" : absl::StrCat("{", part.substr(1, 1), "}");
    parts[i] = absl::StrCat("{", part.substr(0, 1), "}", second, part.substr(2));
  }
  return absl::StrJoin(parts, "\\frac");
}

// "3/4" -> "\frac{3}{4}".
std::string SlashToFraction(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, '/');
  if (parts.size() != 2 || !IsInteger(parts[0]) || !IsInteger(parts[1])) return text;
  return absl::StrCat("\\frac{", parts[0], "}{", parts[1], "}");
}

// "x = 5" -> "5": a left side of at most two characters is a variable's name.
std::string DropLeftSide(const std::string& text) {
  const size_t equals = text.find('=');
  const bool once = equals != std::string::npos && text.find('=', equals + 1) == std::string::npos;
  return once && equals <= 2 ? text.substr(equals + 1) : text;
}

// Bytes of the character at `i`; malformed UTF-8 counts byte by byte.
size_t CharacterSize(absl::string_view text, size_t i) {
  size_t size = 1;
  while (size < 4 && i + size < text.size() && (static_cast<unsigned char>(text[i]) >= 0xC0) &&
         (static_cast<unsigned char>(text[i + size]) >> 6) == 2) {
    ++size;
  }
  return size;
}

// A line with two dollars becomes what stands between the first two, dollars kept.
std::string KeepMath(const std::string& line) {
  const size_t open = line.find('$');
  if (open == std::string::npos) return line;
  const size_t close = line.find('$', open + 1);
  return close == std::string::npos ? line : line.substr(open, close - open + 1);
}

// `command` + "{x}" -> "x", up to the first closing brace of the line.
std::string Unwrap(const std::string& line, absl::string_view command) {
  std::string out;
  size_t from = 0;
  for (;;) {
    const size_t at = line.find(command.data(), from, command.size());
    const size_t close = at == std::string::npos ? at : line.find('}', at + command.size());
    if (close == std::string::npos) break;
    out.append(line, from, at - from);
    out.append(line, at + command.size(), close - at - command.size());
    from = close + 1;
  }
  return out.append(line, from);
}

// "\boxed{x}" -> "x", up to the last closing brace of the line.
std::string UnwrapBox(const std::string& line) {
  constexpr absl::string_view kBox = "\\boxed{";
  const size_t at = line.find(kBox.data(), 0, kBox.size());
  const size_t close = line.rfind('}');
  if (at == std::string::npos || close == std::string::npos || close < at + kBox.size())
    return line;
  return absl::StrCat(line.substr(0, at), line.substr(at + kBox.size(), close - at - kBox.size()),
                      line.substr(close + 1));
}

// `word` + "ab" -> `word` + "{a}{b}" (`operands` characters), unless a brace follows already.
std::string BraceOperands(absl::string_view text, absl::string_view word, int operands) {
  std::string out;
  size_t from = 0;
  for (size_t at = text.find(word); at != absl::string_view::npos; at = text.find(word, from)) {
    size_t i = at + word.size();
    absl::StrAppend(&out, text.substr(from, i - from));
    from = i;
    std::string braced;
    int found = 0;
    for (; found < operands && i < text.size(); ++found) {
      if (found == 0 ? text[i] == '{' : text[i] == '\n') break;
      const size_t size = CharacterSize(text, i);
      absl::StrAppend(&braced, "{", text.substr(i, size), "}");
      i += size;
    }
    if (found < operands) continue;
    out += braced;
    from = i;
  }
  return absl::StrCat(out, text.substr(from));
}

std::string UnwrapLines(const std::string& text) {
  std::vector<std::string> lines = absl::StrSplit(text, '\n');
  for (std::string& line : lines) {
    line = KeepMath(line);
    for (const char* command : {"\\text{", "\\textbf{", "\\overline{"})
      line = Unwrap(line, command);
    line = UnwrapBox(line);
  }
  return absl::StrJoin(lines, "\n");
}

constexpr absl::string_view kUnitMark = "\\text{ ";

std::string DropStyle(absl::string_view answer) {
  std::string text = Replace(answer, "\n", "");
  text = Replace(text, "\\!", "");
  text = Replace(text, "\\\\", "\\");
  text = Replace(Replace(text, "tfrac", "frac"), "dfrac", "frac");
  text = Replace(Replace(text, "\\left", ""), "\\right", "");
  text = Replace(Replace(text, "^{\\circ}", ""), "^\\circ", "");
  return Replace(text, "\\$", "");
}

// Two of what the reference takes for units.
bool HasTwoUnits(absl::string_view answer) {
  if (answer.size() > kMaxAnswerBytes) return false;
  const std::string text = DropStyle(answer);
  const size_t first = text.find(kUnitMark.data(), 0, kUnitMark.size());
  return first != std::string::npos &&
         text.find(kUnitMark.data(), first + 1, kUnitMark.size()) != std::string::npos;
}

}  // namespace

bool HendrycksEqual(absl::string_view a, absl::string_view b) {
  if (HasTwoUnits(a) || HasTwoUnits(b)) return a == b;
  return NormalizeHendrycks(a) == NormalizeHendrycks(b);
}

std::string NormalizeHendrycks(absl::string_view answer) {
  if (answer.size() > kMaxAnswerBytes) return std::string(answer);
  std::string text = DropStyle(answer);
  text = text.substr(0, text.find(kUnitMark.data(), 0, kUnitMark.size()));  // units on the right
  text = Replace(text, "\\%", "");
  text = Replace(Replace(text, " .", " 0."), "{.", "{0.");
  if (absl::StartsWith(text, ".")) text = absl::StrCat("0", text);
  text = BraceRoots(DropLeftSide(text));
  text = BraceFractions(Replace(text, " ", ""));
  if (text == "0.5") return "\\frac{1}{2}";
  return SlashToFraction(text);
}

std::string NormalizeMinerva(absl::string_view answer) {
  if (answer.size() > kMaxAnswerBytes) return std::string(answer);
  // In this order: each works on what the one before has left.
  static constexpr std::pair<const char*, const char*> kSubstitutions[] = {
      {"an ", ""},          {"a ", ""},
      {".$", "$"},          {"\\$", ""},
      {"\\ ", ""},          {" ", ""},
      {"mbox", "text"},     {",\\text{and}", ","},
      {"\\text{and}", ","}, {"\\text{m}", "\\text{}"}};
  static constexpr const char* kRemoved[] = {
      "square",     "ways",       "integers",  "dollars",      "mph",
      "inches",     "hours",      "km",        "units",        "\\ldots",
      "sue",        "points",     "feet",      "minutes",      "digits",
      "cents",      "degrees",    "cm",        "gm",           "pounds",
      "meters",     "meals",      "edges",     "students",     "childrentickets",
      "multiples",  "\\text{s}",  "\\text{.}", "\\text{\ns}",  "\\text{}^2",
      "\\text{}^3", "\\text{\n}", "\\text{}",  "\\mathrm{th}", "^\\circ",
      "^{\\circ}",  "\\;",        ",\\!",      "{,}",          "\"",
      "\\dots"};
  const size_t equals = answer.rfind('=');
  if (equals != absl::string_view::npos) answer.remove_prefix(equals + 1);
  std::string text(answer);
  for (const auto& [from, to] : kSubstitutions) text = Replace(text, from, to);
  for (const char* word : kRemoved) text = Replace(text, word, "");
  text = UnwrapLines(text);
  text = BraceOperands(text, "frac", 2);
  text = Replace(BraceOperands(text, "sqrt", 1), "$", "");
  if (std::string digits = Replace(text, ",", ""); AllDigits(digits)) return digits;
  return std::string(absl::StripAsciiWhitespace(text));
}

}  // namespace cohort

#include "common/rewards/answer.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/rewards/exact_number.h"
#include "common/rewards/normalize.h"

namespace cohort {
namespace {

constexpr size_t kMaxStructuredBytes = 4000;
constexpr int kMaxDepth = 8;

std::string Canonical(absl::string_view text, int depth);

std::string Trim(absl::string_view text) { return std::string(absl::StripAsciiWhitespace(text)); }

// Removes what never changes a value: sizes, spacing, degrees, dollars, sentence ends.
std::string DropDecoration(absl::string_view text) {
  std::string out = absl::StrReplaceAll(text, {{"\\left", ""},
                                               {"\\right", ""},
                                               {",\\! ", ","},
                                               {"\\!", ""},
                                               {"^{\\circ}", ""},
                                               {"^\\circ", ""},
                                               {"\u00b0", ""},
                                               {"\\$", ""},
                                               {"$", ""},
                                               {"dfrac", "frac"},
                                               {"tfrac", "frac"},
                                               {"\\%", "%"},
                                               {"\u2212", "-"},
                                               {"\\mbox", "\\text"},
                                               {"\\mathrm", "\\text"},
                                               {"\\lbrace", "\\{"},
                                               {"\\rbrace", "\\}"},
                                               {"\n", " "}});
  out = Trim(out);
  while (absl::EndsWith(out, ".") || absl::EndsWith(out, ",")) out.pop_back();
  return Trim(out);
}

// "15\text{ cm}^2" -> "15"; "\text{east}" -> "east".
std::string DropUnits(const std::string& text) {
  const size_t at = text.find("\\text{");
  if (at == std::string::npos) return text;
  if (std::string before = Trim(text.substr(0, at)); !before.empty() && ParseExactNumber(before)) {
    return before;
  }
  const size_t close = text.find('}', at);
  if (at != 0 || close == std::string::npos || close + 1 != text.size()) return text;
  return Trim(text.substr(6, close - 6));
}

// "x = 5", "x \in [1,2]" -> what follows, where the left side is a short name.
std::string DropName(const std::string& text) {
  for (const absl::string_view sign : {"=", "\\in "}) {
    const size_t at = text.find(sign.data(), 0, sign.size());
    if (at == std::string::npos || Trim(text.substr(0, at)).size() > 2) continue;
    if (text.find('=', at + sign.size()) == std::string::npos)
      return Trim(text.substr(at + sign.size()));
  }
  return text;
}

// Splits at commas outside brackets.
std::vector<std::string> SplitList(absl::string_view text) {
  std::vector<std::string> parts;
  int depth = 0;
  size_t begin = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    if (i == text.size() || (text[i] == ',' && depth == 0)) {
      parts.push_back(Trim(text.substr(begin, i - begin)));
      begin = i + 1;
    } else if (absl::StrContains("([{", text[i])) {
      ++depth;
    } else if (absl::StrContains(")]}", text[i])) {
      --depth;
    }
  }
  return parts;
}

// The bracket that opens `text` is closed by its last character.
bool IsBracketed(absl::string_view text) {
  int depth = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (absl::StrContains("([{", text[i])) ++depth;
    if (absl::StrContains(")]}", text[i]) && --depth == 0) return i + 1 == text.size();
  }
  return false;
}

// "1 \pm \sqrt{2}" stands for two values.
std::vector<std::string> ExpandPlusMinus(const std::string& text) {
  const size_t at = text.find("\\pm");
  if (at == std::string::npos || text.find("\\pm", at + 1) != std::string::npos) return {text};
  return {absl::StrCat(text.substr(0, at), "+", text.substr(at + 3)),
          absl::StrCat(text.substr(0, at), "-", text.substr(at + 3))};
}

std::string CanonicalSet(const std::vector<std::string>& elements, absl::string_view kind,
                         int depth) {
  std::set<std::string> values;
  for (const std::string& element : elements) {
    for (const std::string& value : ExpandPlusMinus(element))
      values.insert(Canonical(value, depth));
  }
  return absl::StrCat(kind, "{", absl::StrJoin(values, ";"), "}");
}

std::string CanonicalSequence(const std::vector<std::string>& elements, char open, char close,
                              int depth) {
  std::vector<std::string> values;
  for (const std::string& element : elements) values.push_back(Canonical(element, depth));
  return absl::StrCat(std::string(1, open), absl::StrJoin(values, ";"), std::string(1, close));
}

// "\begin{pmatrix} a & b \\ c & d \end{pmatrix}"; "" when it is none.
std::string CanonicalMatrix(absl::string_view text, int depth) {
  if (!absl::ConsumePrefix(&text, "\\begin{pmatrix}") &&
      !absl::ConsumePrefix(&text, "\\begin{bmatrix}")) {
    return "";
  }
  if (!absl::ConsumeSuffix(&text, "\\end{pmatrix}") &&
      !absl::ConsumeSuffix(&text, "\\end{bmatrix}")) {
    return "";
  }
  std::vector<std::string> rows;
  for (absl::string_view row : absl::StrSplit(text, "\\\\")) {
    if (absl::StripAsciiWhitespace(row).empty()) continue;
    const std::vector<std::string> cells = absl::StrSplit(row, '&');
    rows.push_back(CanonicalSequence(cells, '[', ']', depth));
  }
  return absl::StrCat("matrix", absl::StrJoin(rows, ""));
}

std::string CanonicalText(const std::string& text) {
  std::string plain = NormalizeHendrycks(text);
  const bool wrapped = plain.size() == 3 && plain.front() == '(' && plain.back() == ')';
  return absl::StrCat("text:", wrapped ? plain.substr(1, 1) : plain);
}

// Structures of more than one value; "" for anything else.
std::string CanonicalStructure(const std::string& text, int depth) {
  if (std::string matrix = CanonicalMatrix(text, depth); !matrix.empty()) return matrix;
  if (absl::StrContains(text, "\\cup")) {
    return CanonicalSet(absl::StrSplit(text, "\\cup"), "union", depth);
  }
  if (absl::StartsWith(text, "\\{") && absl::EndsWith(text, "\\}")) {
    return CanonicalSet(SplitList(absl::string_view(text).substr(2, text.size() - 4)), "set",
                        depth);
  }
  if (text.size() >= 2 && absl::StrContains("([", text[0]) && IsBracketed(text)) {
    const auto elements = SplitList(absl::string_view(text).substr(1, text.size() - 2));
    if (elements.size() > 1) return CanonicalSequence(elements, text.front(), text.back(), depth);
  }
  const auto elements = SplitList(text);
  const bool list = elements.size() > 1 &&
                    std::none_of(elements.begin(), elements.end(),
                                 [](const std::string& element) { return element.empty(); });
  if (list || ExpandPlusMinus(text).size() > 1) return CanonicalSet(elements, "set", depth);
  return "";
}

std::string Canonical(absl::string_view raw, int depth) {
  const std::string text = DropName(DropUnits(DropDecoration(raw)));
  if (const auto number = ParseExactNumber(text)) return number->ToString();
  for (const auto& [name, key] :
       {std::pair{"\\infty", "inf"}, {"+\\infty", "inf"}, {"-\\infty", "-inf"}}) {
    if (text == name) return key;
  }
  if (depth < kMaxDepth) {
    if (std::string structure = CanonicalStructure(text, depth + 1); !structure.empty()) {
      return structure;
    }
  }
  return CanonicalText(text);
}

}  // namespace

std::string CanonicalAnswer(absl::string_view answer) {
  if (answer.size() <= kMaxStructuredBytes) return Canonical(answer, 0);
  if (const auto number = CanonicalDecimal(answer)) {
    // A long spelling of a short number ("1.000...") is that number.
    if (number->size() <= kMaxStructuredBytes) return Canonical(*number, 0);
    return absl::StrCat("text:", *number);
  }
  return absl::StrCat("text:", Trim(answer));
}

std::optional<std::string> CanonicalNumber(absl::string_view answer) {
  if (answer.size() <= kMaxStructuredBytes) {
    const auto number = ParseExactNumber(DropName(DropUnits(DropDecoration(answer))));
    if (number) return number->ToString();
  }
  auto decimal = CanonicalDecimal(answer);
  if (!decimal || decimal->size() > kMaxStructuredBytes) return decimal;
  const auto number = ParseExactNumber(*decimal);
  return number ? number->ToString() : decimal;
}

bool AnswersEqual(absl::string_view a, absl::string_view b) {
  return CanonicalAnswer(a) == CanonicalAnswer(b);
}

}  // namespace cohort

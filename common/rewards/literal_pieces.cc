#include "common/rewards/literal_pieces.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace cohort {
namespace {

bool IsDigit(char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }
bool IsLetter(char c) { return absl::ascii_isalpha(static_cast<unsigned char>(c)); }
bool IsWide(char c) { return static_cast<unsigned char>(c) >= 0x80; }

size_t DigitsEnd(absl::string_view text, size_t i) {
  while (i < text.size() && IsDigit(text[i])) ++i;
  return i;
}

// Behind a mark that parts groups of three digits, and the group itself; 0: there is none.
size_t GroupEnd(absl::string_view text, size_t i) {
  for (const absl::string_view mark : {"{,}", ",\\!", "\\,", ",", " ", "~"}) {
    if (!absl::StartsWith(text.substr(i, 3), mark)) continue;
    const size_t begin = i + mark.size();
    return DigitsEnd(text, begin) == begin + 3 ? begin + 3 : 0;
  }
  return 0;
}

// "1,234.5", "2.6e3", ".5", "12%", from a digit or a point.
size_t NumeralEnd(absl::string_view text, size_t begin) {
  size_t i = DigitsEnd(text, begin);
  if (i > begin && i - begin <= 3) {
    for (size_t group = GroupEnd(text, i); group > 0; group = GroupEnd(text, i)) i = group;
  }
  if (i + 1 < text.size() && text[i] == '.' && IsDigit(text[i + 1])) i = DigitsEnd(text, i + 1);
  if (i + 1 < text.size() && (text[i] == 'e' || text[i] == 'E')) {
    const size_t digits = i + (text[i + 1] == '-' || text[i + 1] == '+' ? 2 : 1);
    const size_t end = DigitsEnd(text, digits);
    if (end > digits && (end == text.size() || !IsLetter(text[end]))) i = end;
  }
  if (absl::StartsWith(text.substr(i), "%")) return i + 1;
  return absl::StartsWith(text.substr(i), "\\%") ? i + 2 : i;
}

// Behind the group, the number or the character that an operator such as ^ or \frac takes.
size_t ArgumentEnd(absl::string_view text, size_t i, bool whole_number) {
  while (i < text.size() && text[i] == ' ') ++i;
  if (i >= text.size()) return i;
  if (text[i] == '{' || text[i] == '(') {
    const char open = text[i], close = open == '{' ? '}' : ')';
    int depth = 0;
    for (size_t k = i; k < text.size(); ++k) {
      if (text[k] == open) ++depth;
      if (text[k] == close && --depth == 0) return k + 1;
    }
    return text.size();
  }
  if (text[i] == '\\') {
    for (++i; i < text.size() && IsLetter(text[i]);) ++i;
    return i;
  }
  if (!whole_number) return i + 1;
  if (text[i] == '-' || text[i] == '+') ++i;
  const size_t end = DigitsEnd(text, i);
  return end > i ? end : std::min(i + 1, text.size());
}

struct Command {
  absl::string_view name;
  Piece::Kind kind;
  int arguments;
};
constexpr std::array<Command, 30> kCommands = {{
    {"frac", Piece::kFormula, 2},      {"dfrac", Piece::kFormula, 2},
    {"tfrac", Piece::kFormula, 2},     {"cfrac", Piece::kFormula, 2},
    {"binom", Piece::kFormula, 2},     {"dbinom", Piece::kFormula, 2},
    {"sqrt", Piece::kFormula, 1},      {"pi", Piece::kFormula, 0},
    {"times", Piece::kOperator, 0},    {"cdot", Piece::kOperator, 0},
    {"div", Piece::kOperator, 0},      {"ast", Piece::kOperator, 0},
    {"pm", Piece::kOperator, 0},       {"mp", Piece::kOperator, 0},
    {"approx", Piece::kEquals, 0},     {"le", Piece::kEquals, 0},
    {"leq", Piece::kEquals, 0},        {"ge", Piece::kEquals, 0},
    {"geq", Piece::kEquals, 0},        {"equiv", Piece::kEquals, 0},
    {"to", Piece::kEquals, 0},         {"implies", Piece::kEquals, 0},
    {"Rightarrow", Piece::kEquals, 0}, {"sin", Piece::kWord, 0},
    {"cos", Piece::kWord, 0},          {"tan", Piece::kWord, 0},
    {"log", Piece::kWord, 0},          {"ln", Piece::kWord, 0},
    {"theta", Piece::kWord, 0},        {"alpha", Piece::kWord, 0},
}};

struct WideSign {
  absl::string_view text;
  Piece::Kind kind;
};
constexpr std::array<WideSign, 22> kWideSigns = {{
    {"\u00d7", Piece::kOperator}, {"\u00b7", Piece::kOperator}, {"\u22c5", Piece::kOperator},
    {"\u00f7", Piece::kOperator}, {"\u00b1", Piece::kOperator}, {"\u2219", Piece::kOperator},
    {"\u2248", Piece::kEquals},   {"\u2264", Piece::kEquals},   {"\u2265", Piece::kEquals},
    {"\u2192", Piece::kEquals},   {"\u21d2", Piece::kEquals},   {"\u00b2", Piece::kPower},
    {"\u00b3", Piece::kPower},    {"\u00b9", Piece::kPower},    {"\u2070", Piece::kPower},
    {"\u2074", Piece::kPower},    {"\u2075", Piece::kPower},    {"\u2076", Piece::kPower},
    {"\u2077", Piece::kPower},    {"\u2078", Piece::kPower},    {"\u2079", Piece::kPower},
    {"\u03c0", Piece::kFormula},
}};

class Scanner {
 public:
  explicit Scanner(absl::string_view text) : text_(text) {}

  std::vector<Piece> Run() {
    while (at_ < text_.size()) {
      const size_t before = at_;
      if (!TakeSpace()) TakePiece();
      if (at_ == before) ++at_;
    }
    return std::move(pieces_);
  }

 private:
  absl::string_view Rest() const { return text_.substr(at_); }

  void Add(Piece::Kind kind, size_t end) {
    pieces_.push_back({kind, at_, std::min(end, text_.size()), space_});
    at_ = pieces_.back().end;
    space_ = false;
  }

  bool TakeSpace() {
    if (!absl::StrContains(" \t~\\{}", text_[at_])) return false;
    for (const absl::string_view space : {" ", "\t", "~", "\\,", "\\;", "\\:", "\\!", "\\ ", "{",
                                          "}", "\\left", "\\right", "\\displaystyle", "\\quad"}) {
      if (!absl::StartsWith(Rest(), space)) continue;
      at_ += space.size();
      space_ = space_ || (space != "{" && space != "}" && space != "\\!");
      return true;
    }
    return false;
  }

  void TakePiece() {
    const char c = text_[at_];
    const bool point = c == '.' && at_ + 1 < text_.size() && IsDigit(text_[at_ + 1]);
    if (IsDigit(c) || point) return Add(Piece::kNumber, NumeralEnd(text_, at_));
    if (c == '^' || c == '_') return Add(Piece::kPower, ArgumentEnd(text_, at_ + 1, true));
    if (c == '\\') return TakeCommand();
    if (IsWide(c)) return TakeWide();
    if (IsLetter(c)) return TakeWord();
    if (absl::StartsWith(Rest(), "**")) return Add(Piece::kBreak, at_ + 2);
    if (c == '-' || c == '+') return Add(Piece::kSign, at_ + 1);
    if (c == '*' || c == '/') return Add(Piece::kOperator, at_ + 1);
    if (c == '=' || c == '<' || c == '>') return Add(Piece::kEquals, at_ + 1);
    if (c == '(' || c == '[') return Add(Piece::kOpen, at_ + 1);
    if (c == ')' || c == ']') return Add(Piece::kClose, at_ + 1);
    Add(Piece::kBreak, at_ + 1);
  }

  // Letters, and the digits behind them: "CO2".
  void TakeWord() {
    size_t end = at_;
    while (end < text_.size() && (IsLetter(text_[end]) || IsDigit(text_[end]))) ++end;
    Add(Piece::kWord, end);
  }

  void TakeWide() {
    if (absl::StartsWith(Rest(), "\u221a")) {  // a root and what it is of
      return Add(Piece::kFormula, ArgumentEnd(text_, at_ + 3, true));
    }
    for (const WideSign& sign : kWideSigns) {
      if (absl::StartsWith(Rest(), sign.text)) return Add(sign.kind, at_ + sign.text.size());
    }
    size_t end = at_ + 1;
    while (end < text_.size() && IsWide(text_[end]) && text_[end] != '\xC3' &&
           text_[end] != '\xC2' && text_[end] != '\xE2') {
      ++end;
    }
    Add(Piece::kWord, end);
  }

  void TakeCommand() {
    size_t end = at_ + 1;
    while (end < text_.size() && IsLetter(text_[end])) ++end;
    const absl::string_view name = text_.substr(at_ + 1, end - at_ - 1);
    if (name.empty()) return Add(Piece::kBreak, at_ + 2);
    for (const Command& command : kCommands) {
      if (command.name != name) continue;
      if (name == "sqrt" && end < text_.size() && text_[end] == '[') {
        end = std::min(text_.find(']', end), text_.size() - 1) + 1;
      }
      for (int k = 0; k < command.arguments; ++k) end = ArgumentEnd(text_, end, false);
      return Add(command.kind, end);
    }
    Add(Piece::kBreak, end);
  }

  absl::string_view text_;
  size_t at_ = 0;
  bool space_ = false;
  std::vector<Piece> pieces_;
};

}  // namespace

std::vector<Piece> ScanPieces(absl::string_view text) { return Scanner(text).Run(); }

}  // namespace cohort

#include "common/rewards/literal.h"

#include <algorithm>
#include <array>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/rewards/plain_text.h"

namespace cohort {
namespace {

// What a number can be a part of is looked for this far around it, bytes.
constexpr size_t kBefore = 2048;
constexpr size_t kAfter = 256;
constexpr int kMostWindows = 8;

bool IsDigit(char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }
bool IsLetter(char c) { return absl::ascii_isalpha(static_cast<unsigned char>(c)); }
bool IsWide(char c) { return static_cast<unsigned char>(c) >= 0x80; }

struct Piece {
  enum Kind { kNumber, kFormula, kPower, kSign, kOperator, kEquals, kOpen, kClose, kWord, kBreak };
  Kind kind = kBreak;
  size_t begin = 0;
  size_t end = 0;
  bool space = false;  // before it
};

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

// Words behind a number that change its value.
bool ScalesNumber(absl::string_view word) {
  for (const absl::string_view scale : {"hundred", "thousand", "million", "billion", "trillion",
                                        "dozen", "percent", "\u4e07", "\u4ebf"}) {
    if (absl::EqualsIgnoreCase(word, scale)) return true;
  }
  return false;
}

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

// The last number among the pieces, and what it belongs to. `first` and `last` are pieces.
class Reader {
 public:
  Reader(absl::string_view text, std::vector<Piece> pieces)
      : text_(text), pieces_(std::move(pieces)) {}

  std::optional<Literal> Read() {
    for (size_t i = pieces_.size(); i-- > 0;) {
      if (!IsValue(i)) continue;
      last_ = i;
      if (i + 1 < pieces_.size() && Kind(i + 1) == Piece::kPower && !pieces_[i + 1].space) ++last_;
      first_ = i;
      Grow();
      return Describe();
    }
    return std::nullopt;
  }

 private:
  Piece::Kind Kind(size_t i) const { return i < pieces_.size() ? pieces_[i].kind : Piece::kBreak; }
  absl::string_view Text(size_t i) const {
    return i < pieces_.size() ? text_.substr(pieces_[i].begin, pieces_[i].end - pieces_[i].begin)
                              : absl::string_view();
  }
  bool IsValue(size_t i) const { return Kind(i) == Piece::kNumber || Kind(i) == Piece::kFormula; }
  // A letter that stands for a number. Letters that are words or units right behind one are not.
  bool IsVariable(size_t i) const {
    return Kind(i) == Piece::kWord && pieces_[i].end - pieces_[i].begin == 1 && Text(i) != "I" &&
           Text(i) != "a" && Text(i) != "A";
  }
  bool IsOperand(size_t i) const {
    return IsValue(i) || Kind(i) == Piece::kClose || IsVariable(i) ||
           (Kind(i) == Piece::kPower && i > 0 && Kind(i - 1) != Piece::kBreak);
  }
  bool IsOperandAhead(size_t i) const {
    return IsValue(i) || IsVariable(i) || (Kind(i) == Piece::kOpen);
  }
  bool IsTimes(size_t i) const {
    return Kind(i) == Piece::kOperator && Text(i) != "/" && Text(i) != "\\div" &&
           Text(i) != "\u00f7";
  }
  // The value that ends with piece `i`: its first piece; npos: none does.
  size_t ValueBefore(size_t i) const {
    if (i == npos) return npos;
    if (Kind(i) == Piece::kPower && i > 0 && IsValue(i - 1)) return i - 1;
    return IsValue(i) ? i : npos;
  }
  static size_t Before(size_t i) { return i == 0 ? npos : i - 1; }

  // Takes in factors, the numerator and the whole part: "2\sqrt{3}", "3/4", "1 1/2", "2.6 \times
  // 10^3".
  void Grow() {
    GrowFactors();
    const size_t sign = Before(first_);
    if (sign != npos && Text(sign) == "/") {
      if (const size_t top = ValueBefore(Before(sign)); top != npos) {
        first_ = top;
        fraction_ = true;
        GrowFactors();
        GrowWhole();
      }
    } else if (sign != npos && IsTimes(sign) && absl::StartsWith(Text(first_), "10") &&
               last_ > first_) {
      if (const size_t mantissa = ValueBefore(Before(sign)); mantissa != npos) first_ = mantissa;
    } else if (absl::StrContains(Text(first_), "frac")) {
      GrowWhole();
    }
  }
  void GrowFactors() {
    while (first_ > 0 && Kind(first_) == Piece::kFormula && IsValue(first_ - 1)) --first_;
  }
  void GrowWhole() {
    const size_t whole = Before(first_);
    const bool joined = whole != npos && Kind(whole) == Piece::kNumber;
    if (joined && IsDigit(text_[pieces_[whole].end - 1])) first_ = whole;
  }

  bool Negative() {
    size_t sign = Before(first_);
    // "-$24"
    if (sign != npos && absl::StrContains("$", Text(sign)) && !pieces_[first_].space) {
      sign = Before(sign);
    }
    if (sign != npos && absl::EndsWith(Text(sign), "\\$")) sign = Before(sign);
    if (sign == npos || Kind(sign) != Piece::kSign) return false;
    const size_t left = Before(sign);
    const bool hyphen = left != npos && Kind(left) == Piece::kWord && !pieces_[sign].space &&
                        !pieces_[first_].space;
    if (hyphen && !IsVariable(left)) return false;
    if (left != npos && IsOperand(left)) {
      in_expression_ = true;
      return false;
    }
    return Text(sign) == "-";
  }

  // "\\log", "\\log_{3}"
  bool IsFunction(size_t i) const {
    if (i != npos && Kind(i) == Piece::kPower) i = Before(i);
    return i != npos && Kind(i) == Piece::kWord && absl::StartsWith(Text(i), "\\");
  }

  void LookAround() {
    const size_t left = Before(first_);
    if (IsFunction(left)) in_expression_ = true;
    if (left != npos && Kind(left) == Piece::kOperator) {
      const size_t operand = Before(left);
      if (operand != npos && IsOperand(operand)) in_expression_ = true;
    }
    if (left != npos && Kind(left) == Piece::kOpen && left > 0 && Kind(left - 1) == Piece::kWord &&
        !pieces_[left].space) {
      in_expression_ = true;
    }
    const size_t right = last_ + 1;
    if (right >= pieces_.size()) return;
    const bool sign = Kind(right) == Piece::kSign || Kind(right) == Piece::kOperator;
    if (sign && IsOperandAhead(right + 1)) in_expression_ = true;
    const bool attached = !pieces_[right].space;
    if (attached && (Kind(right) == Piece::kOpen || Kind(right) == Piece::kPower)) {
      in_expression_ = true;
    }
    if (Kind(right) == Piece::kClose && Kind(right + 1) == Piece::kPower) in_expression_ = true;
    constexpr absl::string_view kUnits = "mgshlLJNWVAKCFdtcpbBTM";
    if (attached && IsVariable(right) && !absl::StrContains(kUnits, Text(right))) {
      in_expression_ = true;
    }
    if (Kind(right) == Piece::kWord && ScalesNumber(Text(right))) last_ = right;
  }

  Literal Describe() {
    Literal literal;
    const bool negative = Negative();
    const bool lone = first_ == last_ && Kind(first_) == Piece::kNumber;
    LookAround();
    const absl::string_view written =
        text_.substr(pieces_[first_].begin, pieces_[last_].end - pieces_[first_].begin);
    literal.in_expression = in_expression_;
    literal.integer = lone && first_ == last_ && IsInteger(written) && !Divides();
    literal.text = absl::StrCat(negative ? "-" : "", written);
    return literal;
  }

  static bool IsInteger(absl::string_view written) {
    const size_t point = written.find('.');
    const absl::string_view behind =
        point == absl::string_view::npos ? "" : written.substr(point + 1);
    const bool zeros = std::all_of(behind.begin(), behind.end(), [](char c) { return c == '0'; });
    return zeros && !absl::StrContains(written, "%") && !absl::StrContains(written, "e") &&
           !absl::StrContains(written, "E");
  }
  // A part of a fraction or a power is no integer of its own.
  bool Divides() const {
    const auto slash = [&](size_t i) {
      return Text(i) == "/" || Text(i) == "\u00f7" || Text(i) == "\\div";
    };
    const size_t left = Before(first_);
    if (left != npos && slash(left) && left > 0 && IsOperand(left - 1)) return true;
    if (slash(last_ + 1) && IsOperandAhead(last_ + 2)) return true;
    return Kind(last_ + 1) == Piece::kPower && !pieces_[last_ + 1].space;
  }

  static constexpr size_t npos = absl::string_view::npos;
  absl::string_view text_;
  std::vector<Piece> pieces_;
  size_t first_ = 0, last_ = 0;
  bool fraction_ = false, in_expression_ = false;
};

// The last place that can belong to a number.
size_t LastNumeric(absl::string_view text) {
  size_t last = text.find_last_of("0123456789");
  for (const absl::string_view sign : {"\\pi", "\u03c0"}) {
    const size_t at = text.rfind(sign);
    if (at != absl::string_view::npos && (last == absl::string_view::npos || at > last)) last = at;
  }
  return last;
}

}  // namespace

std::optional<Literal> LastLiteral(absl::string_view text) {
  std::string ascii;  // full-width digits are digits
  if (absl::StrContains(text, "\xEF\xBC")) text = ascii = PlainText(text);
  // Numbers that turn out to be exponents or parts of words are passed over.
  for (int tries = 0; tries < kMostWindows; ++tries) {
    const size_t at = LastNumeric(text);
    if (at == absl::string_view::npos) return std::nullopt;
    size_t begin = at < kBefore ? 0 : at - kBefore;
    while (begin > 0 && IsDigit(text[begin]) && IsDigit(text[begin - 1])) --begin;
    const std::string window = PlainText(text.substr(begin, at - begin + kAfter));
    if (auto literal = Reader(window, Scanner(window).Run()).Read()) return literal;
    text = text.substr(0, begin);
  }
  return std::nullopt;
}

}  // namespace cohort

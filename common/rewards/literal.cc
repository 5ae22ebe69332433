#include "common/rewards/literal.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/rewards/literal_pieces.h"
#include "common/rewards/plain_text.h"

namespace cohort {
namespace {

// What a number can be a part of is looked for this far around it, bytes.
constexpr size_t kBefore = 2048;
constexpr size_t kAfter = 256;
constexpr int kMostWindows = 8;

bool IsDigit(char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }

// Words behind a number that change its value.
bool ScalesNumber(absl::string_view word) {
  for (const absl::string_view scale : {"hundred", "thousand", "million", "billion", "trillion",
                                        "dozen", "percent", "\u4e07", "\u4ebf"}) {
    if (absl::EqualsIgnoreCase(word, scale)) return true;
  }
  return false;
}

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
    if (auto literal = Reader(window, ScanPieces(window)).Read()) return literal;
    text = text.substr(0, begin);
  }
  return std::nullopt;
}

}  // namespace cohort

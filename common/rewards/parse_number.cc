// The expression grammar of ParseExactNumber, by recursive descent with bounded depth and steps.
#include <algorithm>
#include <optional>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/rewards/exact_number.h"

namespace cohort {
namespace {

using Number = std::optional<ExactNumber>;

constexpr size_t kMaxBytes = 2000;
constexpr int kMaxDepth = 24;
constexpr int kMaxSteps = 2000;
constexpr size_t kMaxDigits = 36;

bool IsDigit(char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }

// sum     := product (('+' | '-') product)*
// product := signed (('*' | '/' | nothing) signed)*
// signed  := ('+' | '-')* power '%'*
// power   := primary ('^' exponent)?
class Parser {
 public:
  explicit Parser(absl::string_view text) : text_(text) {}

  Number ParseAll() {
    Number value = Sum();
    SkipSpaces();
    return value && at_ == text_.size() ? value : std::nullopt;
  }

 private:
  void SkipSpaces() {
    for (;;) {
      if (at_ < text_.size() && absl::ascii_isspace(static_cast<unsigned char>(text_[at_]))) {
        ++at_;
      } else if (absl::StartsWith(Rest(), "\\,") || absl::StartsWith(Rest(), "\\;") ||
                 absl::StartsWith(Rest(), "\\!") || absl::StartsWith(Rest(), "\\ ")) {
        at_ += 2;
      } else {
        return;
      }
    }
  }
  absl::string_view Rest() const { return text_.substr(at_); }
  bool Take(absl::string_view token) {
    SkipSpaces();
    if (!absl::StartsWith(Rest(), token)) return false;
    at_ += token.size();
    return true;
  }
  char Peek() {
    SkipSpaces();
    return at_ < text_.size() ? text_[at_] : '\0';
  }

  Number Sum() {
    if (++depth_ > kMaxDepth) return std::nullopt;
    Number value = Product();
    while (value) {
      const bool plus = Take("+");
      if (!plus && !Take("-")) break;
      Number next = Product();
      if (next && !plus) next = Multiply(*next, ExactNumber(Rational::FromInteger(-1)));
      value = next ? Add(*value, *next) : std::nullopt;
    }
    --depth_;
    return value;
  }

  bool StartsFactor() {
    const char c = Peek();
    return IsDigit(c) || c == '.' || c == '(' || c == '{' || absl::StartsWith(Rest(), "\\frac") ||
           absl::StartsWith(Rest(), "\\sqrt") || absl::StartsWith(Rest(), "\\pi") ||
           absl::StartsWith(Rest(), "\\left(") || absl::StartsWith(Rest(), "pi");
  }

  Number Product() {
    Number value = Signed();
    while (value && ++steps_ <= kMaxSteps) {
      if (Take("/") || Take("\\div")) {
        const Number next = Signed();
        value = next ? Divide(*value, *next) : std::nullopt;
      } else if (Take("*") || Take("\\cdot") || Take("\\times") || NextIsJuxtaposed()) {
        const Number next = Signed();
        value = next ? Multiply(*value, *next) : std::nullopt;
      } else {
        return value;
      }
    }
    return std::nullopt;
  }

  // A product without a sign: "2\pi", "3(4)"; never two numerals ("1 000").
  bool NextIsJuxtaposed() { return StartsFactor() && !IsDigit(Peek()) && Peek() != '.'; }

  Number Signed() {
    if (++steps_ > kMaxSteps) return std::nullopt;
    bool negative = false;
    for (;;) {
      if (Take("-")) {
        negative = !negative;
      } else if (!Take("+")) {
        break;
      }
    }
    Number value = PowerOf();
    while (value && (Take("\\%") || Take("%"))) {
      value = Divide(*value, ExactNumber(Rational::FromInteger(100)));
    }
    if (value && negative) value = Multiply(*value, ExactNumber(Rational::FromInteger(-1)));
    return value;
  }

  Number PowerOf() {
    Number base = Primary();
    if (!base || !Take("^")) return base;
    const Number exponent = Operand();
    const auto whole = exponent ? exponent->AsRational() : std::nullopt;
    if (!whole || !whole->IsInteger() || whole->numerator() > 128 || whole->numerator() < -128) {
      return std::nullopt;
    }
    return Power(*base, static_cast<int>(whole->numerator()));
  }

  Number Primary() {
    const char c = Peek();
    if (IsDigit(c) || c == '.') return Numeral();
    if (Take("\\left(") || Take("(")) return Closed(")", "\\right)");
    if (Take("{")) return Closed("}", "}");
    if (Take("\\frac")) return Fraction();
    if (Take("\\sqrt")) return Root();
    if (Take("\\pi") || Take("pi")) return ExactNumber::Pi();
    return std::nullopt;
  }

  Number Closed(absl::string_view one, absl::string_view other) {
    Number value = Sum();
    return value && (Take(one) || Take(other)) ? value : std::nullopt;
  }

  // {sum}, or one digit or symbol: \frac12, \sqrt3, x^2.
  Number Operand() {
    if (Take("{")) return Closed("}", "}");
    if (IsDigit(Peek())) return ExactNumber(Rational::FromInteger(text_[at_++] - '0'));
    return Take("\\pi") ? Number(ExactNumber::Pi()) : std::nullopt;
  }

  Number Fraction() {
    const Number top = Operand();
    const Number bottom = top ? Operand() : std::nullopt;
    return bottom ? Divide(*top, *bottom) : std::nullopt;
  }

  Number Root() {
    if (Take("[") && !(Take("2") && Take("]"))) return std::nullopt;
    const Number inside = Operand();
    return inside ? SquareRoot(*inside) : std::nullopt;
  }

  static Number FromDigits(const std::string& digits, size_t decimals) {
    const size_t first = std::min(digits.find_first_not_of('0'), digits.size());
    if (digits.size() - first > kMaxDigits || decimals > kMaxDigits) return std::nullopt;
    Int128 top = 0;
    for (size_t i = first; i < digits.size(); ++i) top = top * 10 + (digits[i] - '0');
    Int128 bottom = 1;
    for (size_t i = 0; i < decimals; ++i) bottom *= 10;
    const auto value = Rational::Make(top, bottom);
    return value ? Number(ExactNumber(*value)) : std::nullopt;
  }

  // Digits with thousands separators and a fraction; a mixed number when a fraction follows.
  Number Numeral() {
    std::string digits;
    size_t decimals = 0;
    TakeDigits(&digits);
    const size_t lead = digits.size();
    // Inside brackets a comma parts elements: (3,100) is a pair.
    while (depth_ == 1 && lead > 0 && lead <= 3 && TakeThousands(&digits)) {
    }
    bool whole = true;
    if (at_ < text_.size() && text_[at_] == '.') {
      ++at_;
      whole = false;
      const size_t before = digits.size();
      TakeDigits(&digits);
      decimals = digits.size() - before;
      while (decimals > 0 && digits.back() == '0') {  // 1.50000... has no digits to spare
        digits.pop_back();
        --decimals;
      }
    }
    if (digits.empty() && (whole || decimals == 0)) return std::nullopt;
    Number value = FromDigits(digits, decimals);
    return value && whole ? Mixed(*value) : value;
  }

  void TakeDigits(std::string* digits) {
    while (at_ < text_.size() && IsDigit(text_[at_])) *digits += text_[at_++];
  }

  // ",123", also as "{,}123" and ",\!123", not followed by a further digit.
  bool TakeThousands(std::string* digits) {
    size_t i = at_;
    if (absl::StartsWith(Rest(), "{,}")) {
      i += 3;
    } else if (absl::StartsWith(Rest(), ",\\!")) {
      i += 3;
      while (i < text_.size() && text_[i] == ' ') ++i;
    } else if (absl::StartsWith(Rest(), ",")) {
      i += 1;
    } else {
      return false;
    }
    size_t end = i;
    while (end < text_.size() && IsDigit(text_[end])) ++end;
    if (end - i != 3) return false;
    digits->append(text_.data() + i, 3);
    at_ = end;
    return true;
  }

  // "1\frac{1}{2}" and "1 1/2" are sums; otherwise nothing is read.
  Number Mixed(const ExactNumber& whole) {
    const size_t start = at_;
    Number part;
    if (Take("\\frac")) {
      part = Fraction();
    } else if (start < text_.size() && text_[start] == ' ' && IsDigit(Peek())) {
      std::string top;
      std::string bottom;
      TakeDigits(&top);
      if (Take("/")) TakeDigits(&bottom);
      const Number a = FromDigits(top, 0);
      const Number b = bottom.empty() ? std::nullopt : FromDigits(bottom, 0);
      part = a && b ? Divide(*a, *b) : std::nullopt;
    }
    const auto fraction = part ? part->AsRational() : std::nullopt;
    if (fraction && fraction->numerator() > 0) return Add(whole, *part);
    at_ = start;
    return whole;
  }

  absl::string_view text_;
  size_t at_ = 0;
  int depth_ = 0;
  int steps_ = 0;
};

// "1,234,567" without its commas; nullopt when they do not part groups of three.
std::optional<std::string> DropSeparators(absl::string_view whole) {
  std::string digits;
  const size_t first = std::min(whole.find(','), whole.size());
  if (first < whole.size() && (first == 0 || first > 3)) return std::nullopt;
  for (size_t i = 0; i < whole.size(); ++i) {
    const bool separator = i >= first && (i - first) % 4 == 0;
    if (separator != (whole[i] == ',')) return std::nullopt;
    if (separator) continue;
    if (!IsDigit(whole[i])) return std::nullopt;
    digits += whole[i];
  }
  const bool complete = first == whole.size() || (whole.size() - first) % 4 == 0;
  return complete ? std::optional<std::string>(std::move(digits)) : std::nullopt;
}

}  // namespace

std::optional<ExactNumber> ParseExactNumber(absl::string_view text) {
  if (text.size() > kMaxBytes) return std::nullopt;
  return Parser(text).ParseAll();
}

std::optional<std::string> CanonicalDecimal(absl::string_view text) {
  text = absl::StripAsciiWhitespace(text);
  const bool negative = absl::StartsWith(text, "-");
  if (negative || absl::StartsWith(text, "+")) text.remove_prefix(1);
  const size_t point = std::min(text.find('.'), text.size());
  absl::string_view fraction = text.substr(std::min(point + 1, text.size()));
  const bool digits_only = std::all_of(fraction.begin(), fraction.end(), IsDigit);
  const std::optional<std::string> whole = DropSeparators(text.substr(0, point));
  if (!whole || !digits_only || (whole->empty() && fraction.empty())) return std::nullopt;
  fraction = fraction.substr(0, fraction.find_last_not_of('0') + 1);
  const std::string lead = whole->substr(std::min(whole->find_first_not_of('0'), whole->size()));
  if (lead.empty() && fraction.empty()) return "0";
  return absl::StrCat(negative ? "-" : "", lead.empty() ? "0" : lead, fraction.empty() ? "" : ".",
                      fraction);
}

}  // namespace cohort

#include "common/rewards/countdown.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/rewards/plain_text.h"

namespace cohort {
namespace {

constexpr size_t kMaxBytes = 2000;
constexpr int kMaxDepth = 50;

bool IsDigit(char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }

// "\frac{a}{b}" -> "((a)/(b))", from the innermost outwards.
std::string ExpandFractions(std::string text) {
  for (int i = 0; i < 20; ++i) {
    const size_t at = text.rfind("\\frac{");
    if (at == std::string::npos) break;
    const size_t top = at + 6, top_end = text.find('}', top);
    if (top_end == std::string::npos || text.substr(top_end + 1, 1) != "{") break;
    const size_t bottom = top_end + 2, bottom_end = text.find('}', bottom);
    if (bottom_end == std::string::npos) break;
    text = text.substr(0, at) + "((" + text.substr(top, top_end - top) + ")/(" +
           text.substr(bottom, bottom_end - bottom) + "))" + text.substr(bottom_end + 1);
  }
  return text;
}

std::string Plain(absl::string_view reply) {
  std::string text = absl::StrReplaceAll(
      PlainText(reply), {{"\\times", "*"}, {"\\cdot", "*"},       {"\\ast", "*"},
                         {"\\div", "/"},   {"\\dfrac", "\\frac"}, {"\\tfrac", "\\frac"},
                         {"\\left", ""},   {"\\right", ""},       {"\\,", ""},
                         {"\\;", ""},      {"\\!", ""},           {"\\ ", " "},
                         {"\\(", ""},      {"\\)", ""},           {"\\[", ""},
                         {"\\]", ""},      {"**", " "},           {"`", ""},
                         {"$", ""},        {"\u00d7", "*"},       {"\u00b7", "*"},
                         {"\u22c5", "*"},  {"\u2217", "*"},       {"\u00f7", "/"},
                         {"\u2215", "/"},  {" x ", "*"},          {"[", "("},
                         {"]", ")"}});
  text = absl::StrReplaceAll(ExpandFractions(std::move(text)), {{"{", "("}, {"}", ")"}});
  return text;
}

bool HasOperator(absl::string_view text) { return text.find_first_of("+-*/") != text.npos; }

// + - over * / over signs, brackets and numbers.
class Evaluator {
 public:
  explicit Evaluator(absl::string_view text) : text_(text) {}

  std::optional<CountdownResult> Run() {
    result_.value = Sum(0);
    SkipSpaces();
    if (!parsed_ || at_ != text_.size()) return std::nullopt;
    return std::move(result_);
  }

 private:
  using Value = std::optional<Rational>;

  void SkipSpaces() {
    while (at_ < text_.size() && absl::ascii_isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
  }
  bool Take(char sign) {
    SkipSpaces();
    if (at_ >= text_.size() || text_[at_] != sign) return false;
    ++at_;
    return true;
  }
  static Value Apply(std::optional<Rational> (*operation)(const Rational&, const Rational&),
                     const Value& a, const Value& b) {
    return a && b ? operation(*a, *b) : std::nullopt;
  }

  Value Sum(int depth) {
    Value value = Product(depth);
    while (parsed_) {
      if (Take('+')) {
        value = Apply(Add, value, Product(depth));
      } else if (Take('-')) {
        const Value right = Product(depth);
        value = Apply(Add, value, right ? Negate(*right) : std::nullopt);
      } else {
        return value;
      }
    }
    return value;
  }
  Value Product(int depth) {
    Value value = Factor(depth);
    while (parsed_) {
      if (Take('*')) {
        value = Apply(Multiply, value, Factor(depth));
      } else if (Take('/')) {
        value = Apply(Divide, value, Factor(depth));
      } else {
        return value;
      }
    }
    return value;
  }
  Value Factor(int depth) {
    if (depth > kMaxDepth) {
      parsed_ = false;
      return std::nullopt;
    }
    if (Take('+')) return Factor(depth + 1);
    if (Take('-')) {
      const Value value = Factor(depth + 1);
      return value ? Negate(*value) : std::nullopt;
    }
    if (Take('(')) {
      Value value = Sum(depth + 1);
      parsed_ = parsed_ && Take(')');
      return value;
    }
    return Number();
  }
  Value Number() {
    SkipSpaces();
    size_t end = at_;
    while (end < text_.size() && IsDigit(text_[end])) ++end;
    absl::string_view digits = text_.substr(at_, end - at_);
    parsed_ = parsed_ && end > at_;
    at_ = end;
    while (digits.size() > 1 && digits[0] == '0') digits.remove_prefix(1);
    result_.used.emplace_back(digits);
    int64_t value = 0;
    return absl::SimpleAtoi(digits, &value) ? Value(Rational::FromInteger(value)) : std::nullopt;
  }

  absl::string_view text_;
  size_t at_ = 0;
  bool parsed_ = true;
  CountdownResult result_;
};

}  // namespace

std::string CountdownExpression(absl::string_view reply) {
  if (reply.size() > kMaxBytes) return "";
  const std::string text = Plain(reply);
  const std::vector<absl::string_view> sides = absl::StrSplit(text, '=');
  const auto operation = std::find_if(sides.begin(), sides.end(), HasOperator);
  absl::string_view side = operation == sides.end() ? sides[0] : *operation;
  side = absl::StripAsciiWhitespace(side);
  while (!side.empty() && absl::StrContains(".*", side.back())) side.remove_suffix(1);
  while (!side.empty() && absl::StrContains("*", side.front())) side.remove_prefix(1);
  return std::string(absl::StripAsciiWhitespace(side));
}

std::vector<Rational> CountdownClaims(absl::string_view reply) {
  std::vector<Rational> claims;
  if (reply.size() > kMaxBytes) return claims;
  const std::string text = Plain(reply);
  for (absl::string_view side : absl::StrSplit(text, '=')) {
    side = absl::StripAsciiWhitespace(side);
    while (!side.empty() && absl::StrContains(".*", side.back())) side.remove_suffix(1);
    const auto result = EvaluateCountdown(side);
    if (result && result->value) claims.push_back(*result->value);
  }
  return claims;
}

std::optional<CountdownResult> EvaluateCountdown(absl::string_view expression) {
  if (expression.size() > kMaxBytes) return std::nullopt;
  return Evaluator(expression).Run();
}

}  // namespace cohort

// What a formula is built of: numerals, letters, commands and functions.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/rewards/formula_parser.h"
#include "common/rewards/functions.h"
#include "common/rewards/latex_commands.h"

namespace cohort {
namespace {

constexpr int kMaxPowerOfTen = 2000;

}  // namespace

Algebra::Result FormulaParser::Combinations() {
  ++at_;
  const Result above = Operand(true);
  if (!above || Done() || !Peek().Is(Kind::kLetter, "C")) return std::nullopt;
  ++at_;
  const Result below = TakeSign("_") ? Operand(true) : std::nullopt;
  return below ? Binomial(algebra_, *above, *below) : std::nullopt;
}

Algebra::Result FormulaParser::Numeral() {
  const absl::string_view text = absl::string_view(Peek().text).substr(skip_);
  skip_ = 0;
  ++at_;
  Result value = Decimal(text);
  if (!value || Done()) return value;
  if (absl::StrContains(text, ".") && Repeats()) return Repeating(text);
  return Mixed(*value, text);
}

Algebra::Result FormulaParser::Decimal(absl::string_view text) {
  const size_t mark = text.find('e');
  int power = 0;
  if (mark != absl::string_view::npos) {
    if (!absl::SimpleAtoi(text.substr(mark + 1), &power)) return std::nullopt;
    if (std::abs(power) > kMaxPowerOfTen) return std::nullopt;
    text = text.substr(0, mark);
  }
  const size_t point = std::min(text.find('.'), text.size());
  const absl::string_view decimals = text.substr(std::min(point + 1, text.size()));
  const Result value =
      algebra_->FromDecimal(absl::StrCat(text.substr(0, point), decimals), decimals.size());
  if (!value || power == 0) return value;
  const Result scale = algebra_->Power(Algebra::Integer(10), Algebra::Integer(power));
  return scale ? algebra_->Multiply(*value, *scale) : std::nullopt;
}

bool FormulaParser::Repeats() const {
  const Token& token = Peek();
  const bool bar = token.IsCommand("overline") || token.IsCommand("bar") || token.IsCommand("dot");
  if (bar) return true;
  return token.IsSign("(") && !token.space && at_ + 2 < tokens_.size() &&
         tokens_[at_ + 1].kind == Kind::kNumber && tokens_[at_ + 2].IsSign(")");
}

Algebra::Result FormulaParser::Repeating(absl::string_view before) {
  std::string digits;
  if (!Peek().IsSign("(")) ++at_;
  const bool group = TakeSign("{") || TakeSign("(");
  if (Done() || Peek().kind != Kind::kNumber) return std::nullopt;
  digits = Peek().text.substr(0, group ? std::string::npos : 1);
  if (!group && Peek().text.size() > 1) return std::nullopt;
  ++at_;
  if (group && !TakeSign("}") && !TakeSign(")")) return std::nullopt;
  if (!std::all_of(digits.begin(), digits.end(),
                   [](unsigned char c) { return absl::ascii_isdigit(c); })) {
    return std::nullopt;
  }
  // 0.1(27) = 0.1 + 0.027 / (1 - 10^-2) = (0.127 - 0.1 / 100) * 100 / 99
  const Result start = Decimal(before);
  const Result all = Decimal(absl::StrCat(before, digits));
  const Result scale =
      algebra_->Power(Algebra::Integer(10), Algebra::Integer(static_cast<int64_t>(digits.size())));
  const Result shifted = all && scale ? algebra_->Multiply(*all, *scale) : std::nullopt;
  const Result top = shifted && start ? algebra_->Subtract(*shifted, *start) : std::nullopt;
  const Result nines = scale ? algebra_->Subtract(*scale, Algebra::Integer(1)) : std::nullopt;
  return top && nines ? algebra_->Divide(*top, *nines) : std::nullopt;
}

Algebra::Result FormulaParser::Mixed(const Value& whole, absl::string_view text) {
  if (absl::StrContains(text, ".") || absl::StrContains(text, "e")) return whole;
  const size_t start = at_;
  const auto skip = skip_;
  Result part;
  if (IsDigitsOverDigits()) {
    part = Primary();
  } else if (at_ + 2 < tokens_.size() && Peek().kind == Kind::kNumber && Peek().space &&
             tokens_[at_ + 1].IsSign("/") && tokens_[at_ + 2].kind == Kind::kNumber) {
    const Result top = Decimal(Peek().text);
    const Result bottom = Decimal(tokens_[at_ + 2].text);
    part = top && bottom ? algebra_->Divide(*top, *bottom) : std::nullopt;
    at_ += 3;
  }
  if (part && Algebra::IsRational(*part) && !Algebra::IsZero(*part) &&
      algebra_->Approximate(*part) > 0) {
    return algebra_->Add(whole, *part);
  }
  at_ = start;
  skip_ = skip;
  return whole;
}

bool FormulaParser::IsDigitsOverDigits() const {
  if (!Peek().IsCommand("frac")) return false;
  size_t at = at_ + 1;
  for (int i = 0; i < 2 && at < tokens_.size(); ++i) {
    if (tokens_[at].kind == Kind::kNumber) return true;
    if (at + 2 >= tokens_.size() || !tokens_[at].IsSign("{") ||
        tokens_[at + 1].kind != Kind::kNumber || !tokens_[at + 2].IsSign("}")) {
      return false;
    }
    at += 3;
  }
  return true;
}

Algebra::Result FormulaParser::Letter() {
  std::string name = Peek().text;
  ++at_;
  if (name == "RR" || name == "ZZ" || name == "NN" || name == "QQ" || name == "CC") {
    return std::nullopt;
  }
  if (TakeSign("_")) {
    const auto index = Index();
    if (!index) return std::nullopt;
    absl::StrAppend(&name, "_", *index);
  }
  while (TakeSign("'")) name += '\'';
  if (name == "pi") return algebra_->Pi();
  if (name == "C" && !Done() && Peek().IsSign("(")) {  // C(9, 4)
    const size_t start = at_;
    const std::vector<Value> numbers = Arguments();
    if (numbers.size() == 2) return Binomial(algebra_, numbers[0], numbers[1]);
    at_ = start;
  }
  const bool function = absl::StrContains("fghFG", name[0]) && !Done() && Peek().IsSign("(");
  if (!function) return algebra_->Letter(name);
  std::vector<std::string> arguments;
  for (const Value& argument : Arguments()) arguments.push_back(algebra_->Print(argument));
  if (arguments.empty()) return std::nullopt;
  return algebra_->Opaque(name, absl::StrJoin(arguments, ";"), false,
                          std::numeric_limits<double>::quiet_NaN());
}

std::optional<std::string> FormulaParser::Index() {
  if (Done()) return std::nullopt;
  if (Peek().kind == Kind::kNumber && Peek().text.size() > 1) {  // b_12 is b_1 times 2
    skip_ = 1;
    return Peek().text.substr(0, 1);
  }
  const size_t end = Peek().IsSign("{") ? Closing(at_) : at_;
  if (end == tokens_.size()) return std::nullopt;
  const TokenSpan inside =
      end > at_ ? tokens_.subspan(at_ + 1, end - at_ - 1) : tokens_.subspan(at_, 1);
  at_ = end + 1;
  const std::string text = PrintTokens(inside);
  return inside.size() > 1 ? absl::StrCat("{", text, "}") : text;
}

std::vector<Value> FormulaParser::Arguments() {
  const size_t end = Closing(at_);
  if (Done() || !Peek().IsSign("(") || end == tokens_.size()) return {};
  ++at_;
  std::vector<Value> arguments;
  do {
    Result argument = Sum();
    if (!argument) return {};
    arguments.push_back(std::move(*argument));
  } while (TakeSign(","));
  return TakeSign(")") ? arguments : std::vector<Value>{};
}

Algebra::Result FormulaParser::Command() {
  const std::string& name = Peek().text;
  ++at_;
  if (name == "frac") {
    const Result top = Operand(false);
    const Result bottom = top ? Operand(false) : std::nullopt;
    return bottom ? algebra_->Divide(*top, *bottom) : std::nullopt;
  }
  if (name == "binom") {
    const Result top = Operand(false);
    const Result bottom = top ? Operand(false) : std::nullopt;
    return bottom ? Binomial(algebra_, *top, *bottom) : std::nullopt;
  }
  if (name == "sqrt") return SquareRoot();
  if (name == "surd" || name == "cuberoot") {
    const Result inside = Operand(true);
    return inside ? algebra_->Root(*inside, name == "surd" ? 2 : 3) : std::nullopt;
  }
  if (name == "lfloor" || name == "lceil") return Rounded(name == "lfloor");
  if (name == "infty") {
    return algebra_->Opaque("infty", "", true, std::numeric_limits<double>::infinity());
  }
  if (name == "overline" || name == "bar" || name == "hat") {
    const auto inside = Index();
    return inside ? algebra_->Opaque(name, *inside, false, std::numeric_limits<double>::quiet_NaN())
                  : std::nullopt;
  }
  return IsFunctionName(name) ? Function(name) : std::nullopt;
}

Algebra::Result FormulaParser::SquareRoot() {
  int64_t degree = 2;
  if (TakeSign("[")) {
    const Result root = Sum();
    const auto number = root && TakeSign("]") ? Algebra::AsInteger(*root) : std::nullopt;
    if (!number) return std::nullopt;
    degree = *number;
  }
  const Result inside = Operand(!Done() && Peek().IsSign("("));
  return inside ? algebra_->Root(*inside, degree) : std::nullopt;
}

Algebra::Result FormulaParser::Rounded(bool down) {
  const Result inside = Sum();
  if (!inside || !TakeCommand(down ? "rfloor" : "rceil")) return std::nullopt;
  if (down) return algebra_->Floor(*inside);
  const Result below = algebra_->Floor(Algebra::Negate(*inside));
  return below ? Result(Algebra::Negate(*below)) : std::nullopt;
}

Algebra::Result FormulaParser::Function(absl::string_view name) {
  if (name == "gcd" || name == "lcm" || name == "max" || name == "min") {
    return ApplyToIntegers(name, Arguments());
  }
  Result base;
  Result power;
  for (int i = 0; i < 2; ++i) {
    if (TakeSign("_")) base = Operand(true);
    if (TakeSign("^")) power = Operand(true);
  }
  const bool degrees = std::exchange(degrees_, false);
  const Result argument = Argument();
  const bool in_degrees = std::exchange(degrees_, degrees);
  if (!argument) return std::nullopt;
  const bool inverse = power && Algebra::AsInteger(*power) == -1;
  Result value;
  if (name == "log" || name == "lg") {
    value = LogarithmTo(base ? *base : Algebra::Integer(10), *argument);
  } else if (IsTrigonometric(name) && inverse) {
    return ApplyFunction(algebra_, absl::StrCat("arc", name), *argument);
  } else if (IsTrigonometric(name)) {
    value = Trigonometric(algebra_, name, *argument, in_degrees);
  } else {
    value = ApplyFunction(algebra_, name, *argument);
  }
  return value && power ? algebra_->Power(*value, *power) : value;
}

Algebra::Result FormulaParser::Argument() {
  if (Done()) return std::nullopt;
  if (Peek().IsSign("(") || Peek().IsSign("{")) return Primary();
  Result value = Factor();
  while (value && StartsFactor() && !IsFunctionName(Peek().text) && !Peek().IsSign("(")) {
    const Result next = Factor();
    value = next ? algebra_->Multiply(*value, *next) : std::nullopt;
  }
  return value;
}

Algebra::Result FormulaParser::LogarithmTo(const Value& base, const Value& argument) {
  const Result above = algebra_->Logarithm(argument);
  const Result below = algebra_->Logarithm(base);
  return above && below ? algebra_->Divide(*above, *below) : std::nullopt;
}

}  // namespace cohort

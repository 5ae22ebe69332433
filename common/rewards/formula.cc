#include "common/rewards/formula.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/rewards/functions.h"
#include "common/rewards/latex_commands.h"

namespace cohort {
namespace {

using Kind = Token::Kind;
using Result = Algebra::Result;

constexpr int kMaxDepth = 48;
constexpr int kMaxSteps = 1500;
constexpr int kMaxPowerOfTen = 2000;

// sum     := product (('+' | '-') product)*
// product := factor (('*' | '/' | nothing) factor)*
// factor  := ('+' | '-')* primary ('^' operand | '!' | '%')*
class Parser {
 public:
  Parser(Algebra* algebra, TokenSpan tokens, int depth)
      : algebra_(algebra), tokens_(tokens), depth_(depth) {}

  Result ParseAll() {
    Result value = Infix(tokens_.size());
    return at_ == tokens_.size() && skip_ == 0 ? std::move(value) : std::nullopt;
  }

 private:
  bool Done() const { return at_ >= tokens_.size(); }
  const Token& Peek() const {
    static const Token kEnd;
    return Done() ? kEnd : tokens_[at_];
  }
  bool TakeSign(absl::string_view sign) {
    if (Done() || !Peek().IsSign(sign)) return false;
    ++at_;
    return true;
  }
  bool TakeCommand(absl::string_view command) {
    if (Done() || !Peek().IsCommand(command)) return false;
    ++at_;
    return true;
  }

  // A sum up to `end`, or "a \over b" and "n \choose k" there.
  Result Infix(size_t end) {
    if (depth_ >= kMaxDepth) return std::nullopt;
    int depth = 0;
    for (size_t i = at_; i < end; ++i) {
      depth += BracketStep(tokens_[i]);
      const bool over = tokens_[i].IsCommand("over");
      if (depth != 0 || (!over && !tokens_[i].IsCommand("choose"))) continue;
      const Result above = Part(at_, i);
      const Result below = Part(i + 1, end);
      at_ = end;
      if (!above || !below) return std::nullopt;
      return over ? algebra_->Divide(*above, *below) : Binomial(algebra_, *above, *below);
    }
    return Sum();
  }

  Result Part(size_t begin, size_t end) {
    return Parser(algebra_, tokens_.subspan(begin, end - begin), depth_ + 1).ParseAll();
  }

  Result Sum() {
    if (++depth_ > kMaxDepth) return std::nullopt;
    Result value = Product();
    while (value) {
      const bool plus = TakeSign("+");
      if (!plus && !TakeSign("-")) break;
      const Result next = Product();
      value = !next  ? std::nullopt
              : plus ? algebra_->Add(*value, *next)
                     : algebra_->Subtract(*value, *next);
    }
    --depth_;
    return value;
  }

  bool StartsFactor() const {
    if (Done()) return false;
    const Token& token = Peek();
    switch (token.kind) {
      case Kind::kNumber:
        return skip_ > 0 || at_ == 0 || tokens_[at_ - 1].kind != Kind::kNumber;
      case Kind::kLetter:
        return true;
      case Kind::kWord:
        return false;
      case Kind::kSign:
        return token.text == "(" || token.text == "{" || token.text == "[" ||
               (token.text == "|" && bars_ == 0);
      case Kind::kCommand:
        return IsFunctionName(token.text) || token.text == "frac" || token.text == "surd" ||
               token.text == "binom" || token.text == "lfloor" || token.text == "lceil" ||
               token.text == "infty" || token.text == "cuberoot" || token.text == "overline" ||
               token.text == "bar" || token.text == "hat";
    }
    return false;
  }

  Result Product() {
    Result value = Factor();
    while (value) {
      if (TakeSign("/")) {
        const Result next = Factor();
        value = next ? algebra_->Divide(*value, *next) : std::nullopt;
      } else if (TakeSign("*") || StartsFactor()) {
        const Result next = Factor();
        value = next ? algebra_->Multiply(*value, *next) : std::nullopt;
      } else {
        return value;
      }
    }
    return value;
  }

  Result Factor() {
    if (++steps_ > kMaxSteps || Done()) return std::nullopt;
    if (at_ + 2 < tokens_.size() && Peek().IsSign("{") && tokens_[at_ + 1].IsSign("}") &&
        tokens_[at_ + 2].IsSign("_")) {
      at_ += 2;  // {}_9C_4
    }
    bool negative = false;
    while (Peek().IsSign("-") || Peek().IsSign("+")) negative ^= tokens_[at_++].IsSign("-");
    Result value = Powers(Primary());
    if (value && negative) value = Algebra::Negate(*value);
    return value;
  }

  Result Powers(Result value) {
    while (value && !Done()) {
      if (TakeSign("^") || TakeSign("**")) {
        if (TakeDegree()) continue;
        const Result exponent = Operand(true);
        value = exponent ? algebra_->Power(*value, *exponent) : std::nullopt;
      } else if (TakeSign("!")) {
        value = Factorial(algebra_, *value);
      } else if (TakeSign("%")) {
        value = algebra_->Divide(*value, Algebra::Integer(100));
      } else if (TakeCommand("circ")) {
        degrees_ = true;
      } else {
        break;
      }
    }
    return value;
  }

  bool TakeDegree() {
    const auto is_degree = [](const Token& token) {
      return token.IsCommand("circ") || token.Is(Kind::kLetter, "o");
    };
    if (!Done() && is_degree(Peek())) {
      ++at_;
      degrees_ = true;
      return true;
    }
    if (at_ + 2 < tokens_.size() && Peek().IsSign("{") && is_degree(tokens_[at_ + 1]) &&
        tokens_[at_ + 2].IsSign("}")) {
      at_ += 3;
      degrees_ = true;
      return true;
    }
    return false;
  }

  // What a command or `^` takes: a group, or one token; of a number one digit, or with `whole` all.
  Result Operand(bool whole) {
    if (Done() || ++steps_ > kMaxSteps) return std::nullopt;
    const Token& token = Peek();
    if (token.IsSign("{") || (whole && token.IsSign("("))) return Primary();
    if (whole && (token.IsSign("-") || token.IsSign("+"))) {
      ++at_;
      const Result value = Primary();
      return value && token.IsSign("-") ? Result(Algebra::Negate(*value)) : value;
    }
    if (token.kind != Kind::kNumber || whole) {
      const bool single = token.kind == Kind::kLetter || token.kind == Kind::kNumber ||
                          token.kind == Kind::kCommand;
      return single ? Primary() : std::nullopt;
    }
    const char digit = token.text[skip_];
    if (!absl::ascii_isdigit(static_cast<unsigned char>(digit))) return std::nullopt;
    if (++skip_ == token.text.size()) {
      skip_ = 0;
      ++at_;
    }
    return Algebra::Integer(digit - '0');
  }

  // Every nesting passes here: \sin\sin\sin x, \sqrt\sqrt 2, ((x)).
  Result Primary() {
    if (Done() || ++steps_ > kMaxSteps || depth_ >= kMaxDepth) return std::nullopt;
    ++depth_;
    Result value = PrimaryHere();
    --depth_;
    return value;
  }

  Result PrimaryHere() {
    const Token& token = Peek();
    switch (token.kind) {
      case Kind::kNumber:
        return Numeral();
      case Kind::kLetter:
        return Letter();
      case Kind::kWord:
        return std::nullopt;
      case Kind::kCommand:
        return Command();
      case Kind::kSign:
        break;
    }
    if (token.IsSign("_")) return Combinations();
    if (token.IsSign("|")) return Bars();
    if (token.IsSign("(") || token.IsSign("[")) return Bracket(token.IsSign("(") ? ")" : "]");
    return token.IsSign("{") ? Bracket("}") : std::nullopt;
  }

  // _9C_4
  Result Combinations() {
    ++at_;
    const Result above = Operand(true);
    if (!above || Done() || !Peek().Is(Kind::kLetter, "C")) return std::nullopt;
    ++at_;
    const Result below = TakeSign("_") ? Operand(true) : std::nullopt;
    return below ? Binomial(algebra_, *above, *below) : std::nullopt;
  }

  size_t Closing(size_t open) const {
    int depth = 0;
    for (size_t i = open; i < tokens_.size(); ++i) {
      depth += BracketStep(tokens_[i]);
      if (depth == 0) return i;
    }
    return tokens_.size();
  }

  Result Bracket(absl::string_view close) {
    const size_t end = Closing(at_);
    if (end == tokens_.size() || !tokens_[end].IsSign(close)) return std::nullopt;
    ++at_;
    const int bars = std::exchange(bars_, 0);
    Result value = Infix(end);
    bars_ = bars;
    return at_ == end && TakeSign(close) ? std::move(value) : std::nullopt;
  }

  Result Bars() {
    ++at_;
    ++bars_;
    const Result value = Sum();
    --bars_;
    return value && TakeSign("|") ? algebra_->Absolute(*value) : std::nullopt;
  }

  Result Numeral() {
    const absl::string_view text = absl::string_view(Peek().text).substr(skip_);
    skip_ = 0;
    ++at_;
    Result value = Decimal(text);
    if (!value || Done()) return value;
    if (absl::StrContains(text, ".") && Repeats()) return Repeating(text);
    return Mixed(*value, text);
  }

  Result Decimal(absl::string_view text) {
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

  // "\overline{27}" or "(27)" behind decimals.
  bool Repeats() const {
    const Token& token = Peek();
    const bool bar =
        token.IsCommand("overline") || token.IsCommand("bar") || token.IsCommand("dot");
    if (bar) return true;
    return token.IsSign("(") && !token.space && at_ + 2 < tokens_.size() &&
           tokens_[at_ + 1].kind == Kind::kNumber && tokens_[at_ + 2].IsSign(")");
  }

  Result Repeating(absl::string_view before) {
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
    const Result scale = algebra_->Power(Algebra::Integer(10),
                                         Algebra::Integer(static_cast<int64_t>(digits.size())));
    const Result shifted = all && scale ? algebra_->Multiply(*all, *scale) : std::nullopt;
    const Result top = shifted && start ? algebra_->Subtract(*shifted, *start) : std::nullopt;
    const Result nines = scale ? algebra_->Subtract(*scale, Algebra::Integer(1)) : std::nullopt;
    return top && nines ? algebra_->Divide(*top, *nines) : std::nullopt;
  }

  // "1\frac{1}{2}" and "1 1/2" are sums; otherwise nothing more is read.
  Result Mixed(const Value& whole, absl::string_view text) {
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

  // "\frac{1}{2}", "\frac12": nothing else makes a mixed number.
  bool IsDigitsOverDigits() const {
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

  // A letter with its index, primes and, of a function, its arguments.
  Result Letter() {
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

  std::optional<std::string> Index() {
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
    return PrintTokens(inside);
  }

  // "(a, b)"; empty when it is none.
  std::vector<Value> Arguments() {
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

  Result Command() {
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
      return inside
                 ? algebra_->Opaque(name, *inside, false, std::numeric_limits<double>::quiet_NaN())
                 : std::nullopt;
    }
    return IsFunctionName(name) ? Function(name) : std::nullopt;
  }

  Result SquareRoot() {
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

  Result Rounded(bool down) {
    const Result inside = Sum();
    if (!inside || !TakeCommand(down ? "rfloor" : "rceil")) return std::nullopt;
    if (down) return algebra_->Floor(*inside);
    const Result below = algebra_->Floor(Algebra::Negate(*inside));
    return below ? Result(Algebra::Negate(*below)) : std::nullopt;
  }

  Result Function(absl::string_view name) {
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

  // A bracket, or the factors that follow without a sign, up to the next function.
  Result Argument() {
    if (Done()) return std::nullopt;
    if (Peek().IsSign("(") || Peek().IsSign("{")) return Primary();
    Result value = Factor();
    while (value && StartsFactor() && !IsFunctionName(Peek().text) && !Peek().IsSign("(")) {
      const Result next = Factor();
      value = next ? algebra_->Multiply(*value, *next) : std::nullopt;
    }
    return value;
  }

  Result LogarithmTo(const Value& base, const Value& argument) {
    const Result above = algebra_->Logarithm(argument);
    const Result below = algebra_->Logarithm(base);
    return above && below ? algebra_->Divide(*above, *below) : std::nullopt;
  }

  Algebra* algebra_;
  TokenSpan tokens_;
  size_t at_ = 0;
  size_t skip_ = 0;  // digits of the number at `at_` that are used
  int depth_;
  int steps_ = 0;
  int bars_ = 0;
  bool degrees_ = false;
};

}  // namespace

Result ParseFormula(Algebra* algebra, TokenSpan tokens) {
  return tokens.empty() ? std::nullopt : Parser(algebra, tokens, 0).ParseAll();
}

}  // namespace cohort

#include "common/rewards/formula.h"

#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "common/rewards/formula_parser.h"
#include "common/rewards/functions.h"
#include "common/rewards/latex_commands.h"

namespace cohort {
namespace {

constexpr int kMaxDepth = 48;
constexpr int kMaxSteps = 1500;

}  // namespace

Algebra::Result FormulaParser::ParseAll() {
  Result value = Infix(tokens_.size());
  return at_ == tokens_.size() && skip_ == 0 ? std::move(value) : std::nullopt;
}

const Token& FormulaParser::Peek() const {
  static const Token kEnd;
  return Done() ? kEnd : tokens_[at_];
}

bool FormulaParser::TakeSign(absl::string_view sign) {
  if (Done() || !Peek().IsSign(sign)) return false;
  ++at_;
  return true;
}

bool FormulaParser::TakeCommand(absl::string_view command) {
  if (Done() || !Peek().IsCommand(command)) return false;
  ++at_;
  return true;
}

Algebra::Result FormulaParser::Infix(size_t end) {
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

Algebra::Result FormulaParser::Part(size_t begin, size_t end) {
  return FormulaParser(algebra_, tokens_.subspan(begin, end - begin), depth_ + 1).ParseAll();
}

Algebra::Result FormulaParser::Sum() {
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

bool FormulaParser::StartsFactor() const {
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

Algebra::Result FormulaParser::Product() {
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

Algebra::Result FormulaParser::Factor() {
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

Algebra::Result FormulaParser::Powers(Result value) {
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

bool FormulaParser::TakeDegree() {
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

Algebra::Result FormulaParser::Operand(bool whole) {
  if (Done() || ++steps_ > kMaxSteps) return std::nullopt;
  const Token& token = Peek();
  if (token.IsSign("{") || (whole && token.IsSign("("))) return Primary();
  if (whole && (token.IsSign("-") || token.IsSign("+"))) {
    ++at_;
    const Result value = Primary();
    return value && token.IsSign("-") ? Result(Algebra::Negate(*value)) : value;
  }
  if (token.kind != Kind::kNumber || whole) {
    const bool single =
        token.kind == Kind::kLetter || token.kind == Kind::kNumber || token.kind == Kind::kCommand;
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

Algebra::Result FormulaParser::Primary() {
  if (Done() || ++steps_ > kMaxSteps || depth_ >= kMaxDepth) return std::nullopt;
  ++depth_;
  Result value = PrimaryHere();
  --depth_;
  return value;
}

Algebra::Result FormulaParser::PrimaryHere() {
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

size_t FormulaParser::Closing(size_t open) const {
  int depth = 0;
  for (size_t i = open; i < tokens_.size(); ++i) {
    depth += BracketStep(tokens_[i]);
    if (depth == 0) return i;
  }
  return tokens_.size();
}

Algebra::Result FormulaParser::Bracket(absl::string_view close) {
  const size_t end = Closing(at_);
  if (end == tokens_.size() || !tokens_[end].IsSign(close)) return std::nullopt;
  ++at_;
  const int bars = std::exchange(bars_, 0);
  Result value = Infix(end);
  bars_ = bars;
  return at_ == end && TakeSign(close) ? std::move(value) : std::nullopt;
}

Algebra::Result FormulaParser::Bars() {
  ++at_;
  ++bars_;
  const Result value = Sum();
  --bars_;
  return value && TakeSign("|") ? algebra_->Absolute(*value) : std::nullopt;
}

Algebra::Result ParseFormula(Algebra* algebra, TokenSpan tokens) {
  return tokens.empty() ? std::nullopt : FormulaParser(algebra, tokens, 0).ParseAll();
}

}  // namespace cohort

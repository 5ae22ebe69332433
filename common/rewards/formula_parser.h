// The grammar of ParseFormula, by recursive descent with bounded depth and steps.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/rewards/algebra.h"
#include "common/rewards/formula.h"

namespace cohort {

// sum     := product (('+' | '-') product)*
// product := factor (('*' | '/' | nothing) factor)*
// factor  := ('+' | '-')* primary ('^' operand | '!' | '%')*
class FormulaParser {
 public:
  using Kind = Token::Kind;
  using Result = Algebra::Result;

  FormulaParser(Algebra* algebra, TokenSpan tokens, int depth)
      : algebra_(algebra), tokens_(tokens), depth_(depth) {}
  Result ParseAll();

 private:
  bool Done() const { return at_ >= tokens_.size(); }
  const Token& Peek() const;
  bool TakeSign(absl::string_view sign);
  bool TakeCommand(absl::string_view command);

  // A sum up to `end`, or "a \over b" and "n \choose k" there.
  Result Infix(size_t end);
  Result Part(size_t begin, size_t end);
  Result Sum();
  bool StartsFactor() const;
  Result Product();
  Result Factor();
  Result Powers(Result value);
  bool TakeDegree();

  // What a command or `^` takes: a group, or one token; of a number one digit, or with `whole` all.
  Result Operand(bool whole);

  // Every nesting passes here: \sin\sin\sin x, \sqrt\sqrt 2, ((x)).
  Result Primary();
  Result PrimaryHere();
  // _9C_4
  Result Combinations();
  size_t Closing(size_t open) const;
  Result Bracket(absl::string_view close);
  Result Bars();

  Result Numeral();
  Result Decimal(absl::string_view text);
  // "\overline{27}" or "(27)" behind decimals.
  bool Repeats() const;
  Result Repeating(absl::string_view before);
  // "1\frac{1}{2}" and "1 1/2" are sums; otherwise nothing more is read.
  Result Mixed(const Value& whole, absl::string_view text);
  // "\frac{1}{2}", "\frac12": nothing else makes a mixed number.
  bool IsDigitsOverDigits() const;

  // A letter with its index, primes and, of a function, its arguments.
  Result Letter();
  std::optional<std::string> Index();
  // "(a, b)"; empty when it is none.
  std::vector<Value> Arguments();

  Result Command();
  Result SquareRoot();
  Result Rounded(bool down);
  Result Function(absl::string_view name);
  // A bracket, or the factors that follow without a sign, up to the next function.
  Result Argument();
  Result LogarithmTo(const Value& base, const Value& argument);

  Algebra* algebra_;
  TokenSpan tokens_;
  size_t at_ = 0;
  size_t skip_ = 0;  // digits of the number at `at_` that are used
  int depth_;
  int steps_ = 0;
  int bars_ = 0;
  bool degrees_ = false;
};

}  // namespace cohort

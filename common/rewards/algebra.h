// Exact values of formulas: rational functions, over the integers, of letters, of constants (pi, e,
// logarithms), of roots and of function values that have no simpler form (FLINT's fmpz_mpoly).
// Roots and the imaginary unit are reduced by their own equation and kept out of denominators, so
// that equal values print the same. Nothing is ever rounded. An operation whose result would be too
// large is not begun: it gives nullopt, as division by zero does.
#pragma once

#include <flint/fmpz_mpoly.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace cohort {

// One polynomial of FLINT's, in the one context of this process.
class Polynomial {
 public:
  Polynomial();
  explicit Polynomial(int64_t value);
  Polynomial(const Polynomial& other);
  Polynomial(Polynomial&& other) noexcept;
  Polynomial& operator=(Polynomial other) noexcept;
  ~Polynomial();

  fmpz_mpoly_struct* get() { return &poly_; }
  const fmpz_mpoly_struct* get() const { return &poly_; }

  static const fmpz_mpoly_ctx_struct* Context();

 private:
  fmpz_mpoly_struct poly_;
};

// In lowest terms; no root stands in the denominator.
struct Value {
  Polynomial top;
  Polynomial bottom{1};
};

// What all formulas of one answer may cost together.
struct AlgebraBudget {
  int64_t work = 200'000;  // products of terms
  int factored = 8;        // large integers
};

// The generators of one formula, and arithmetic with them. One thread; cheap to make. Values belong
// to the algebra that made them.
class Algebra {
 public:
  using Result = std::optional<Value>;

  explicit Algebra(AlgebraBudget* budget);

  static Value Integer(int64_t value) { return Value{Polynomial(value)}; }
  Result FromDecimal(absl::string_view digits, size_t decimals);  // digits / 10^decimals
  Result Letter(absl::string_view name);  // "i" is the imaginary unit, "e" Euler's number
  Result Pi();
  // A function of values that are printed in `arguments`: equal only to itself.
  Result Opaque(absl::string_view name, absl::string_view arguments, bool constant, double approx);

  Result Add(const Value& a, const Value& b);
  Result Subtract(const Value& a, const Value& b);
  Result Multiply(const Value& a, const Value& b);
  Result Divide(const Value& a, const Value& b);
  Result Power(const Value& base, const Value& exponent);
  Result Root(const Value& a, int64_t degree);  // the real one where there is one
  Result Logarithm(const Value& a);             // natural
  Result Absolute(const Value& a);
  static Value Negate(const Value& a);

  static bool IsZero(const Value& a);
  static std::optional<int64_t> AsInteger(const Value& a);
  static bool IsRational(const Value& a);
  bool IsConstant(const Value& a) const;  // without letters
  // Of real constants.
  std::optional<double> Approximate(const Value& a) const;
  // Largest integer not above a rational, or an irrational constant far enough from any.
  Result Floor(const Value& a);

  // Equal values print the same.
  std::string Print(const Value& a) const;
  // Equal for a and b where a = 0 and b = 0 have the same solutions by a constant factor; with
  // `keep_sign` only by a positive one (inequalities). "" where that cannot be said.
  std::string PrintUpToFactor(const Value& a, bool keep_sign);
  // a = p x + q with constant p, q for a single letter x: p and q.
  struct Line {
    Value slope;
    Value offset;
    std::string letter;
  };
  std::optional<Line> AsLine(const Value& a) const;

 private:
  struct Generator {
    std::string key;
    bool constant = false;
    double approx = 0;  // of constants; NaN where it is not real or not known
    int64_t prime = 0;  // this is prime^(1 / of), or 0
    int64_t of = 0;
    int degree = 0;  // generator^degree = radicand, or 0
    Polynomial radicand;
    Polynomial relation;  // generator^degree - radicand
  };
  struct Term;

  std::optional<int> Find(absl::string_view key) const;
  std::optional<int> Add(Generator generator);
  Result Variable(int generator) const;
  bool Spend(int64_t work);
  bool CanMultiply(const Polynomial& a, const Polynomial& b);
  std::optional<Polynomial> Times(const Polynomial& a, const Polynomial& b);
  bool Reduce(Polynomial* poly);
  Result Normal(Polynomial top, Polynomial bottom);
  static Result OverNumber(Polynomial top, const Polynomial& bottom);
  bool Rationalise(Polynomial* top, Polynomial* bottom);
  std::optional<Polynomial> Cofactor(const Polynomial& poly, size_t generator);
  std::vector<Term> Terms(const Polynomial& poly) const;
  std::optional<double> Approximate(const Polynomial& poly) const;

  Result IntegerPower(const Value& base, int64_t exponent);
  Result PrimePower(int64_t prime, int64_t numerator, int64_t denominator);
  Result SymbolicPower(const Value& base, const Value& exponent);
  Result RootOfTerm(const Value& a, int64_t degree);
  Result RootOfSum(const Value& a, int64_t degree);
  Result Denest(const Value& a);
  std::optional<std::map<int64_t, int64_t>> Factor(const fmpz_t n);

  std::vector<Generator> generators_;
  AlgebraBudget* budget_;
};

}  // namespace cohort

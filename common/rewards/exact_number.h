// Exact numbers of the form sum of q * sqrt(n) * pi^k: the values that algorithms.md 11.3 compares
// natively. Every operation that leaves the form or 128-bit arithmetic gives nullopt; nothing is
// ever rounded.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace cohort {

using Int128 = __int128;

// numerator / denominator in lowest terms, denominator > 0.
class Rational {
 public:
  Rational() = default;
  static std::optional<Rational> Make(Int128 numerator, Int128 denominator);
  static Rational FromInteger(int64_t value);

  Int128 numerator() const { return numerator_; }
  Int128 denominator() const { return denominator_; }
  bool IsZero() const { return numerator_ == 0; }
  bool IsInteger() const { return denominator_ == 1; }
  std::string ToString() const;  // "-7" or "3/2"
  friend bool operator==(const Rational&, const Rational&) = default;

 private:
  Int128 numerator_ = 0;
  Int128 denominator_ = 1;
};

std::optional<Rational> Add(const Rational& a, const Rational& b);
std::optional<Rational> Multiply(const Rational& a, const Rational& b);
std::optional<Rational> Divide(const Rational& a, const Rational& b);  // nullopt for b == 0
std::optional<Rational> Negate(const Rational& a);

// A sum of terms; no term is zero and every radicand is square-free, so equal numbers are equal
// maps.
class ExactNumber {
 public:
  struct Surd {
    int64_t radicand = 1;  // square-free, positive
    int pi_power = 0;
    friend auto operator<=>(const Surd&, const Surd&) = default;
  };

  ExactNumber() = default;
  explicit ExactNumber(const Rational& value);
  static ExactNumber Pi();

  std::optional<Rational> AsRational() const;  // nullopt when it has an irrational term
  std::string ToString() const;                // canonical: equal numbers print the same
  friend bool operator==(const ExactNumber&, const ExactNumber&) = default;

  friend std::optional<ExactNumber> Add(const ExactNumber& a, const ExactNumber& b);
  friend std::optional<ExactNumber> Multiply(const ExactNumber& a, const ExactNumber& b);
  // `b` must be one term.
  friend std::optional<ExactNumber> Divide(const ExactNumber& a, const ExactNumber& b);
  friend std::optional<ExactNumber> Power(const ExactNumber& a, int exponent);
  // Of a rational; also of pi^2k times one.
  friend std::optional<ExactNumber> SquareRoot(const ExactNumber& a);

 private:
  static std::optional<ExactNumber> FromTerm(const Rational& factor, const Surd& surd);
  bool Accumulate(const Rational& factor, const Surd& surd);

  std::map<Surd, Rational> terms_;
};

std::optional<ExactNumber> Add(const ExactNumber& a, const ExactNumber& b);
std::optional<ExactNumber> Multiply(const ExactNumber& a, const ExactNumber& b);
std::optional<ExactNumber> Divide(const ExactNumber& a, const ExactNumber& b);
std::optional<ExactNumber> Power(const ExactNumber& a, int exponent);
std::optional<ExactNumber> SquareRoot(const ExactNumber& a);

// A LaTeX or plain expression: integers, decimals, thousands separators, mixed numbers
// (1\frac{1}{2}, "1 1/2"), \frac, \sqrt, \pi, + - * / ^ \cdot \times, parentheses, products without
// a sign, %. nullopt: not of this form. Time is bounded for any input.
std::optional<ExactNumber> ParseExactNumber(absl::string_view text);

// A decimal integer or fraction of any length without useless zeros and separators: "007.50" gives
// "7.5". nullopt: not such a number.
std::optional<std::string> CanonicalDecimal(absl::string_view text);

}  // namespace cohort

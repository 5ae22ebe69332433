#include "common/rewards/exact_number.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"

namespace cohort {
namespace {

constexpr size_t kMaxTerms = 32;
constexpr int kMaxPower = 64;
constexpr int64_t kMaxRadicand = 1'000'000'000;  // trial division takes 1,000 steps

std::optional<Int128> CheckedMultiply(Int128 a, Int128 b) {
  Int128 out;
  if (__builtin_mul_overflow(a, b, &out)) return std::nullopt;
  return out;
}

std::optional<Int128> CheckedAdd(Int128 a, Int128 b) {
  Int128 out;
  if (__builtin_add_overflow(a, b, &out)) return std::nullopt;
  return out;
}

constexpr Int128 kMinInt128 = Int128{1} << 127;

Int128 Gcd(Int128 a, Int128 b) {
  if (a < 0) a = -a;
  if (b < 0) b = -b;
  while (b != 0) a = std::exchange(b, a % b);
  return a;
}

std::string Print(Int128 value) {
  if (value == 0) return "0";
  std::string digits;
  const bool negative = value < 0;
  while (value != 0) {
    const int digit = static_cast<int>(value % 10);
    digits += static_cast<char>('0' + std::abs(digit));
    value /= 10;
  }
  if (negative) digits += '-';
  std::reverse(digits.begin(), digits.end());
  return digits;
}

// n = square^2 * free with `free` square-free.
struct SquareParts {
  Int128 square = 1;
  int64_t free = 1;
};

Int128 FloorRoot(Int128 n) {
  Int128 low = 0;
  Int128 high = Int128{1} << 63;
  while (low + 1 < high) {
    const Int128 middle = low + (high - low) / 2;
    (middle <= n / middle ? low : high) = middle;
  }
  return low;
}

std::optional<SquareParts> SplitSquare(Int128 n) {
  SquareParts parts;
  if (const Int128 root = n == 1 ? 1 : FloorRoot(n); root * root == n) {
    parts.square = root;
    return parts;
  }
  if (n > kMaxRadicand) return std::nullopt;
  // Once no prime up to its cube root divides it, the rest is 1, a prime, a product of two, or a
  // square of one.
  auto rest = static_cast<uint32_t>(n);
  for (uint32_t p = 2; uint64_t{p} * p * p <= rest; ++p) {
    int count = 0;
    for (; rest % p == 0; ++count) rest /= p;
    for (int i = 0; i < count / 2; ++i) parts.square *= p;
    if (count % 2 == 1) parts.free *= p;
  }
  if (const Int128 root = rest == 1 ? 1 : FloorRoot(rest); root * root == rest) {
    parts.square *= root;
  } else {
    parts.free *= rest;
  }
  return parts;
}

}  // namespace

std::optional<Rational> Rational::Make(Int128 numerator, Int128 denominator) {
  // The smallest value has no negative; leave it out everywhere.
  if (denominator == 0 || numerator == kMinInt128 || denominator == kMinInt128) return std::nullopt;
  const Int128 divisor = Gcd(numerator, denominator) * (denominator < 0 ? -1 : 1);
  Rational out;
  out.numerator_ = numerator / divisor;
  out.denominator_ = denominator / divisor;
  return out;
}

Rational Rational::FromInteger(int64_t value) {
  Rational out;
  out.numerator_ = value;
  return out;
}

std::string Rational::ToString() const {
  return IsInteger() ? Print(numerator_)
                     : absl::StrCat(Print(numerator_), "/", Print(denominator_));
}

std::optional<Rational> Add(const Rational& a, const Rational& b) {
  const auto left = CheckedMultiply(a.numerator(), b.denominator());
  const auto right = CheckedMultiply(b.numerator(), a.denominator());
  const auto bottom = CheckedMultiply(a.denominator(), b.denominator());
  if (!left || !right || !bottom) return std::nullopt;
  const auto top = CheckedAdd(*left, *right);
  return top ? Rational::Make(*top, *bottom) : std::nullopt;
}

std::optional<Rational> Multiply(const Rational& a, const Rational& b) {
  const auto top = CheckedMultiply(a.numerator(), b.numerator());
  const auto bottom = CheckedMultiply(a.denominator(), b.denominator());
  return top && bottom ? Rational::Make(*top, *bottom) : std::nullopt;
}

std::optional<Rational> Divide(const Rational& a, const Rational& b) {
  const auto inverse = Rational::Make(b.denominator(), b.numerator());
  return inverse ? Multiply(a, *inverse) : std::nullopt;
}

std::optional<Rational> Negate(const Rational& a) {
  return Rational::Make(-a.numerator(), a.denominator());
}

ExactNumber::ExactNumber(const Rational& value) {
  if (!value.IsZero()) terms_[Surd{}] = value;
}

ExactNumber ExactNumber::Pi() {
  ExactNumber out;
  out.terms_[Surd{1, 1}] = Rational::FromInteger(1);
  return out;
}

std::optional<Rational> ExactNumber::AsRational() const {
  if (terms_.empty()) return Rational();
  const auto& [surd, factor] = *terms_.begin();
  if (terms_.size() > 1 || surd != Surd{}) return std::nullopt;
  return factor;
}

std::string ExactNumber::ToString() const {
  if (terms_.empty()) return "0";
  std::string out;
  for (const auto& [surd, factor] : terms_) {
    absl::StrAppend(&out, out.empty() ? "" : "+", factor.ToString());
    if (surd.radicand != 1) absl::StrAppend(&out, "*sqrt(", surd.radicand, ")");
    if (surd.pi_power != 0) absl::StrAppend(&out, "*pi^", surd.pi_power);
  }
  return out;
}

bool ExactNumber::Accumulate(const Rational& factor, const Surd& surd) {
  const auto sum = Add(terms_[surd], factor);
  if (!sum) return false;
  if (sum->IsZero()) {
    terms_.erase(surd);
  } else {
    terms_[surd] = *sum;
  }
  return terms_.size() <= kMaxTerms;
}

std::optional<ExactNumber> ExactNumber::FromTerm(const Rational& factor, const Surd& surd) {
  ExactNumber out;
  if (std::abs(surd.pi_power) > kMaxPower || !out.Accumulate(factor, surd)) return std::nullopt;
  return out;
}

std::optional<ExactNumber> Add(const ExactNumber& a, const ExactNumber& b) {
  ExactNumber out = a;
  for (const auto& [surd, factor] : b.terms_) {
    if (!out.Accumulate(factor, surd)) return std::nullopt;
  }
  return out;
}

std::optional<ExactNumber> Multiply(const ExactNumber& a, const ExactNumber& b) {
  ExactNumber out;
  for (const auto& [left, p] : a.terms_) {
    for (const auto& [right, q] : b.terms_) {
      // sqrt(x) * sqrt(y) = g * sqrt(x / g * y / g) for g = gcd(x, y): both are square-free.
      const auto g = static_cast<int64_t>(Gcd(left.radicand, right.radicand));
      const Int128 radicand = Int128{left.radicand / g} * (right.radicand / g);
      const int pi_power = left.pi_power + right.pi_power;
      if (radicand > kMaxRadicand || std::abs(pi_power) > kMaxPower) return std::nullopt;
      auto factor = Multiply(p, q);
      if (factor) factor = Multiply(*factor, Rational::FromInteger(g));
      const ExactNumber::Surd surd{static_cast<int64_t>(radicand), pi_power};
      if (!factor || !out.Accumulate(*factor, surd)) return std::nullopt;
    }
  }
  return out;
}

std::optional<ExactNumber> Divide(const ExactNumber& a, const ExactNumber& b) {
  if (b.terms_.size() != 1) return std::nullopt;
  const auto& [surd, factor] = *b.terms_.begin();
  // 1 / (q sqrt(n) pi^k) = sqrt(n) pi^-k / (q n).
  auto inverse = Multiply(factor, Rational::FromInteger(surd.radicand));
  if (inverse) inverse = Divide(Rational::FromInteger(1), *inverse);
  if (!inverse) return std::nullopt;
  const auto term = ExactNumber::FromTerm(*inverse, {surd.radicand, -surd.pi_power});
  return term ? Multiply(a, *term) : std::nullopt;
}

std::optional<ExactNumber> Power(const ExactNumber& a, int exponent) {
  if (std::abs(exponent) > kMaxPower * 2) return std::nullopt;
  std::optional<ExactNumber> out = ExactNumber(Rational::FromInteger(1));
  std::optional<ExactNumber> square = a;
  for (int rest = std::abs(exponent); rest > 0 && out; rest /= 2) {
    if (rest % 2 == 1) out = square ? Multiply(*out, *square) : std::nullopt;
    if (rest > 1 && square) square = Multiply(*square, *square);
  }
  if (!out || exponent >= 0) return out;
  return Divide(ExactNumber(Rational::FromInteger(1)), *out);
}

std::optional<ExactNumber> SquareRoot(const ExactNumber& a) {
  if (a.terms_.empty()) return a;
  const auto& [surd, factor] = *a.terms_.begin();
  const bool native = a.terms_.size() == 1 && surd.radicand == 1 && surd.pi_power % 2 == 0;
  if (!native || factor.numerator() < 0) return std::nullopt;
  // sqrt(p / q) = sqrt(p q) / q.
  const auto product = CheckedMultiply(factor.numerator(), factor.denominator());
  const auto parts = product ? SplitSquare(*product) : std::nullopt;
  const auto outside = parts ? Rational::Make(parts->square, factor.denominator()) : std::nullopt;
  if (!outside) return std::nullopt;
  return ExactNumber::FromTerm(*outside, {parts->free, surd.pi_power / 2});
}

}  // namespace cohort

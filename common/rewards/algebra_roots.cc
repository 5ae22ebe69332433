// Powers and roots of exact values.
#include <flint/fmpq.h>
#include <flint/ulong_extras.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/rewards/algebra_terms.h"

namespace cohort {
namespace {

using Result = Algebra::Result;

constexpr int64_t kMaxExponent = 4096;
constexpr int64_t kMaxDegree = 64;  // of a root
constexpr int64_t kMaxSymbolicPower = 64;
constexpr slong kMaxRadicandTerms = 32;

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

bool IsOne(const Value& a) { return Algebra::AsInteger(a) == 1; }

Value Top(const Value& a) { return Value{a.top}; }
Value Bottom(const Value& a) { return Value{a.bottom}; }

bool HasOneTerm(const Value& a) {
  return fmpz_mpoly_length(a.top.get(), Polynomial::Context()) == 1;
}

int64_t SmallestPrimeFactor(int64_t n) {
  for (int64_t p = 2; p * p <= n; ++p) {
    if (n % p == 0) return p;
  }
  return n;
}

// The inverse of a modulo m, coprime and small.
int64_t Inverse(int64_t a, int64_t m) {
  for (int64_t x = 1; x < m; ++x) {
    if (a % m * x % m == 1) return x;
  }
  return 1 % m;
}

}  // namespace

std::optional<std::map<int64_t, int64_t>> Algebra::Factor(const fmpz_t n) {
  std::map<int64_t, int64_t> primes;
  fmpz_t rest;
  fmpz_init(rest);
  fmpz_abs(rest, n);
  // Small primes of any integer; what is left must be small.
  for (ulong p = 2; p < 100 && !fmpz_is_one(rest); ++p) {
    while (fmpz_divisible_si(rest, static_cast<slong>(p))) {
      fmpz_divexact_ui(rest, rest, p);
      ++primes[static_cast<int64_t>(p)];
    }
  }
  const bool small = fmpz_bits(rest) <= 62;
  if (small && !fmpz_is_one(rest) && --budget_->factored >= 0) {
    n_factor_t factors;
    n_factor_init(&factors);
    n_factor(&factors, fmpz_get_ui(rest), 1);
    for (int i = 0; i < factors.num; ++i) {
      primes[static_cast<int64_t>(factors.p[i])] += static_cast<int64_t>(factors.exp[i]);
    }
  }
  fmpz_clear(rest);
  if (!small || budget_->factored < 0) return std::nullopt;
  return primes;
}

Result Algebra::IntegerPower(const Value& base, int64_t exponent) {
  if (exponent == std::numeric_limits<int64_t>::min()) return std::nullopt;
  if (IsOne(base)) return base;
  if (AsInteger(base) == -1) return Integer(exponent % 2 == 0 ? 1 : -1);
  if (IsZero(base)) return exponent > 0 ? Result(base) : std::nullopt;
  if (std::abs(exponent) > kMaxExponent) return std::nullopt;
  Result out = Integer(1);
  Result square = base;
  for (int64_t rest = std::abs(exponent); rest > 0 && out; rest /= 2) {
    if (rest % 2 == 1) out = square ? Multiply(*out, *square) : std::nullopt;
    if (rest > 1 && square) square = Multiply(*square, *square);
  }
  if (!out || exponent >= 0) return out;
  return Divide(Integer(1), *out);
}

// prime^(numerator / denominator) as a product of the roots of order 2, 4, 8, ..., 3, 9, ...: each
// is the root of the one before, so that every power has one form.
Result Algebra::PrimePower(int64_t prime, int64_t numerator, int64_t denominator) {
  const int64_t common = std::gcd(numerator, denominator);
  numerator /= common;
  denominator /= common;
  if (denominator > kMaxDegree || std::abs(numerator) > kMaxExponent) return std::nullopt;
  int64_t whole = 0;
  Result out = Integer(1);
  const int64_t all = denominator;
  while (denominator > 1 && out) {
    const int64_t p = SmallestPrimeFactor(denominator);
    int64_t order = 1;
    for (; denominator % p == 0; denominator /= p) order *= p;
    // The part with this order of numerator / all.
    int64_t part = (numerator % order + order) % order * Inverse(all / order, order) % order;
    numerator -= part * (all / order);
    int64_t of = 1;
    std::optional<int> previous;
    for (int64_t unit = order / p; of < order && out; unit /= p) {
      of *= p;
      Generator generator;
      generator.key = absl::StrCat(prime, "^(1/", of, ")");
      generator.constant = true;
      generator.prime = prime;
      generator.of = of;
      generator.approx = std::pow(static_cast<double>(prime), 1.0 / static_cast<double>(of));
      generator.degree = static_cast<int>(p);
      generator.radicand = previous ? Variable(*previous)->top : Polynomial(prime);
      auto index = Find(generator.key);
      if (!index) index = Add(std::move(generator));
      if (!index) return std::nullopt;
      for (int64_t digit = part / unit; digit > 0 && out; --digit) {
        out = Multiply(*out, *Variable(*index));
      }
      part %= unit;
      previous = index;
    }
  }
  whole = numerator / all;
  const Result outside = IntegerPower(Integer(prime), whole);
  return out && outside ? Multiply(*out, *outside) : std::nullopt;
}

// Of a rational number times roots of primes and other generators.
Result Algebra::RootOfTerm(const Value& a, int64_t degree) {
  const Term term = Terms(a.top).front();
  if (fmpz_sgn(term.coefficient) < 0 && degree % 2 == 0) {
    if (degree != 2) return std::nullopt;
    const Result root = RootOfTerm(Negate(a), 2);
    const Result i = Letter("i");
    return root && i ? Multiply(*root, *i) : std::nullopt;
  }
  if (term.powers.empty()) {
    // The root of a perfect power needs no primes: it may be large.
    Value exact;
    fmpz_t root;
    fmpz_t power;
    fmpz_init(root);
    fmpz_init(power);
    fmpz_root(root, term.coefficient, degree);
    fmpz_pow_ui(power, root, static_cast<ulong>(degree));
    const bool found = fmpz_equal(power, term.coefficient) != 0;
    fmpz_mpoly_set_fmpz(exact.top.get(), root, Polynomial::Context());
    fmpz_clear(root);
    fmpz_clear(power);
    if (found) return exact;
  }
  const auto primes = Factor(term.coefficient);
  if (!primes) return std::nullopt;
  std::map<int64_t, std::pair<int64_t, int64_t>> exponents;  // of a prime: numerator, denominator
  for (const auto& [prime, exponent] : *primes) exponents[prime] = {exponent, 1};
  Result out = Integer(fmpz_sgn(term.coefficient));
  for (const auto& [index, exponent] : term.powers) {
    if (!out) return std::nullopt;
    const auto power = static_cast<int64_t>(exponent);
    if (const Generator& generator = generators_[index]; generator.prime != 0) {
      auto& [top, bottom] = exponents[generator.prime];
      if (bottom == 0) bottom = 1;
      top = top * generator.of + power * bottom;
      bottom *= generator.of;
      if (bottom > kMaxExponent) return std::nullopt;
      continue;
    }
    if (power % degree != 0 && generators_[index].key == "i") return std::nullopt;
    const Result outside = IntegerPower(*Variable(static_cast<int>(index)), power / degree);
    out = outside ? Multiply(*out, *outside) : std::nullopt;
    if (power % degree == 0 || !out) continue;
    Generator root;
    root.key = absl::StrCat("root", degree, "(", generators_[index].key, ")");
    root.constant = generators_[index].constant;
    root.approx = std::pow(generators_[index].approx, 1.0 / static_cast<double>(degree));
    root.degree = static_cast<int>(degree);
    root.radicand = Variable(static_cast<int>(index))->top;
    auto found = Find(root.key);
    if (!found) found = Add(std::move(root));
    const Result inside = found ? IntegerPower(*Variable(*found), power % degree) : std::nullopt;
    out = inside ? Multiply(*out, *inside) : std::nullopt;
  }
  for (const auto& [prime, exponent] : exponents) {
    const Result power = PrimePower(prime, exponent.first, exponent.second * degree);
    out = power && out ? Multiply(*out, *power) : std::nullopt;
  }
  return out;
}

// sqrt(a + w) = sqrt((a + d) / 2) +- sqrt((a - d) / 2) for a rational d = sqrt(a^2 - w^2).
Result Algebra::Denest(const Value& a) {
  const std::vector<Term> terms = Terms(a.top);
  if (terms.size() != 2 || !terms[0].powers.empty()) return std::nullopt;
  Value rational;
  fmpz_mpoly_set_fmpz(rational.top.get(), terms[0].coefficient, Polynomial::Context());
  rational.bottom = a.bottom;
  const auto whole = Normal(rational.top, rational.bottom);
  const auto irrational = whole ? Subtract(a, *whole) : std::nullopt;
  const auto square = irrational ? Multiply(*irrational, *irrational) : std::nullopt;
  const auto sign = irrational ? Approximate(*irrational) : std::nullopt;
  if (!square || !IsRational(*square) || !sign) return std::nullopt;
  const auto product = Multiply(*whole, *whole);
  const auto difference = product ? Subtract(*product, *square) : std::nullopt;
  if (!difference || Approximate(*difference) < 0 || Approximate(*whole) <= 0) {
    return std::nullopt;
  }
  const Result d = RootOfTerm(*difference, 2);
  if (!d || !IsRational(*d)) return std::nullopt;
  const auto half = [&](const Result& sum) {
    const Result part = sum ? Divide(*sum, Integer(2)) : std::nullopt;
    return part ? Root(*part, 2) : std::nullopt;
  };
  const Result left = half(Add(*whole, *d));
  const Result right = half(Subtract(*whole, *d));
  if (!left || !right) return std::nullopt;
  return *sign < 0 ? Subtract(*left, *right) : Add(*left, *right);
}

Result Algebra::RootOfSum(const Value& a, int64_t degree) {
  const auto* context = Polynomial::Context();
  if (degree == 2) {
    if (Result simpler = Denest(a)) return simpler;
  }
  // The rational factor comes out; what is left is a root of its own.
  fmpz_t content;
  fmpz_init(content);
  _fmpz_vec_content(content, a.top.get()->coeffs, fmpz_mpoly_length(a.top.get(), context));
  Value outside;
  fmpz_mpoly_set_fmpz(outside.top.get(), content, context);
  Value inside = a;
  inside.bottom = Polynomial(1);
  fmpz_mpoly_scalar_divexact_fmpz(inside.top.get(), inside.top.get(), content, context);
  fmpz_clear(content);
  const Result factor = RootOfTerm(outside, degree);
  if (!factor || fmpz_mpoly_length(inside.top.get(), context) > kMaxRadicandTerms)
    return std::nullopt;
  const bool constant = IsConstant(inside);
  const auto size = Approximate(inside);
  if (constant && (!size || *size <= 0)) return std::nullopt;
  if (!constant && degree == 2) {
    Value root;
    if (fmpz_mpoly_is_square(inside.top.get(), context) &&
        fmpz_mpoly_sqrt(root.top.get(), inside.top.get(), context)) {
      const Result absolute = Absolute(root);
      return absolute ? Multiply(*factor, *absolute) : std::nullopt;
    }
  }
  Generator generator;
  generator.key = absl::StrCat("root", degree, "(", Print(inside), ")");
  generator.constant = constant;
  generator.approx = size ? std::pow(*size, 1.0 / static_cast<double>(degree)) : kUnknown;
  generator.degree = static_cast<int>(degree);
  generator.radicand = inside.top;
  auto index = Find(generator.key);
  if (!index) index = Add(std::move(generator));
  return index ? Multiply(*factor, *Variable(*index)) : std::nullopt;
}

Result Algebra::Root(const Value& a, int64_t degree) {
  if (degree < 1 || degree > kMaxDegree) return std::nullopt;
  if (IsZero(a) || degree == 1) return a;
  if (!IsOne(Bottom(a))) {
    // sqrt(p / q) = sqrt(p q) / q where q is a number.
    if (IsRational(Bottom(a))) {
      const Result lifted = IntegerPower(Bottom(a), degree - 1);
      const Result product = lifted ? Multiply(Top(a), *lifted) : std::nullopt;
      const Result root = product ? Root(*product, degree) : std::nullopt;
      return root ? Divide(*root, Bottom(a)) : std::nullopt;
    }
    const Result above = Root(Top(a), degree);
    const Result below = Root(Bottom(a), degree);
    return above && below ? Divide(*above, *below) : std::nullopt;
  }
  return HasOneTerm(a) ? RootOfTerm(a, degree) : RootOfSum(a, degree);
}

// base^exponent with letters in the exponent: one generator for each of its terms.
Result Algebra::SymbolicPower(const Value& base, const Value& exponent) {
  const bool split = IsRational(Bottom(exponent));
  const Term* bases = nullptr;
  const std::vector<Term> base_terms = Terms(base.top);
  if (IsOne(Bottom(base)) && base_terms.size() == 1) bases = base_terms.data();
  if (bases == nullptr && !IsOne(Bottom(base))) {
    const Result above = SymbolicPower(Top(base), exponent);
    const Result below = SymbolicPower(Bottom(base), exponent);
    return above && below ? Divide(*above, *below) : std::nullopt;
  }
  // 6^n = 2^n 3^n, (2 x)^n = 2^n x^n.
  std::vector<std::pair<std::string, int64_t>> factors;
  if (bases == nullptr) {
    factors.emplace_back(Print(base), 1);
  } else {
    const auto primes = Factor(bases->coefficient);
    if (!primes) return std::nullopt;
    if (fmpz_sgn(bases->coefficient) < 0) factors.emplace_back("-1", 1);
    for (const auto& [prime, times] : *primes) factors.emplace_back(absl::StrCat(prime), times);
    for (const auto& [index, times] : bases->powers) {
      factors.emplace_back(generators_[index].key, static_cast<int64_t>(times));
    }
  }
  Result out = Integer(1);
  const std::vector<Term> terms = split ? Terms(exponent.top) : std::vector<Term>(1);
  for (const Term& term : terms) {
    int64_t top = 1;
    int64_t bottom = 1;
    std::string monomial;
    if (split) {
      const auto below = AsInteger(Bottom(exponent));
      if (!below || !fmpz_fits_si(term.coefficient)) return std::nullopt;
      const int64_t above = fmpz_get_si(term.coefficient);
      const int64_t common = std::gcd(above, *below);
      top = above / common;
      bottom = *below / common;
      monomial = absl::StrCat(term.constant_part, "*", term.variable_part);
      if (term.powers.empty()) {
        Value constant = Integer(top);
        constant.bottom = Polynomial(bottom);
        const Result power = Power(base, constant);
        out = power && out ? Multiply(*out, *power) : std::nullopt;
        if (!out) return std::nullopt;
        continue;
      }
    } else {
      monomial = Print(exponent);
    }
    for (const auto& [key, times] : factors) {
      if (std::abs(top) > kMaxSymbolicPower || std::abs(times) > kMaxSymbolicPower) {
        return std::nullopt;
      }
      int64_t power = top * times;
      if (key == "-1") power %= 2;  // the exponent is taken for an integer
      const Result one =
          Opaque("pow", absl::StrCat(key, ";", monomial, "/", bottom), false, kUnknown);
      const Result all = one ? IntegerPower(*one, power) : std::nullopt;
      out = all && out ? Multiply(*out, *all) : std::nullopt;
      if (!out) return std::nullopt;
    }
  }
  return out;
}

Result Algebra::Power(const Value& base, const Value& exponent) {
  if (const auto whole = AsInteger(exponent)) return IntegerPower(base, *whole);
  if (IsZero(base)) return std::nullopt;
  if (!IsRational(exponent)) return SymbolicPower(base, exponent);
  const auto top = AsInteger(Top(exponent));
  const auto bottom = AsInteger(Bottom(exponent));
  if (!top || !bottom) return std::nullopt;
  const Result root = Root(base, *bottom);
  return root ? IntegerPower(*root, *top) : std::nullopt;
}

}  // namespace cohort

// Logarithms, absolute values and whole parts of exact values.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/rewards/algebra_terms.h"

namespace cohort {
namespace {

using Result = Algebra::Result;

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

bool IsOne(const Value& a) { return Algebra::AsInteger(a) == 1; }
Value Bottom(const Value& a) { return Value{a.bottom}; }
bool HasOneTerm(const Value& a) {
  return fmpz_mpoly_length(a.top.get(), Polynomial::Context()) == 1;
}

}  // namespace

Result Algebra::Logarithm(const Value& a) {
  if (IsZero(a)) return std::nullopt;
  if (IsOne(a)) return Integer(0);
  const auto opaque = [&]() -> Result {
    const bool constant = IsConstant(a);
    const auto size = constant ? Approximate(a) : std::nullopt;
    if (constant && (!size || *size <= 0)) return std::nullopt;
    return Opaque("log", Print(a), constant, size ? std::log(*size) : kUnknown);
  };
  if (!IsConstant(a) || !HasOneTerm(a) || !IsRational(Bottom(a))) return opaque();
  const Term term = Terms(a.top).front();
  if (fmpz_sgn(term.coefficient) < 0) return std::nullopt;
  const auto above = Factor(term.coefficient);
  const auto below = Factor(a.bottom.get()->coeffs);
  if (!above || !below) return opaque();
  std::vector<std::pair<std::string, Value>> parts;  // the number, how often
  for (const auto& [prime, times] : *above) parts.emplace_back(absl::StrCat(prime), Integer(times));
  for (const auto& [prime, times] : *below) {
    parts.emplace_back(absl::StrCat(prime), Integer(-times));
  }
  Result out = Integer(0);
  for (const auto& [index, times] : term.powers) {
    const Generator& generator = generators_[index];
    const Value power = Integer(static_cast<int64_t>(times));
    if (generator.key == "e") {
      out = Add(*out, power);
    } else if (generator.prime != 0) {
      const Result share = Divide(power, Integer(generator.of));
      if (!share) return std::nullopt;
      parts.emplace_back(absl::StrCat(generator.prime), *share);
    } else {
      return opaque();
    }
    if (!out) return std::nullopt;
  }
  for (const auto& [number, times] : parts) {
    const Result one = Opaque("log", number, true, std::log(std::atof(number.c_str())));
    const Result all = one ? Multiply(*one, times) : std::nullopt;
    out = all ? Add(*out, *all) : std::nullopt;
    if (!out) return std::nullopt;
  }
  return out;
}

Result Algebra::Absolute(const Value& a) {
  if (const auto size = IsConstant(a) ? Approximate(a) : std::nullopt) {
    return *size < 0 ? Negate(a) : a;
  }
  if (const auto i = Find("i"); i && IsConstant(a) && IsOne(Bottom(a))) {
    // |p + q i| = sqrt(p^2 + q^2)
    const auto* context = Polynomial::Context();
    const slong variable = context->minfo->nvars - 1 - *i;
    const auto square = [&](ulong power) {
      Value part;
      fmpz_mpoly_get_coeff_vars_ui(part.top.get(), a.top.get(), &variable, &power, 1, context);
      return Multiply(part, part);
    };
    const Result real = square(0), imaginary = square(1);
    const Result sum = real && imaginary ? Add(*real, *imaginary) : std::nullopt;
    return sum ? Root(*sum, 2) : std::nullopt;
  }
  // |p| and |-p| are one.
  const std::string positive = Print(a);
  const std::string negative = Print(Negate(a));
  return Opaque("abs", std::min(positive, negative), IsConstant(a), kUnknown);
}

Result Algebra::Floor(const Value& a) {
  if (IsRational(a)) {
    if (IsZero(a)) return a;
    Value out;
    fmpz_t whole;
    fmpz_init(whole);
    fmpz_fdiv_q(whole, a.top.get()->coeffs, a.bottom.get()->coeffs);
    fmpz_mpoly_set_fmpz(out.top.get(), whole, Polynomial::Context());
    fmpz_clear(whole);
    return out;
  }
  const auto size = IsConstant(a) ? Approximate(a) : std::nullopt;
  if (!size || std::abs(*size) > 1e9 || std::abs(*size - std::round(*size)) < 1e-5) {
    return std::nullopt;
  }
  return Integer(static_cast<int64_t>(std::floor(*size)));
}

}  // namespace cohort

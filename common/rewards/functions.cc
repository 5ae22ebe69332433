#include "common/rewards/functions.h"

#include <flint/fmpz.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"

namespace cohort {
namespace {

using Result = Algebra::Result;

constexpr int64_t kMaxFactorial = 300;
constexpr int64_t kMaxBinomial = 1000;
constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

Value FromFmpz(const fmpz_t number) {
  Value out;
  fmpz_mpoly_set_fmpz(out.top.get(), number, Polynomial::Context());
  return out;
}

Result Opaque(Algebra* algebra, absl::string_view name, const Value& argument) {
  return algebra->Opaque(name, algebra->Print(argument), algebra->IsConstant(argument), kUnknown);
}

// (a + b sqrt(n)) / d
Result Surd(Algebra* algebra, int64_t a, int64_t b, int64_t n, int64_t d) {
  const Result root = algebra->Root(Algebra::Integer(n), 2);
  const Result part = root ? algebra->Multiply(*root, Algebra::Integer(b)) : std::nullopt;
  const Result sum = part ? algebra->Add(*part, Algebra::Integer(a)) : std::nullopt;
  return sum ? algebra->Divide(*sum, Algebra::Integer(d)) : std::nullopt;
}

// cos(k pi / 60) for 0 <= k <= 30, where it is simple.
Result CosineOfSixtieths(Algebra* algebra, int64_t k) {
  const auto roots = [&](int64_t sign) -> Result {  // (sqrt(6) +- sqrt(2)) / 4
    const Result six = algebra->Root(Algebra::Integer(6), 2);
    const Result two = algebra->Root(Algebra::Integer(2), 2);
    const Result turned = two ? algebra->Multiply(*two, Algebra::Integer(sign)) : std::nullopt;
    const Result sum = six && turned ? algebra->Add(*six, *turned) : std::nullopt;
    return sum ? algebra->Divide(*sum, Algebra::Integer(4)) : std::nullopt;
  };
  switch (k) {
    case 0:
      return Algebra::Integer(1);
    case 5:
      return roots(1);
    case 10:
      return Surd(algebra, 0, 1, 3, 2);
    case 12:
      return Surd(algebra, 1, 1, 5, 4);
    case 15:
      return Surd(algebra, 0, 1, 2, 2);
    case 20:
      return Surd(algebra, 1, 0, 1, 2);
    case 24:
      return Surd(algebra, -1, 1, 5, 4);
    case 25:
      return roots(-1);
    case 30:
      return Algebra::Integer(0);
    default:
      return std::nullopt;
  }
}

Result Cosine(Algebra* algebra, int64_t sixtieths) {
  int64_t k = (sixtieths % 120 + 120) % 120;
  if (k > 60) k = 120 - k;
  const bool negative = k > 30;
  const Result value = CosineOfSixtieths(algebra, negative ? 60 - k : k);
  return value && negative ? Result(Algebra::Negate(*value)) : value;
}

// argument = k pi / 60: k.
std::optional<int64_t> Sixtieths(Algebra* algebra, const Value& argument, bool degrees) {
  const Result pi = degrees ? Result(Algebra::Integer(180)) : algebra->Pi();
  const Result share = pi ? algebra->Divide(argument, *pi) : std::nullopt;
  const Result k = share ? algebra->Multiply(*share, Algebra::Integer(60)) : std::nullopt;
  return k ? Algebra::AsInteger(*k) : std::nullopt;
}

Result Quotient(Algebra* algebra, const Result& a, const Result& b) {
  return a && b ? algebra->Divide(*a, *b) : std::nullopt;
}

}  // namespace

bool IsTrigonometric(absl::string_view name) {
  return name == "sin" || name == "cos" || name == "tan" || name == "cot" || name == "sec" ||
         name == "csc";
}

Result Trigonometric(Algebra* algebra, absl::string_view name, const Value& argument,
                     bool degrees) {
  const auto k = algebra->IsConstant(argument) ? Sixtieths(algebra, argument, degrees)
                                               : std::optional<int64_t>();
  const Result cosine = k ? Cosine(algebra, *k) : std::nullopt;
  const Result sine = k ? Cosine(algebra, 30 - *k % 120) : std::nullopt;
  if (!cosine || !sine) {
    return Opaque(algebra, degrees ? absl::StrCat(name, "deg") : std::string(name), argument);
  }
  const Result one = Algebra::Integer(1);
  if (name == "sin") return sine;
  if (name == "cos") return cosine;
  if (name == "tan") return Quotient(algebra, sine, cosine);
  if (name == "cot") return Quotient(algebra, cosine, sine);
  return Quotient(algebra, one, name == "sec" ? cosine : sine);
}

Result ApplyFunction(Algebra* algebra, absl::string_view name, const Value& argument) {
  if (name == "exp") {
    const Result e = algebra->Letter("e");
    return e ? algebra->Power(*e, argument) : std::nullopt;
  }
  if (name == "ln") return algebra->Logarithm(argument);
  if (name == "sqrt") return algebra->Root(argument, 2);
  return Opaque(algebra, name, argument);
}

Result ApplyToIntegers(absl::string_view name, const std::vector<Value>& arguments) {
  std::optional<int64_t> out;
  for (const Value& argument : arguments) {
    const auto number = Algebra::AsInteger(argument);
    if (!number || std::abs(*number) > 1'000'000'000) return std::nullopt;
    if (!out) {
      out = number;
    } else if (name == "gcd") {
      out = std::gcd(*out, *number);
    } else if (name == "lcm") {
      out = std::lcm(*out, *number);
      if (*out > 1'000'000'000) return std::nullopt;
    } else {
      out = name == "max" ? std::max(*out, *number) : std::min(*out, *number);
    }
  }
  return out ? Result(Algebra::Integer(*out)) : std::nullopt;
}

Result Factorial(Algebra* algebra, const Value& n) {
  const auto number = Algebra::AsInteger(n);
  if (!number) return Opaque(algebra, "factorial", n);
  if (*number < 0 || *number > kMaxFactorial) return std::nullopt;
  fmpz_t out;
  fmpz_init(out);
  fmpz_fac_ui(out, static_cast<ulong>(*number));
  Value value = FromFmpz(out);
  fmpz_clear(out);
  return value;
}

Result Binomial(Algebra* algebra, const Value& n, const Value& k) {
  const auto above = Algebra::AsInteger(n);
  const auto below = Algebra::AsInteger(k);
  if (!above || !below) {
    return algebra->Opaque("binomial", absl::StrCat(algebra->Print(n), ";", algebra->Print(k)),
                           false, kUnknown);
  }
  if (*above < 0 || *below < 0 || *above > kMaxBinomial) return std::nullopt;
  if (*below > *above) return Algebra::Integer(0);
  fmpz_t out;
  fmpz_init(out);
  fmpz_bin_uiui(out, static_cast<ulong>(*above), static_cast<ulong>(*below));
  Value value = FromFmpz(out);
  fmpz_clear(out);
  return value;
}

}  // namespace cohort

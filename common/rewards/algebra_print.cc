// How values are printed, approximated and brought into the form of an equation.
#include <flint/fmpq.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/rewards/algebra_terms.h"

namespace cohort {
namespace {

slong Index(size_t generator) {
  return Polynomial::Context()->minfo->nvars - 1 - static_cast<slong>(generator);
}

std::string Digits(const fmpz* number) {
  if (fmpz_fits_si(number)) return absl::StrCat(fmpz_get_si(number));
  char* text = fmpz_get_str(nullptr, 10, number);
  std::string out(text);
  flint_free(text);
  return out;
}

}  // namespace

std::vector<Algebra::Term> Algebra::Terms(const Polynomial& poly) const {
  const auto* context = Polynomial::Context();
  std::vector<Term> terms(static_cast<size_t>(fmpz_mpoly_length(poly.get(), context)));
  std::vector<ulong> exponents(static_cast<size_t>(context->minfo->nvars));
  for (size_t t = 0; t < terms.size(); ++t) {
    Term& term = terms[t];
    term.coefficient = poly.get()->coeffs + t;
    fmpz_mpoly_get_term_exp_ui(exponents.data(), poly.get(), static_cast<slong>(t), context);
    for (size_t i = 0; i < generators_.size(); ++i) {
      const ulong exponent = exponents[static_cast<size_t>(Index(i))];
      if (exponent > 0) term.powers.emplace_back(i, exponent);
    }
    std::sort(term.powers.begin(), term.powers.end(), [&](const auto& a, const auto& b) {
      return generators_[a.first].key < generators_[b.first].key;
    });
    for (const auto& [generator, exponent] : term.powers) {
      std::string* part =
          generators_[generator].constant ? &term.constant_part : &term.variable_part;
      absl::StrAppend(part, part->empty() ? "" : "*", generators_[generator].key);
      if (exponent > 1) absl::StrAppend(part, "^", exponent);
    }
  }
  std::sort(terms.begin(), terms.end(), [](const Term& a, const Term& b) {
    return std::tie(a.variable_part, a.constant_part) < std::tie(b.variable_part, b.constant_part);
  });
  return terms;
}

std::string Algebra::Print(const Value& a) const {
  if (IsZero(a)) return "0";
  const auto print = [&](const Polynomial& poly) {
    std::string out;
    for (const Term& term : Terms(poly)) {
      absl::StrAppend(&out, out.empty() ? "" : "+", Digits(term.coefficient));
      for (const std::string* part : {&term.constant_part, &term.variable_part}) {
        if (!part->empty()) absl::StrAppend(&out, "*", *part);
      }
    }
    return out;
  };
  const auto* context = Polynomial::Context();
  if (fmpz_mpoly_is_one(a.bottom.get(), context)) return print(a.top);
  if (IsRational(a)) return absl::StrCat(print(a.top), "/", print(a.bottom));
  // FLINT's sign goes by the order in which the letters were met.
  if (fmpz_sgn(Terms(a.bottom).front().coefficient) > 0) {
    return absl::StrCat("(", print(a.top), ")/(", print(a.bottom), ")");
  }
  Value turned = a;
  fmpz_mpoly_neg(turned.top.get(), turned.top.get(), context);
  fmpz_mpoly_neg(turned.bottom.get(), turned.bottom.get(), context);
  return absl::StrCat("(", print(turned.top), ")/(", print(turned.bottom), ")");
}

std::optional<double> Algebra::Approximate(const Polynomial& poly) const {
  double sum = 0;
  for (const Term& term : Terms(poly)) {
    double product = fmpz_get_d(term.coefficient);
    for (const auto& [generator, exponent] : term.powers) {
      if (!generators_[generator].constant) return std::nullopt;
      product *= std::pow(generators_[generator].approx, static_cast<double>(exponent));
    }
    sum += product;
  }
  return std::isfinite(sum) ? std::optional<double>(sum) : std::nullopt;
}

std::optional<double> Algebra::Approximate(const Value& a) const {
  if (IsRational(a)) {
    if (IsZero(a)) return 0;
    fmpq_t number;
    fmpq_init(number);
    fmpq_set_fmpz_frac(number, a.top.get()->coeffs, a.bottom.get()->coeffs);
    const double value = fmpq_get_d(number);
    fmpq_clear(number);
    return value;
  }
  const auto top = Approximate(a.top);
  const auto bottom = Approximate(a.bottom);
  if (!top || !bottom || *bottom == 0) return std::nullopt;
  return *top / *bottom;
}

std::string Algebra::PrintUpToFactor(const Value& a, bool keep_sign) {
  if (IsZero(a)) return "";
  const std::vector<Term> terms = Terms(a.top);
  // The constant before the largest product of letters.
  Polynomial lead;
  for (const Term& term : terms) {
    if (term.variable_part != terms.back().variable_part) continue;
    Polynomial product(1);
    fmpz_mpoly_scalar_mul_fmpz(product.get(), product.get(), term.coefficient,
                               Polynomial::Context());
    for (const auto& [generator, exponent] : term.powers) {
      if (!generators_[generator].constant) continue;
      Polynomial power;
      fmpz_mpoly_gen(power.get(), Index(generator), Polynomial::Context());
      fmpz_mpoly_pow_ui(power.get(), power.get(), exponent, Polynomial::Context());
      fmpz_mpoly_mul(product.get(), product.get(), power.get(), Polynomial::Context());
    }
    fmpz_mpoly_add(lead.get(), lead.get(), product.get(), Polynomial::Context());
  }
  Value factor{std::move(lead)};
  if (keep_sign) {
    const auto sign = Approximate(factor);
    if (!sign) return "";
    if (*sign < 0) factor = Negate(factor);
    // A denominator with letters has no sign of its own.
    if (!IsConstant(Value{a.bottom})) return "";
    const auto below = Approximate(Value{a.bottom});
    if (!below) return "";
    if (*below < 0) factor = Negate(factor);
  }
  const Result scaled = Divide(Value{a.top}, factor);
  return scaled ? Print(*scaled) : "";
}

std::optional<Algebra::Line> Algebra::AsLine(const Value& a) const {
  const auto* context = Polynomial::Context();
  std::optional<size_t> found;
  for (size_t i = 0; i < generators_.size(); ++i) {
    if (generators_[i].constant) continue;
    if (fmpz_mpoly_degree_si(a.bottom.get(), Index(i), context) > 0) return std::nullopt;
    const slong degree = fmpz_mpoly_degree_si(a.top.get(), Index(i), context);
    if (degree <= 0) continue;
    // A function of a letter is none: |x| > 1 is not x > 1.
    const bool letter = generators_[i].key.find('(') == std::string::npos;
    if (found || degree > 1 || !letter) return std::nullopt;
    found = i;
  }
  if (!found) return std::nullopt;
  const slong variable = Index(*found);
  Line line;
  for (const ulong power : {ulong{0}, ulong{1}}) {
    Value* part = power == 0 ? &line.offset : &line.slope;
    fmpz_mpoly_get_coeff_vars_ui(part->top.get(), a.top.get(), &variable, &power, 1, context);
  }
  // Not in lowest terms: only quotients and signs are wanted.
  line.offset.bottom = a.bottom;
  line.slope.bottom = a.bottom;
  line.letter = generators_[*found].key;
  return line;
}

}  // namespace cohort

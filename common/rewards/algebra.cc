#include "common/rewards/algebra.h"

#include <flint/fmpq.h>
#include <flint/fmpz_vec.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace cohort {
namespace {

constexpr slong kGenerators = 16;
// What an answer may cost: FLINT has no deadline, so that no step may begin that could take long.
constexpr slong kMaxTerms = 400;
constexpr slong kMaxProducts = 20'000;  // of terms, in one product
constexpr slong kMaxDegree = 300;
constexpr slong kMaxSubstitutions = 2;  // of a sum for the power of its root
constexpr slong kMaxBits = 8192;
constexpr slong kMaxDivisorTerms = 40;    // of a denominator that is a sum
constexpr int64_t kMaxDenseTerms = 3000;  // of what a common divisor is looked for in
constexpr size_t kMaxKeyBytes = 160;      // a root in a root in a root holds itself many times
constexpr size_t kMaxDecimals = 2000;

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

// FLINT keeps memory for each thread until it is told that the thread ends.
struct ThreadMemory {
  ~ThreadMemory() { flint_cleanup(); }
};

const fmpz_mpoly_ctx_struct* MakeContext() {
  static fmpz_mpoly_ctx_struct context;
  fmpz_mpoly_ctx_init(&context, kGenerators, ORD_LEX);
  return &context;
}

// The last generator is the most significant variable: the equation of a root holds only earlier
// ones, so that its power leads.
slong Index(size_t generator) { return kGenerators - 1 - static_cast<slong>(generator); }

slong Bits(const Polynomial& poly) { return std::abs(fmpz_mpoly_max_bits(poly.get())); }

}  // namespace

const fmpz_mpoly_ctx_struct* Polynomial::Context() {
  static const fmpz_mpoly_ctx_struct* const kContext = MakeContext();
  return kContext;
}

Polynomial::Polynomial() { fmpz_mpoly_init(&poly_, Context()); }
Polynomial::Polynomial(int64_t value) : Polynomial() {
  fmpz_mpoly_set_si(&poly_, value, Context());
}
Polynomial::Polynomial(const Polynomial& other) : Polynomial() {
  fmpz_mpoly_set(&poly_, &other.poly_, Context());
}
Polynomial::Polynomial(Polynomial&& other) noexcept : Polynomial() {
  fmpz_mpoly_swap(&poly_, &other.poly_, Context());
}
Polynomial& Polynomial::operator=(Polynomial other) noexcept {
  fmpz_mpoly_swap(&poly_, &other.poly_, Context());
  return *this;
}
Polynomial::~Polynomial() { fmpz_mpoly_clear(&poly_, Context()); }

Algebra::Algebra(AlgebraBudget* budget) : budget_(budget) {
  thread_local ThreadMemory memory;
  (void)memory;
}

std::optional<int> Algebra::Find(absl::string_view key) const {
  for (size_t i = 0; i < generators_.size(); ++i) {
    if (generators_[i].key == key) return static_cast<int>(i);
  }
  return std::nullopt;
}

std::optional<int> Algebra::Add(Generator generator) {
  if (generators_.size() == kGenerators || generator.key.size() > kMaxKeyBytes) {
    return std::nullopt;
  }
  const int index = static_cast<int>(generators_.size());
  if (generator.degree > 0) {
    fmpz_mpoly_struct* relation = generator.relation.get();
    const auto* context = Polynomial::Context();
    fmpz_mpoly_gen(relation, Index(generators_.size()), context);
    fmpz_mpoly_pow_ui(relation, relation, static_cast<ulong>(generator.degree), context);
    fmpz_mpoly_sub(relation, relation, generator.radicand.get(), context);
  }
  generators_.push_back(std::move(generator));
  return index;
}

Algebra::Result Algebra::Variable(int generator) const {
  Value out;
  fmpz_mpoly_gen(out.top.get(), Index(static_cast<size_t>(generator)), Polynomial::Context());
  return out;
}

Algebra::Result Algebra::FromDecimal(absl::string_view digits, size_t decimals) {
  if (digits.empty() || digits.size() > kMaxDecimals || decimals > kMaxDecimals) {
    return std::nullopt;
  }
  fmpz_t number;
  fmpz_init(number);
  Value out;
  if (fmpz_set_str(number, std::string(digits).c_str(), 10) == 0) {
    fmpz_mpoly_set_fmpz(out.top.get(), number, Polynomial::Context());
  }
  fmpz_set_ui(number, 10);
  fmpz_pow_ui(number, number, decimals);
  fmpz_mpoly_set_fmpz(out.bottom.get(), number, Polynomial::Context());
  fmpz_clear(number);
  return decimals == 0 ? Result(std::move(out)) : Normal(std::move(out.top), std::move(out.bottom));
}

Algebra::Result Algebra::Letter(absl::string_view name) {
  auto index = Find(name);
  if (!index) {
    Generator generator;
    generator.key = std::string(name);
    generator.approx = kUnknown;
    if (name == "i") {
      generator.constant = true;
      generator.degree = 2;
      generator.radicand = Polynomial(-1);
    } else if (name == "e") {
      generator.constant = true;
      generator.approx = std::exp(1.0);
    }
    index = Add(std::move(generator));
  }
  return index ? Variable(*index) : std::nullopt;
}

Algebra::Result Algebra::Pi() { return Opaque("pi", "", true, std::acos(-1.0)); }

Algebra::Result Algebra::Opaque(absl::string_view name, absl::string_view arguments, bool constant,
                                double approx) {
  Generator generator;
  generator.key = arguments.empty() ? std::string(name) : absl::StrCat(name, "(", arguments, ")");
  generator.constant = constant;
  generator.approx = approx;
  auto index = Find(generator.key);
  if (!index) index = Add(std::move(generator));
  return index ? Variable(*index) : std::nullopt;
}

bool Algebra::Spend(int64_t work) {
  budget_->work -= work;
  return budget_->work >= 0;
}

bool Algebra::CanMultiply(const Polynomial& a, const Polynomial& b) {
  const slong left = fmpz_mpoly_length(a.get(), Polynomial::Context());
  const slong right = fmpz_mpoly_length(b.get(), Polynomial::Context());
  const slong bits = Bits(a) + Bits(b);
  if (left * right > kMaxProducts || bits > kMaxBits) return false;
  for (size_t i = 0; i < generators_.size(); ++i) {
    const slong degree = fmpz_mpoly_degree_si(a.get(), Index(i), Polynomial::Context()) +
                         fmpz_mpoly_degree_si(b.get(), Index(i), Polynomial::Context());
    if (degree > kMaxDegree) return false;
  }
  return Spend(1 + left * right * (1 + bits / 256));
}

std::optional<Polynomial> Algebra::Times(const Polynomial& a, const Polynomial& b) {
  Polynomial out;
  const auto* context = Polynomial::Context();
  for (const auto& [number, other] : {std::pair(&a, &b), std::pair(&b, &a)}) {
    // A number needs no reduction.
    if (!fmpz_mpoly_is_fmpz(number->get(), context)) continue;
    const slong length = fmpz_mpoly_length(other->get(), context);
    const slong bits = Bits(a) + Bits(b);
    if (bits > kMaxBits || !Spend(1 + length * (1 + bits / 256))) return std::nullopt;
    if (fmpz_mpoly_is_zero(number->get(), context)) return out;
    fmpz_mpoly_scalar_mul_fmpz(out.get(), other->get(), number->get()->coeffs, context);
    return out;
  }
  if (!CanMultiply(a, b)) return std::nullopt;
  fmpz_mpoly_mul(out.get(), a.get(), b.get(), Polynomial::Context());
  if (!Reduce(&out)) return std::nullopt;
  return out;
}

// Roots by their equations, the newest first. A power of a root becomes a sum, whose terms may hold
// older roots in turn.
bool Algebra::Reduce(Polynomial* poly) {
  const auto* context = Polynomial::Context();
  for (size_t i = generators_.size(); i-- > 0;) {
    const Generator& generator = generators_[i];
    if (generator.degree == 0) continue;
    const slong times = fmpz_mpoly_degree_si(poly->get(), Index(i), context) / generator.degree;
    if (times <= 0) continue;
    const slong radicand = fmpz_mpoly_length(generator.radicand.get(), context);
    const slong products = fmpz_mpoly_length(poly->get(), context) * radicand;
    if ((radicand > 1 && times > kMaxSubstitutions) || products > kMaxProducts ||
        !Spend(products * times)) {
      return false;
    }
    Polynomial quotient;
    Polynomial rest;
    fmpz_mpoly_divrem(quotient.get(), rest.get(), poly->get(), generator.relation.get(), context);
    *poly = std::move(rest);
    if (fmpz_mpoly_length(poly->get(), context) > kMaxTerms) return false;
  }
  return fmpz_mpoly_length(poly->get(), context) <= kMaxTerms && Bits(*poly) <= kMaxBits;
}

// What `poly` is multiplied with so that the root `generator` leaves it.
std::optional<Polynomial> Algebra::Cofactor(const Polynomial& poly, size_t generator) {
  const auto* context = Polynomial::Context();
  const slong variable = Index(generator);
  const int degree = generators_[generator].degree;
  Polynomial power[3];
  Polynomial root;
  fmpz_mpoly_gen(root.get(), variable, context);
  if (fmpz_mpoly_length(poly.get(), context) == 1) {
    const auto present = static_cast<int>(fmpz_mpoly_degree_si(poly.get(), variable, context));
    fmpz_mpoly_pow_ui(root.get(), root.get(), static_cast<ulong>(degree - present), context);
    return root;
  }
  if (degree > 3) return std::nullopt;
  for (ulong i = 0; i < 3; ++i) {
    fmpz_mpoly_get_coeff_vars_ui(power[i].get(), poly.get(), &variable, &i, 1, context);
  }
  const auto& [a, b, c] = power;
  Polynomial out;
  if (degree == 2) {  // a - b h
    fmpz_mpoly_mul(out.get(), b.get(), root.get(), context);
    fmpz_mpoly_sub(out.get(), a.get(), out.get(), context);
    return out;
  }
  // (a^2 - b c A) + (c^2 A - a b) h + (b^2 - a c) h^2
  const Polynomial& radicand = generators_[generator].radicand;
  const auto aa = Times(a, a), bb = Times(b, b), cc = Times(c, c);
  const auto ab = Times(a, b), ac = Times(a, c), bc = Times(b, c);
  if (!aa || !bb || !cc || !ab || !ac || !bc) return std::nullopt;
  const auto bca = Times(*bc, radicand), cca = Times(*cc, radicand);
  if (!bca || !cca) return std::nullopt;
  Polynomial middle;
  fmpz_mpoly_sub(out.get(), bb->get(), ac->get(), context);
  fmpz_mpoly_mul(out.get(), out.get(), root.get(), context);
  fmpz_mpoly_sub(middle.get(), cca->get(), ab->get(), context);
  fmpz_mpoly_add(out.get(), out.get(), middle.get(), context);
  fmpz_mpoly_mul(out.get(), out.get(), root.get(), context);
  fmpz_mpoly_sub(middle.get(), aa->get(), bca->get(), context);
  fmpz_mpoly_add(out.get(), out.get(), middle.get(), context);
  return out;
}

bool Algebra::Rationalise(Polynomial* top, Polynomial* bottom) {
  for (size_t i = generators_.size(); i-- > 0;) {
    if (generators_[i].degree == 0) continue;
    if (fmpz_mpoly_degree_si(bottom->get(), Index(i), Polynomial::Context()) <= 0) continue;
    const auto cofactor = Cofactor(*bottom, i);
    auto above = cofactor ? Times(*top, *cofactor) : std::nullopt;
    auto below = cofactor ? Times(*bottom, *cofactor) : std::nullopt;
    if (!above || !below || fmpz_mpoly_is_zero(below->get(), Polynomial::Context())) return false;
    *top = std::move(*above);
    *bottom = std::move(*below);
  }
  return true;
}

Algebra::Result Algebra::OverNumber(Polynomial top, const Polynomial& bottom) {
  const auto* context = Polynomial::Context();
  Value out{std::move(top), bottom};
  fmpz_t divisor;
  fmpz_init(divisor);
  _fmpz_vec_content(divisor, out.top.get()->coeffs, fmpz_mpoly_length(out.top.get(), context));
  fmpz_gcd(divisor, divisor, bottom.get()->coeffs);
  if (fmpz_sgn(bottom.get()->coeffs) < 0) fmpz_neg(divisor, divisor);
  if (!fmpz_is_one(divisor)) {
    fmpz_mpoly_scalar_divexact_fmpz(out.top.get(), out.top.get(), divisor, context);
    fmpz_mpoly_scalar_divexact_fmpz(out.bottom.get(), out.bottom.get(), divisor, context);
  }
  fmpz_clear(divisor);
  return out;
}

Algebra::Result Algebra::Normal(Polynomial top, Polynomial bottom) {
  const auto* context = Polynomial::Context();
  if (fmpz_mpoly_is_zero(bottom.get(), context)) return std::nullopt;
  if (fmpz_mpoly_is_zero(top.get(), context)) return Value{};
  if (fmpz_mpoly_is_one(bottom.get(), context)) return Value{std::move(top), std::move(bottom)};
  if (fmpz_mpoly_is_fmpz(bottom.get(), context)) return OverNumber(std::move(top), bottom);
  if (!Rationalise(&top, &bottom)) return std::nullopt;
  if (fmpz_mpoly_length(bottom.get(), context) > 1) {
    int64_t dense = 1;
    for (size_t i = 0; i < generators_.size() && dense <= kMaxDenseTerms; ++i) {
      const slong degree = std::max(fmpz_mpoly_degree_si(top.get(), Index(i), context),
                                    fmpz_mpoly_degree_si(bottom.get(), Index(i), context));
      dense *= std::max<slong>(degree, 0) + 1;
    }
    const bool small = dense <= kMaxDenseTerms && Bits(bottom) + Bits(top) <= kMaxBits / 8 &&
                       fmpz_mpoly_length(bottom.get(), context) <= kMaxDivisorTerms;
    if (!small || !Spend(dense * 4)) return std::nullopt;
  }
  Polynomial divisor;
  if (!fmpz_mpoly_gcd(divisor.get(), top.get(), bottom.get(), context)) return std::nullopt;
  Value out;
  if (!fmpz_mpoly_divides(out.top.get(), top.get(), divisor.get(), context) ||
      !fmpz_mpoly_divides(out.bottom.get(), bottom.get(), divisor.get(), context)) {
    return std::nullopt;
  }
  if (fmpz_sgn(out.bottom.get()->coeffs) < 0) {
    fmpz_mpoly_neg(out.top.get(), out.top.get(), context);
    fmpz_mpoly_neg(out.bottom.get(), out.bottom.get(), context);
  }
  return out;
}

Algebra::Result Algebra::Add(const Value& a, const Value& b) {
  const auto* context = Polynomial::Context();
  Polynomial sum;
  if (fmpz_mpoly_equal(a.bottom.get(), b.bottom.get(), context)) {
    if (!Spend(1 + fmpz_mpoly_length(a.top.get(), context))) return std::nullopt;
    fmpz_mpoly_add(sum.get(), a.top.get(), b.top.get(), context);
    return Normal(std::move(sum), a.bottom);
  }
  const auto left = Times(a.top, b.bottom);
  const auto right = Times(b.top, a.bottom);
  auto bottom = Times(a.bottom, b.bottom);
  if (!left || !right || !bottom) return std::nullopt;
  fmpz_mpoly_add(sum.get(), left->get(), right->get(), context);
  return Normal(std::move(sum), std::move(*bottom));
}

Algebra::Result Algebra::Subtract(const Value& a, const Value& b) { return Add(a, Negate(b)); }

Algebra::Result Algebra::Multiply(const Value& a, const Value& b) {
  auto top = Times(a.top, b.top);
  auto bottom = Times(a.bottom, b.bottom);
  return top && bottom ? Normal(std::move(*top), std::move(*bottom)) : std::nullopt;
}

Algebra::Result Algebra::Divide(const Value& a, const Value& b) {
  auto top = Times(a.top, b.bottom);
  auto bottom = Times(a.bottom, b.top);
  return top && bottom ? Normal(std::move(*top), std::move(*bottom)) : std::nullopt;
}

Value Algebra::Negate(const Value& a) {
  Value out = a;
  fmpz_mpoly_neg(out.top.get(), out.top.get(), Polynomial::Context());
  return out;
}

bool Algebra::IsZero(const Value& a) {
  return fmpz_mpoly_is_zero(a.top.get(), Polynomial::Context());
}

bool Algebra::IsRational(const Value& a) {
  return fmpz_mpoly_is_fmpz(a.top.get(), Polynomial::Context()) &&
         fmpz_mpoly_is_fmpz(a.bottom.get(), Polynomial::Context());
}

std::optional<int64_t> Algebra::AsInteger(const Value& a) {
  const auto* context = Polynomial::Context();
  if (!IsRational(a) || !fmpz_mpoly_is_one(a.bottom.get(), context)) return std::nullopt;
  if (IsZero(a)) return 0;
  const fmpz* number = a.top.get()->coeffs;
  return fmpz_fits_si(number) ? std::optional<int64_t>(fmpz_get_si(number)) : std::nullopt;
}

bool Algebra::IsConstant(const Value& a) const {
  for (size_t i = 0; i < generators_.size(); ++i) {
    if (generators_[i].constant) continue;
    if (fmpz_mpoly_degree_si(a.top.get(), Index(i), Polynomial::Context()) > 0 ||
        fmpz_mpoly_degree_si(a.bottom.get(), Index(i), Polynomial::Context()) > 0) {
      return false;
    }
  }
  return true;
}

}  // namespace cohort

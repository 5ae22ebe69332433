#include "common/rewards/answer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/rewards/answer_canonical.h"
#include "common/rewards/answer_words.h"
#include "common/rewards/exact_number.h"
#include "common/rewards/latex_tokens.h"

namespace cohort {
namespace {

constexpr size_t kMaxStructuredBytes = 4000;
constexpr size_t kMaxPlainDigits = 18;

bool IsDigit(char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }

// A plain integer, the usual answer: "-0042" -> "-42".
std::optional<std::string> PlainInteger(absl::string_view text) {
  const bool negative = absl::StartsWith(text, "-");
  absl::string_view digits = text.substr(negative ? 1 : 0);
  if (digits.empty() || digits.size() > kMaxPlainDigits) return std::nullopt;
  if (!std::all_of(digits.begin(), digits.end(), IsDigit)) return std::nullopt;
  digits.remove_prefix(std::min(digits.find_first_not_of('0'), digits.size() - 1));
  return absl::StrCat(negative && digits != "0" ? "-" : "", digits);
}

// "48 m", "48 m/s^2" may be units. As an answer of its own it is a product.
bool SetUnitUpright(Tokens* tokens) {
  using Kind = Token::Kind;
  size_t at = 1;
  while (at < tokens->size() && !((*tokens)[at].kind == Kind::kLetter && (*tokens)[at].space &&
                                  (*tokens)[at - 1].kind == Kind::kNumber)) {
    ++at;
  }
  if (at >= tokens->size()) return false;
  for (size_t i = at; i < tokens->size(); ++i) {
    Token& token = (*tokens)[i];
    const bool power = token.kind == Kind::kNumber && (*tokens)[i - 1].IsSign("^");
    if (token.kind == Kind::kLetter ? !IsUnitLetter(token.text)
                                    : !power && !token.IsSign("/") && !token.IsSign("^")) {
      return false;
    }
    token.upright = true;
  }
  return true;
}

// `number`: whether it is one number; may be null.
std::string Canonical(absl::string_view answer, NameReading names, bool* number = nullptr) {
  answer = absl::StripAsciiWhitespace(answer);
  if (number != nullptr) *number = true;
  if (auto integer = PlainInteger(answer)) return *integer;
  if (answer.size() > kMaxStructuredBytes) {
    // A long spelling of a short number ("1.000...") is that number.
    const auto decimal = CanonicalDecimal(answer);
    if (decimal && decimal->size() <= kMaxStructuredBytes) return Canonical(*decimal, names);
    if (number != nullptr) *number = decimal.has_value();
    return absl::StrCat("text:", decimal ? *decimal : answer);
  }
  bool complete = true;
  const Tokens tokens = TokenizeLatex(answer, &complete);
  AlgebraBudget budget;
  AnswerReader reader(&budget, names);
  std::string text = complete ? reader.Read(tokens, 0) : absl::StrCat("text:", answer);
  if (number != nullptr) *number = complete && reader.number();
  return text;
}

// The answers of a group have one gold answer: each thread keeps its last one.
const std::string& CanonicalGold(absl::string_view gold) {
  struct Last {
    std::string gold;
    std::string text = "text:";
  };
  thread_local Last last;
  if (last.gold != gold) last = {std::string(gold), Canonical(gold, NameReading::kUsual)};
  return last.text;
}

std::string ReadTokens(const Tokens& tokens) {
  AlgebraBudget budget;
  return AnswerReader(&budget, NameReading::kUsual).Read(tokens, 0);
}

// "37 to 19" is no product of letters, whose order would not matter.
bool JoinsBareWords(const Tokens& tokens) {
  return std::any_of(tokens.begin(), tokens.end(), [](const Token& token) {
    if (!token.bare) return false;
    const WordUse use = UseOfWord(token.text);
    return use == WordUse::kTo || use == WordUse::kModulo || use == WordUse::kAnd ||
           use == WordUse::kOr || use == WordUse::kChanges || use == WordUse::kRemainder;
  });
}

// Where letters may be units, and units letters: "48 m" for 48, "6pt" for 6tp.
bool MatchesOtherwise(absl::string_view reply, absl::string_view gold, const std::string& value) {
  bool complete = true;
  Tokens tokens = TokenizeLatex(reply, &complete);
  if (!complete) return false;
  if (SetUnitUpright(&tokens)) return ReadTokens(tokens) == value;
  const Tokens golds = TokenizeLatex(gold, &complete);
  if (!complete || JoinsBareWords(tokens) || JoinsBareWords(golds)) return false;
  const auto bare = [](const Token& token) { return token.bare; };
  if (std::none_of(tokens.begin(), tokens.end(), bare) &&
      std::none_of(golds.begin(), golds.end(), bare)) {
    return false;
  }
  return ReadTokens(WithoutBareWords(tokens)) == ReadTokens(WithoutBareWords(golds));
}

}  // namespace

std::string CanonicalAnswer(absl::string_view answer) {
  return Canonical(answer, NameReading::kUsual);
}

std::optional<std::string> CanonicalNumber(absl::string_view answer) {
  bool number = false;
  std::string text = Canonical(answer, NameReading::kUsual, &number);
  return number ? std::optional<std::string>(std::move(text)) : std::nullopt;
}

bool AnswersEqual(absl::string_view a, absl::string_view b) {
  return CanonicalAnswer(a) == CanonicalAnswer(b);
}

bool AnswerMatches(absl::string_view reply, absl::string_view gold) {
  const std::string& value = CanonicalGold(gold);
  if (CanonicalAnswer(reply) == value) return true;
  if (reply.size() > kMaxStructuredBytes || gold.size() > kMaxStructuredBytes) return false;
  if (absl::StrContains(reply, "=")) {
    if (!absl::StrContains(gold, "=")) return Canonical(reply, NameReading::kDropped) == value;
    return Canonical(reply, NameReading::kEquation) == Canonical(gold, NameReading::kEquation);
  }
  return MatchesOtherwise(reply, gold, value);
}

}  // namespace cohort

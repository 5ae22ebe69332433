// Numbers with words: units, amounts, times, ratios, residues, numerals with a base.
#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/rewards/answer_canonical.h"
#include "common/rewards/answer_parts.h"
#include "common/rewards/answer_words.h"
#include "common/rewards/formula.h"

namespace cohort {
namespace {

using Kind = Token::Kind;

constexpr int kMaxNouns = 6;  // more words behind a number are a sentence
constexpr size_t kMaxBaseDigits = 100;

bool IsWord(const Token& token) { return token.kind == Kind::kWord; }

WordUse Use(const Token& token) {
  return token.kind == Kind::kWord ? UseOfWord(token.text) : WordUse::kChanges;
}

bool IsUprightUnit(const Token& token) {
  return token.kind == Kind::kLetter && token.upright && IsUnitLetter(token.text);
}

// Where words or unit letters begin behind a number; `tokens.size()` when none do.
size_t TailBegin(TokenSpan tokens) {
  int depth = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const Token& token = tokens[i];
    if (depth == 0 && i > 0) {
      if (IsWord(token) || IsUprightUnit(token)) return i;
      const Token& before = tokens[i - 1];
      const bool degree = before.IsCommand("circ") ||
                          (i >= 2 && before.IsSign("}") && tokens[i - 2].IsCommand("circ"));
      if (degree && token.kind == Kind::kLetter && absl::StrContains("CFK", token.text)) return i;
      // 5\frac{\text{m}}{\text{s}}
      if (token.IsCommand("frac") && i + 2 < tokens.size() &&
          (IsWord(tokens[i + 2]) || IsUprightUnit(tokens[i + 2]))) {
        return i;
      }
    }
    depth += BracketStep(token);
  }
  return tokens.size();
}

struct Tail {
  std::string unit;    // of the first word that is one
  int64_t factor = 1;  // of words of magnitude
  bool percent = false;
};

// What words behind a number make of it; nullopt: something else than a number of things.
std::optional<Tail> ReadTail(TokenSpan tokens, bool of_number) {
  Tail tail;
  int nouns = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const Token& token = tokens[i];
    if (token.kind == Kind::kLetter) {
      if (!IsUnitLetter(token.text)) return std::nullopt;
      if (tail.unit.empty()) tail.unit = token.text;
      continue;
    }
    if (token.kind == Kind::kNumber) {
      const bool power = i > 0 && (tokens[i - 1].IsSign("^") || tokens[i - 1].IsSign("-") ||
                                   tokens[i - 1].IsSign("{"));
      if (!power) return std::nullopt;
      continue;
    }
    if (token.kind == Kind::kCommand && token.text != "frac") return std::nullopt;
    if (token.kind != Kind::kWord) continue;
    if (absl::EqualsIgnoreCase(token.text, "per") && i + 1 < tokens.size() &&
        absl::EqualsIgnoreCase(tokens[i + 1].text, "cent") && tail.unit.empty()) {
      tail.percent = true;
      ++i;
      continue;
    }
    if (absl::EqualsIgnoreCase(token.text, "of") && !tail.unit.empty()) continue;  // pairs of shoes
    switch (UseOfWord(token.text)) {
      case WordUse::kMagnitude:
        if (!tail.unit.empty() || tail.factor > 1'000'000'000'000) return std::nullopt;
        tail.factor *= *MagnitudeOf(token.text);
        break;
      case WordUse::kPercent:
        if (!tail.unit.empty() || tail.percent) return std::nullopt;
        tail.percent = true;
        break;
      case WordUse::kNoun:
        if (!of_number) return std::nullopt;
        [[fallthrough]];
      case WordUse::kUnit:
        if (tail.unit.empty()) tail.unit = UnitName(token.text);
        if (++nouns > kMaxNouns) return std::nullopt;
        break;
      default:
        return std::nullopt;
    }
  }
  return tail;
}

bool IsModulo(const Token& token) {
  return token.IsCommand("pmod") || token.IsCommand("mod") || Use(token) == WordUse::kModulo;
}

std::optional<int> BaseNamed(const Token& token) {
  static constexpr absl::string_view kNames[] = {
      "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"};
  int base = 0;
  if (token.kind == Kind::kNumber && absl::SimpleAtoi(token.text, &base)) {
    return base >= 2 && base <= 36 ? std::optional<int>(base) : std::nullopt;
  }
  for (int i = 0; i < 11; ++i) {
    if (absl::EqualsIgnoreCase(token.text, kNames[i])) return i + 2;
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::string> AnswerReader::Formula(TokenSpan tokens, bool* constant) {
  if (auto plain = ReadPlainNumber(tokens)) {
    if (constant != nullptr) *constant = true;
    return std::move(plain->text);
  }
  Algebra algebra(budget_);
  const auto value = ParseFormula(&algebra, tokens);
  if (!value) return std::nullopt;
  if (constant != nullptr) *constant = algebra.IsConstant(*value);
  return algebra.Print(*value);
}

bool AnswerReader::IsConstant(TokenSpan tokens) {
  if (ReadPlainNumber(tokens)) return true;
  Algebra algebra(budget_);
  const auto value = ParseFormula(&algebra, tokens);
  return value && algebra.IsConstant(*value);
}

std::optional<AnswerItem> AnswerReader::Quantity(TokenSpan tokens) {
  const size_t begin = TailBegin(tokens);
  if (begin == tokens.size() || begin == 0) return std::nullopt;
  Algebra algebra(budget_);
  auto value = ParseFormula(&algebra, tokens.subspan(0, begin));
  const bool constant = value && algebra.IsConstant(*value);
  const auto tail = value ? ReadTail(tokens.subspan(begin), constant) : std::nullopt;
  // 3x\mathrm{m} is a product, 3\mathrm{m} a length.
  if (!tail || (!constant && !IsWord(tokens[begin]))) return std::nullopt;
  if (tail->factor > 1) value = algebra.Multiply(*value, Algebra::Integer(tail->factor));
  if (value && tail->percent) value = algebra.Divide(*value, Algebra::Integer(100));
  if (!value) return std::nullopt;
  AnswerItem item;
  item.text = algebra.Print(*value);
  item.unit = tail->unit;
  item.number = constant;
  return item;
}

// "6 dollars and 50 cents" is 6.50.
std::optional<std::string> AnswerReader::Money(const std::vector<std::string>& quantities) {
  if (quantities.size() != 2) return std::nullopt;
  absl::string_view dollars = quantities[0];
  absl::string_view cents = quantities[1];
  if (!absl::ConsumeSuffix(&dollars, " dollar") || !absl::ConsumeSuffix(&cents, " cent")) {
    return std::nullopt;
  }
  bool complete = true;
  return Formula(TokenizeLatex(absl::StrCat(dollars, "+", cents, "/100"), &complete));
}

// "5 feet 6 inches": number and words by turns.
std::optional<std::string> AnswerReader::Quantities(TokenSpan tokens) {
  std::vector<std::string> texts;
  while (!tokens.empty()) {
    const size_t begin = TailBegin(tokens);
    size_t end = begin;
    while (end < tokens.size() && tokens[end].kind != Kind::kNumber) ++end;
    // The 2 of cm^2 belongs to the unit.
    if (end < tokens.size() && (tokens[end - 1].IsSign("^") || tokens[end - 1].IsSign("{"))) {
      return std::nullopt;
    }
    const auto quantity = Quantity(tokens.subspan(0, end));
    if (!quantity || quantity->unit.empty()) return std::nullopt;
    texts.push_back(absl::StrCat(quantity->text, " ", quantity->unit));
    tokens.remove_prefix(end);
  }
  if (texts.size() < 2) return std::nullopt;
  if (auto money = Money(texts)) return money;
  std::sort(texts.begin(), texts.end());
  return absl::StrCat("quantities{", absl::StrJoin(texts, ";"), "}");
}

std::optional<AnswerItem> AnswerReader::WithWords(TokenSpan tokens, int depth) {
  const bool words = FindOutside(tokens, IsWord) < tokens.size();
  if (!words && TailBegin(tokens) == tokens.size()) return std::nullopt;
  AnswerItem item;
  if (words) {
    // "\text{D}", "Option D"
    const bool label = tokens.size() == 2 && IsWord(tokens[0]) && tokens[1].text.size() == 1 &&
                       (absl::EqualsIgnoreCase(tokens[0].text, "option") ||
                        absl::EqualsIgnoreCase(tokens[0].text, "choice") ||
                        absl::EqualsIgnoreCase(tokens[0].text, "answer"));
    if (label || (tokens.size() == 1 && tokens[0].text.size() == 1)) {
      Token letter = tokens.back();
      if (letter.kind == Kind::kWord) letter.kind = Kind::kLetter;
      if (auto formula = Formula({letter})) {
        item.text = *std::move(formula);
        return item;
      }
    }
    // "\text{Area: } 12"
    const size_t colon = FindOutside(tokens, [](const Token& token) { return token.IsSign(":"); });
    if (colon + 1 < tokens.size() && IsWord(tokens[0]) &&
        KindOfName(tokens.subspan(0, colon)) == NameKind::kThing) {
      return Item(TrimTokens(tokens.subspan(colon + 1)), depth);
    }
    if (auto ratio = TimeOrRatio(tokens)) {
      item.text = *std::move(ratio);
      return item;
    }
  }
  if (auto quantity = Quantity(tokens)) return quantity;
  if (!words) return std::nullopt;
  if (auto quantities = Quantities(tokens)) {
    item.text = *std::move(quantities);
    return item;
  }
  // "17 R 4"
  const size_t rest =
      FindOutside(tokens, [](const Token& token) { return Use(token) == WordUse::kRemainder; });
  if (rest > 0 && rest + 1 < tokens.size()) {
    const auto quotient = Formula(tokens.subspan(0, rest));
    const auto remainder = Formula(tokens.subspan(rest + 1));
    if (quotient && remainder) {
      item.text = absl::StrCat("quotient(", *quotient, ";", *remainder, ")");
      return item;
    }
  }
  // "USD 45"
  if (Use(tokens[0]) == WordUse::kUnit && tokens.size() > 1 && IsConstant(tokens.subspan(1))) {
    return Plain(tokens.subspan(1), depth);
  }
  if (tokens.size() > 1 && tokens.back().IsSign("!") && IsWord(tokens[tokens.size() - 2])) {
    tokens.remove_suffix(1);  // an exclamation
  }
  const std::string text = PrintTokens(tokens);
  const std::string set = NamedSet(text);
  item.text = set == "real"    ? PrintRealSet(AllReals())
              : set == "empty" ? "empty"
                               : absl::StrCat("text:", text);
  return item;
}

std::optional<std::string> AnswerReader::TimeOrRatio(TokenSpan tokens) {
  const auto parts_by = [](const Token& token) {
    return token.IsSign(":") || Use(token) == WordUse::kTo;
  };
  std::string half;
  if (!tokens.empty() && Use(tokens.back()) == WordUse::kMeridiem) {
    half = absl::AsciiStrToLower(tokens.back().text);
    tokens.remove_suffix(1);
  }
  if (half.empty() && FindOutside(tokens, parts_by) == tokens.size()) return std::nullopt;
  const std::vector<TokenSpan> parts = SplitOutside(tokens, parts_by);
  const auto number = [](TokenSpan part) {
    return part.size() == 1 && part[0].kind == Kind::kNumber;
  };
  const bool minutes = parts.size() == 2 && number(parts[1]) && parts[1][0].text.size() == 2;
  if (number(parts[0]) &&
      (half.empty() ? minutes && parts[1][0].text[0] == '0' : parts.size() == 1 || minutes)) {
    absl::string_view hours = parts[0][0].text;
    if (hours.size() > 1) absl::ConsumePrefix(&hours, "0");
    return absl::StrCat("time(", hours, ":", minutes ? parts[1][0].text : "00", " ", half, ")");
  }
  if (!half.empty()) return std::nullopt;
  std::vector<std::string> texts;
  for (const TokenSpan part : parts) {
    const auto formula = Formula(part);
    if (!formula) return std::nullopt;
    texts.push_back(*formula);
  }
  return absl::StrCat("ratio(", absl::StrJoin(texts, ";"), ")");
}

// "4 \pmod{9}", "4 (mod 9)", "x \equiv 4 \pmod 9"
std::optional<std::string> AnswerReader::Residue(TokenSpan tokens, int depth) {
  const auto found = std::find_if(tokens.begin(), tokens.end(), IsModulo);
  if (found == tokens.end() || found == tokens.begin()) return std::nullopt;
  const auto at = static_cast<size_t>(found - tokens.begin());
  const bool bracket = tokens[at - 1].IsSign("(");
  TokenSpan left = tokens.subspan(0, bracket ? at - 1 : at);
  TokenSpan right = tokens.subspan(at + 1);
  if (bracket && (right.empty() || !right.back().IsSign(")"))) return std::nullopt;
  if (bracket) right.remove_suffix(1);
  right = TrimTokens(right);
  const size_t relation = FindOutside(left, IsRelation);
  if (relation < left.size()) left.remove_prefix(relation + 1);
  if (left.empty() || right.empty()) return std::nullopt;
  const auto residue = Formula(left);
  const auto modulus = Formula(right);
  (void)depth;
  if (!residue || !modulus) return std::nullopt;
  return absl::StrCat("residue(", *residue, ";", *modulus, ")");
}

// "243_5", "(243)_{5}", "1A_{16}", "110_{\text{two}}"
std::optional<std::string> AnswerReader::BaseNumeral(TokenSpan tokens) const {
  const size_t mark = FindOutside(tokens, [](const Token& token) { return token.IsSign("_"); });
  if (mark == 0 || mark + 1 >= tokens.size()) return std::nullopt;
  TokenSpan numeral = tokens.subspan(0, mark);
  const TokenSpan base_tokens = TrimTokens(tokens.subspan(mark + 1));
  if (base_tokens.size() != 1) return std::nullopt;
  const auto base = BaseNamed(base_tokens[0]);
  const bool bracket = IsBracketed(numeral);
  if (bracket) numeral = numeral.subspan(1, numeral.size() - 2);
  if (!base || numeral.empty()) return std::nullopt;
  std::string digits;
  bool numbers = false;
  for (const Token& token : numeral) {
    const bool number = token.kind == Kind::kNumber;
    numbers |= number;
    if (!number && token.kind != Kind::kLetter && token.kind != Kind::kWord) return std::nullopt;
    absl::StrAppend(&digits, absl::AsciiStrToUpper(token.text));
  }
  if (digits.size() > kMaxBaseDigits || (!numbers && digits.size() < 2)) return std::nullopt;
  for (const char c : digits) {
    const int digit = absl::ascii_isdigit(static_cast<unsigned char>(c)) ? c - '0' : c - 'A' + 10;
    if (digit < 0 || digit >= *base) return std::nullopt;
  }
  digits.erase(0, std::min(digits.find_first_not_of('0'), digits.size() - 1));
  return absl::StrCat("numeral(", digits, ";", *base, ")");
}

}  // namespace cohort

#include "common/rewards/answer_parts.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/rewards/answer_words.h"
#include "common/rewards/latex_commands.h"

namespace cohort {
namespace {

using Kind = Token::Kind;

bool CarriesNothing(const Token& token) {
  if (token.kind != Kind::kSign) return false;
  static constexpr const char* kSigns[] = {".", ",", ";", "\\\\", "**", "\"", "`", "?"};
  return std::any_of(std::begin(kSigns), std::end(kSigns),
                     [&](const char* sign) { return token.text == sign; });
}

bool IsCapital(const Token& token) {
  return token.kind == Kind::kLetter && token.text.size() == 1 &&
         absl::ascii_isupper(static_cast<unsigned char>(token.text[0]));
}

bool AllCapitals(TokenSpan tokens) {
  return !tokens.empty() && std::all_of(tokens.begin(), tokens.end(), IsCapital);
}

// Tokens of an index or a power behind `at`: `_ {1}`, `^ 2`.
size_t SkipOperand(TokenSpan tokens, size_t at) {
  if (at >= tokens.size()) return at;
  return tokens[at].IsSign("{") ? std::min(ClosingBracket(tokens, at) + 1, tokens.size()) : at + 1;
}

// Behind a letter with its index and primes.
size_t SkipLetter(TokenSpan tokens) {
  size_t at = 1;
  if (at < tokens.size() && tokens[at].IsSign("_")) at = SkipOperand(tokens, at + 1);
  while (at < tokens.size() && tokens[at].IsSign("'")) ++at;
  return at;
}

bool IsInverse(TokenSpan operand) {
  return std::all_of(operand.begin(), operand.end(), [](const Token& token) {
    return token.IsSign("{") || token.IsSign("}") || token.IsSign("-") ||
           token.Is(Kind::kNumber, "1") || token.Is(Kind::kLetter, "T");
  });
}

bool IsArgumentOf(const Token& letter, TokenSpan inside) {
  if (absl::StrContains("fghpqrsuvFGHPQRSTUVWANLEICD", letter.text[0])) return true;
  if (letter.text.size() > 1) return true;  // \phi(12)
  return std::all_of(inside.begin(), inside.end(), [](const Token& token) {
    return token.kind == Kind::kNumber || IsCapital(token) || token.IsSign(",");
  });
}

// "dy/dx" as a fraction: { d y } { d x }, or with a power.
bool IsDerivative(TokenSpan tokens) {
  if (tokens.size() < 8 || !tokens[0].IsCommand("frac") || !tokens[1].IsSign("{")) return false;
  const size_t close = ClosingBracket(tokens, 1);
  return tokens[2].Is(Kind::kLetter, "d") && close + 2 < tokens.size() &&
         tokens[close + 1].IsSign("{") && tokens[close + 2].Is(Kind::kLetter, "d") &&
         ClosingBracket(tokens, close + 1) + 1 == tokens.size();
}

// "\text{Area of } ABC", "\triangle ABC", "m\angle A".
bool IsThing(TokenSpan tokens) {
  bool named = false;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const Token& token = tokens[i];
    if (token.kind == Kind::kWord) {
      const WordUse use = UseOfWord(token.text);
      const bool joins = token.text == "of" || token.text == "for";
      if (use != WordUse::kNoun && use != WordUse::kUnit && !joins) return false;
      named = true;
    } else if (token.IsCommand("triangle") || token.IsCommand("angle")) {
      named = true;
    } else if (token.kind != Kind::kLetter && !token.IsSign("_") && !token.IsSign("{") &&
               !token.IsSign("}")) {
      return false;
    }
  }
  return named;
}

// "12.50" as 1250 / 100; false where it has an exponent or many digits.
bool ReadDecimal(absl::string_view text, int64_t* numerator, int64_t* denominator) {
  constexpr size_t kMaxDigits = 15;
  if (text.size() > kMaxDigits || text.back() == '.') return false;
  bool decimals = false;
  for (const char c : text) {
    if (c == '.') {
      decimals = true;
    } else if (!absl::ascii_isdigit(static_cast<unsigned char>(c))) {
      return false;
    } else {
      *numerator = *numerator * 10 + (c - '0');
      if (decimals) *denominator *= 10;
    }
  }
  return true;
}

}  // namespace

std::optional<PlainNumber> ReadPlainNumber(TokenSpan tokens) {
  const bool negative = !tokens.empty() && tokens[0].IsSign("-");
  if (negative) tokens.remove_prefix(1);
  const Token* top = nullptr;
  const Token* bottom = nullptr;
  if (tokens.size() == 1 || (tokens.size() == 3 && tokens[1].IsSign("/"))) {
    top = &tokens[0];
    if (tokens.size() == 3) bottom = &tokens[2];
  } else if (tokens.size() == 7 && tokens[0].IsCommand("frac") && tokens[1].IsSign("{") &&
             tokens[3].IsSign("}") && tokens[4].IsSign("{") && tokens[6].IsSign("}")) {
    top = &tokens[2];
    bottom = &tokens[5];
  }
  if (top == nullptr || top->kind != Kind::kNumber) return std::nullopt;
  int64_t numerator = 0;
  int64_t denominator = 1;
  if (!ReadDecimal(top->text, &numerator, &denominator)) return std::nullopt;
  if (bottom != nullptr) {
    int64_t below = 0;
    int64_t scale = 1;
    if (denominator != 1 || bottom->kind != Kind::kNumber ||
        !ReadDecimal(bottom->text, &below, &scale) || scale != 1 || below == 0) {
      return std::nullopt;
    }
    denominator = below;
  }
  const int64_t common = std::gcd(numerator, denominator);
  numerator /= negative ? -common : common;
  denominator /= common;
  PlainNumber out;
  out.place = static_cast<double>(numerator) / static_cast<double>(denominator);
  out.text = denominator == 1 ? absl::StrCat(numerator) : absl::StrCat(numerator, "/", denominator);
  return out;
}

size_t ClosingBracket(TokenSpan tokens, size_t open) {
  int depth = 0;
  for (size_t i = open; i < tokens.size(); ++i) {
    depth += BracketStep(tokens[i]);
    if (depth == 0) return i;
  }
  return tokens.size();
}

bool IsBracketed(TokenSpan tokens) {
  return tokens.size() >= 2 && BracketStep(tokens[0]) == 1 &&
         ClosingBracket(tokens, 0) + 1 == tokens.size();
}

TokenSpan TrimTokens(TokenSpan tokens) {
  for (;;) {
    const size_t before = tokens.size();
    while (!tokens.empty() && CarriesNothing(tokens.back())) tokens.remove_suffix(1);
    while (!tokens.empty() && CarriesNothing(tokens.front())) tokens.remove_prefix(1);
    // "*5*"
    if (tokens.size() >= 3 && tokens.front().IsSign("*") && tokens.back().IsSign("*")) {
      tokens = tokens.subspan(1, tokens.size() - 2);
    }
    if (tokens.size() >= 2 && tokens.front().IsSign("{") && IsBracketed(tokens)) {
      tokens = tokens.subspan(1, tokens.size() - 2);
    }
    if (tokens.size() == before) return tokens;
  }
}

bool IsRelation(const Token& token) {
  if (token.kind == Kind::kSign) {
    const char first = token.text[0];
    if (first != '=' && first != '<' && first != '>' && first != '!') return false;
    return token.text == "=" || token.text == "<" || token.text == ">" || token.text == "<=" ||
           token.text == ">=" || token.text == "!=";
  }
  return token.kind == Kind::kCommand &&
         (token.text == "in" || token.text == "notin" || token.text == "equiv" ||
          token.text == "approx" || token.text == "sim" || token.text == "cong" ||
          token.text == "subset" || token.text == "subseteq");
}

NameKind KindOfName(TokenSpan tokens) {
  if (tokens.empty()) return NameKind::kNone;
  const Token& first = tokens[0];
  if (AllCapitals(tokens) && tokens.size() > 1) return NameKind::kThing;  // a segment
  if (first.kind == Kind::kLetter) {
    const bool constant = first.text == "pi" || first.text == "e" || first.text == "i";
    size_t at = SkipLetter(tokens);
    if (at == tokens.size()) return constant ? NameKind::kNone : NameKind::kLetter;
    if (tokens[at].IsSign("^")) {
      const bool inverse = IsInverse(tokens.subspan(at + 1));
      at = SkipOperand(tokens, at + 1);  // f^{-1}(x), A^{-1}
      if (at == tokens.size() && inverse && IsCapital(first)) return NameKind::kThing;
    }
    if (at < tokens.size() && tokens[at].IsSign("(") &&
        ClosingBracket(tokens, at) + 1 == tokens.size() &&
        IsArgumentOf(first, tokens.subspan(at + 1, tokens.size() - at - 2))) {
      return NameKind::kApplication;
    }
  }
  // \cos C, \tan \theta
  if (tokens.size() == 2 && first.kind == Kind::kCommand && IsFunctionName(first.text) &&
      tokens[1].kind == Kind::kLetter) {
    return NameKind::kThing;
  }
  if (tokens.size() == 3 && first.IsSign("[") && tokens[1].kind == Kind::kWord &&
      tokens[2].IsSign("]")) {
    return NameKind::kThing;  // [ABCD], an area
  }
  const bool bars = first.IsSign("|") && tokens.back().IsSign("|");
  if (tokens.size() > 3 && (bars || (first.IsSign("[") && IsBracketed(tokens))) &&
      AllCapitals(tokens.subspan(1, tokens.size() - 2))) {
    return NameKind::kThing;  // a length, an area
  }
  if (first.kind == Kind::kCommand && absl::StartsWith(first.text, "over") &&
      SkipOperand(tokens, 1) == tokens.size()) {
    return NameKind::kThing;
  }
  return IsDerivative(tokens) || IsThing(tokens) ? NameKind::kThing : NameKind::kNone;
}

bool IsTupleOfLetters(TokenSpan tokens) {
  if (!IsBracketed(tokens) || !tokens[0].IsSign("(")) return false;
  const auto parts = SplitOutside(tokens.subspan(1, tokens.size() - 2),
                                  [](const Token& token) { return token.IsSign(","); });
  return parts.size() > 1 && std::all_of(parts.begin(), parts.end(), [](TokenSpan part) {
           return KindOfName(part) == NameKind::kLetter;
         });
}

}  // namespace cohort

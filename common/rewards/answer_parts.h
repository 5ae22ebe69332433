// Parts of an answer: what stands around it, between it and before its equals sign.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/rewards/latex_tokens.h"

namespace cohort {

// Without what carries nothing at the ends: stops, row ends, emphasis, quotes, braces around all.
TokenSpan TrimTokens(TokenSpan tokens);

// Where a bracket of any kind closes; `tokens.size()` when it does not.
size_t ClosingBracket(TokenSpan tokens, size_t open);
// The bracket that opens `tokens` is closed by the last of them.
bool IsBracketed(TokenSpan tokens);

// First token outside of brackets for which `matches` holds, from `from` on; `tokens.size()`.
template <typename Matches>
size_t FindOutside(TokenSpan tokens, Matches matches, size_t from = 0) {
  int depth = 0;
  for (size_t i = from; i < tokens.size(); ++i) {
    const int step = BracketStep(tokens[i]);
    if (depth == 0 && step >= 0 && matches(tokens[i])) return i;
    depth += step;
  }
  return tokens.size();
}

// The parts between the tokens outside of brackets for which `matches` holds; their texts in
// `between`, where wanted.
template <typename Matches>
std::vector<TokenSpan> SplitOutside(TokenSpan tokens, Matches matches,
                                    std::vector<std::string>* between = nullptr) {
  std::vector<TokenSpan> parts;
  size_t begin = 0;
  for (;;) {
    const size_t at = FindOutside(tokens.subspan(begin), matches) + begin;
    parts.push_back(tokens.subspan(begin, at - begin));
    if (at >= tokens.size()) return parts;
    if (between != nullptr) between->push_back(tokens[at].text);
    begin = at + 1;
  }
}

// The usual numbers, without arithmetic of any size: "-12", "3.50", "\frac{3}{6}", "3/6" in lowest
// terms, printed as Algebra prints them. nullopt: another form, or a large one.
struct PlainNumber {
  std::string text;
  double place = 0;
};
std::optional<PlainNumber> ReadPlainNumber(TokenSpan tokens);

bool IsRelation(const Token& token);

// What kind of name stands before `=`.
enum class NameKind : uint8_t {
  kNone,
  kLetter,       // x, \theta, a_1, f'
  kApplication,  // f(3), P(A)
  kThing,        // words, segments, angles, dy/dx
};
NameKind KindOfName(TokenSpan tokens);
// "(x, y)": a bracket of letters.
bool IsTupleOfLetters(TokenSpan tokens);

}  // namespace cohort

// An answer as tokens: LaTeX or plain text without what never changes a value (styles, sizes,
// spacing, dollars, boxes). Linear in the text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace cohort {

struct Token {
  enum class Kind : uint8_t {
    kNumber,   // "12", "1234.50": digit groups joined
    kLetter,   // "x", "theta", "RR" (the real numbers)
    kWord,     // of \text{}, or known as one
    kCommand,  // "frac", "sqrt", "sin", "begin:pmatrix"; without the backslash
    kSign,     // "+", "(", "\\{", "\\\\" (a row's end), ...
  };
  Kind kind = Kind::kSign;
  std::string text;
  bool space = false;    // white space stands before it
  bool upright = false;  // a letter in \text{} or \mathrm{}
  bool bare = false;     // a word outside of \text{}: "cm" may be c times m

  bool Is(Kind of, absl::string_view what) const {
    return kind == of && text[0] == what[0] && text == what;  // most differ in their first byte
  }
  bool IsSign(absl::string_view what) const { return Is(Kind::kSign, what); }
  bool IsCommand(absl::string_view what) const { return Is(Kind::kCommand, what); }
  bool IsWord(absl::string_view what) const { return Is(Kind::kWord, what); }
};
using Tokens = std::vector<Token>;
using TokenSpan = absl::Span<const Token>;

// At most `kMaxTokens`: the rest is dropped, and `complete` false.
inline constexpr size_t kMaxTokens = 2000;
Tokens TokenizeLatex(absl::string_view text, bool* complete);

// The short ones among the words outside of \text{} that stand in a sum of products become letters.
void SplitBareWords(Tokens* tokens);

// Words outside of \text{} as products of letters.
Tokens WithoutBareWords(const Tokens& tokens);

// The change of depth that a bracket of any kind brings: 1, -1 or 0.
int BracketStep(const Token& token);

// As text that is the same for tokens that are written alike but for white space, braces around one
// token, and the case of words.
std::string PrintTokens(TokenSpan tokens);

}  // namespace cohort

// Which letters outside of \text{} are words, and how tokens are printed.
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/rewards/answer_words.h"
#include "common/rewards/latex_tokens.h"

namespace cohort {
namespace {

using Kind = Token::Kind;

void AppendLetters(const Token& word, Tokens* out) {
  for (size_t i = 0; i < word.text.size(); ++i) {
    Token letter;
    letter.kind = Kind::kLetter;
    letter.text = word.text.substr(i, 1);
    letter.space = i == 0 && word.space;
    out->push_back(std::move(letter));
  }
}

bool IsOperator(const Token& token) {
  return token.IsSign("+") || token.IsSign("-") || token.IsSign("*");
}

// Whether the short word `at` is one: "8 km" is a length, "8km + 12k" a sum of products.
bool IsWordThere(const Tokens& tokens, size_t at) {
  const Token& word = tokens[at];
  const Token* next = at + 1 < tokens.size() ? &tokens[at + 1] : nullptr;
  const Token* before = at > 0 ? &tokens[at - 1] : nullptr;
  const WordUse use = UseOfWord(word.text);
  const bool parted = (before == nullptr || word.space) && (next == nullptr || next->space);
  if (use == WordUse::kModulo) return true;
  if (use == WordUse::kAnd || use == WordUse::kOr || use == WordUse::kTo || use == WordUse::kNoun ||
      use == WordUse::kChanges) {
    return parted || (next != nullptr && next->kind == Kind::kSign && !IsOperator(*next) &&
                      !next->IsSign("^") && !next->IsSign("_") && !next->IsSign("("));
  }
  if (before == nullptr) return parted;
  if (before->kind == Kind::kLetter || IsOperator(*before) || before->IsSign("^") ||
      before->IsSign("_") ||
      (next != nullptr && (IsOperator(*next) || (next->kind == Kind::kLetter && !next->upright)))) {
    return false;
  }
  // Letters in the same sum make a product of it.
  for (size_t i = at; i-- > 0;) {
    if (tokens[i].kind == Kind::kLetter && !tokens[i].upright) return false;
    if (tokens[i].IsSign("=") || tokens[i].IsSign(",") || tokens[i].kind == Kind::kWord) break;
  }
  return true;
}

}  // namespace

void SplitBareWords(Tokens* tokens) {
  constexpr size_t kShort = 3;
  Tokens out;
  for (size_t i = 0; i < tokens->size(); ++i) {
    const Token& token = (*tokens)[i];
    if (token.bare && token.text.size() <= kShort && !IsWordThere(*tokens, i)) {
      AppendLetters(token, &out);
    } else {
      out.push_back(token);
    }
  }
  *tokens = std::move(out);
}

Tokens WithoutBareWords(const Tokens& tokens) {
  Tokens out;
  for (const Token& token : tokens) {
    if (token.bare) {
      AppendLetters(token, &out);
    } else {
      out.push_back(token);
    }
  }
  return out;
}

int BracketStep(const Token& token) {
  if (token.kind == Kind::kSign) {
    const char last = token.text.back();
    if (last == '(' || last == '[' || last == '{') return 1;
    return last == ')' || last == ']' || last == '}' ? -1 : 0;
  }
  if (token.kind != Kind::kCommand) return 0;
  switch (token.text[0]) {
    case 'b':
      return absl::StartsWith(token.text, "begin:") ? 1 : 0;
    case 'e':
      return absl::StartsWith(token.text, "end:") ? -1 : 0;
    case 'l':
      return token.text == "langle" || token.text == "lfloor" || token.text == "lceil" ? 1 : 0;
    case 'r':
      return token.text == "rangle" || token.text == "rfloor" || token.text == "rceil" ? -1 : 0;
    default:
      return 0;
  }
}

std::string PrintTokens(TokenSpan tokens) {
  const auto joins = [](char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)); };
  std::string out;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const Token& token = tokens[i];
    if (token.IsSign("{") && i + 2 < tokens.size() && tokens[i + 2].IsSign("}")) continue;
    if (token.IsSign("}") && i >= 2 && tokens[i - 2].IsSign("{")) continue;
    const bool word = token.kind == Kind::kWord || (i > 0 && tokens[i - 1].kind == Kind::kWord);
    // {1}{23} is not {12}{3}.
    if (!out.empty() && (word || (joins(out.back()) && joins(token.text[0])))) out += ' ';
    if (token.kind == Kind::kWord) {
      out += absl::AsciiStrToLower(token.text);
    } else if (token.kind == Kind::kCommand) {
      absl::StrAppend(&out, "\\", token.text, " ");
    } else {
      out += token.text;
    }
  }
  return out;
}

}  // namespace cohort

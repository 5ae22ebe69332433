#include "common/rewards/latex_tokens.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/rewards/answer_words.h"
#include "common/rewards/latex_commands.h"
#include "common/rewards/latex_unicode.h"

namespace cohort {
namespace {

using Kind = Token::Kind;

constexpr int kMaxDepth = 12;  // of styles in styles

bool IsDigit(char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }
bool IsAscii(char c) { return static_cast<unsigned char>(c) < 0x80; }
bool IsLetter(char c) { return absl::ascii_isalpha(static_cast<unsigned char>(c)); }
bool IsSpace(char c) { return absl::ascii_isspace(static_cast<unsigned char>(c)); }

size_t DigitRun(absl::string_view text) {
  return static_cast<size_t>(std::find_if_not(text.begin(), text.end(), IsDigit) - text.begin());
}

// What parts groups of three digits at the start of `text`: its bytes, 0 when nothing does.
size_t GroupMark(absl::string_view text, bool comma) {
  if (comma) {
    for (const absl::string_view mark : {"{,}", ",\\!", "\\!,", "{\\,}"}) {
      if (!absl::StartsWith(text, mark)) continue;
      size_t size = mark.size();
      while (size < text.size() && IsSpace(text[size])) ++size;
      return size;
    }
    return 0;
  }
  for (const absl::string_view mark : {"\\,", "\\;", "\\:", "\\ ", "~", " "}) {
    if (absl::StartsWith(text, mark)) return mark.size();
  }
  return 0;
}

class Tokenizer {
 public:
  bool complete = true;
  Tokens tokens;

  // `text_mode`: inside of \text{}; `upright`: of \mathrm{} and the like.
  void Read(absl::string_view text, bool text_mode, int depth) {
    for (size_t at = 0; at < text.size();) {
      if (tokens.size() >= kMaxTokens) {
        complete = false;
        return;
      }
      const absl::string_view rest = text.substr(at);
      if (IsSpace(rest[0]) || rest[0] == '~') {
        space_ = true;
        ++at;
      } else if (IsDigit(rest[0]) ||
                 (rest[0] == '.' && rest.size() > 1 && IsDigit(rest[1]) &&
                  (tokens.empty() || space_ || tokens.back().kind != Kind::kNumber))) {
        at += Number(rest);
      } else if (IsLetter(rest[0]) || !IsAscii(rest[0])) {
        at += Letters(text, at, text_mode);
      } else if (rest[0] == '\\') {
        at += Command(rest, text_mode, depth);
      } else {
        at += Sign(rest);
      }
    }
  }

 private:
  void Push(Kind kind, std::string text, bool upright = false) {
    Token token;
    token.kind = kind;
    token.space = space_;
    token.upright = upright;
    if (kind == Kind::kSign) {
      const char last = text == "{" || text == "}" ? '\0' : text.back();
      if (last == '(' || last == '[' || last == '{') ++brackets_;
      if (last == ')' || last == ']' || last == '}') --brackets_;
    }
    token.text = std::move(text);
    tokens.push_back(std::move(token));
    space_ = false;
  }

  // Joins groups of three digits: commas outside of brackets, `{,}` and spaces anywhere.
  size_t Number(absl::string_view text) {
    const size_t lead = DigitRun(text);
    std::string digits(text.substr(0, lead));
    size_t at = lead;
    // The 5 of "\log_5 125" stands for itself.
    const bool operand =
        !tokens.empty() && (tokens.back().IsSign("_") || tokens.back().IsSign("^"));
    if (lead >= 1 && lead <= 3 && text[0] != '0' && !operand) {
      const bool comma = brackets_ <= 0 || IsOneNumber(text);
      at = Groups(text, at, &digits, [&](absl::string_view rest) -> size_t {
        if (const size_t mark = GroupMark(rest, true)) return mark;
        return comma && rest[0] == ',' ? 1 : 0;
      });
      if (at == lead) {
        at = Groups(text, at, &digits,
                    [](absl::string_view rest) { return GroupMark(rest, false); });
      }
    }
    if (at + 1 < text.size() && text[at] == '.' && IsDigit(text[at + 1])) {
      const size_t decimals = DigitRun(text.substr(at + 1));
      absl::StrAppend(&digits, text.substr(at, decimals + 1));
      at += decimals + 1;
    } else if ((absl::StartsWith(text.substr(at), ".(") && at + 2 < text.size() &&
                IsDigit(text[at + 2])) ||
               absl::StartsWith(text.substr(at), ".\\overline") ||
               absl::StartsWith(text.substr(at), ".\\bar") ||
               absl::StartsWith(text.substr(at), ".\\dot")) {
      digits += '.';
      ++at;
    }
    at += Exponent(text.substr(at), &digits);
    Push(Kind::kNumber, std::move(digits));
    return at;
  }

  // "(2,420)+7": a bracket that is calculated with is no pair.
  bool IsOneNumber(absl::string_view text) const {
    const bool opened = !tokens.empty() && tokens.back().IsSign("(");
    const size_t close = text.substr(0, 64).find_first_not_of("0123456789,");
    if (!opened || close == absl::string_view::npos || text[close] != ')') return false;
    const absl::string_view after = absl::StripLeadingAsciiWhitespace(text.substr(close + 1));
    if (after.empty() || absl::StartsWith(after, "**")) return false;  // emphasis ends
    return absl::StrContains("+-*/^", after[0]);
  }

  template <typename Mark>
  static size_t Groups(absl::string_view text, size_t at, std::string* digits, Mark mark) {
    std::string joined = *digits;
    size_t end = at;
    while (end < text.size()) {
      const size_t size = mark(text.substr(end));
      const size_t run = size == 0 ? 0 : DigitRun(text.substr(end + size));
      if (run == 0) break;
      if (run != 3) return at;  // "48,250,12" is a list
      absl::StrAppend(&joined, text.substr(end + size, 3));
      end += size + 3;
    }
    if (end < text.size() && text[end] == '/') return at;  // "1 100/300"
    *digits = std::move(joined);
    return end;
  }

  // "4.8e5", "7.2E-4"; "2e+1" is a sum.
  static size_t Exponent(absl::string_view text, std::string* digits) {
    if (text.size() < 2 || (text[0] != 'e' && text[0] != 'E')) return 0;
    size_t at = 1;
    const bool sign = text[1] == '+' || text[1] == '-';
    if (sign) ++at;
    const size_t run = DigitRun(text.substr(at));
    if (run == 0 || run > 6 || (at + run < text.size() && IsLetter(text[at + run]))) return 0;
    const bool decimal = absl::StrContains(*digits, ".");
    if (text[1] == '+' && run == 1 && !decimal && text[0] == 'e') return 0;
    absl::StrAppend(digits, "e", text.substr(1, at - 1 + run));
    return at + run;
  }

  size_t Letters(absl::string_view text, size_t at, bool text_mode) {
    for (const absl::string_view half : {"a.m", "p.m"}) {  // "4:15 p.m."
      if (!absl::StartsWithIgnoreCase(text.substr(at), half)) continue;
      Push(Kind::kWord, half == "a.m" ? "am" : "pm");
      return half.size() + (at + 3 < text.size() && text[at + 3] == '.' ? 1 : 0);
    }
    size_t end = at;
    while (end < text.size() && (IsLetter(text[end]) || !IsAscii(text[end]) ||
                                 (text_mode && end > at && InWord(text, end)))) {
      ++end;
    }
    const absl::string_view run = text.substr(at, end - at);
    if (text_mode) {
      TextLetters(text, at, run);
    } else {
      MathLetters(run);
    }
    return end - at;
  }

  // The hyphen of "two-thirds", the stops of "p.m.", the apostrophe of "Ann's".
  static bool InWord(absl::string_view text, size_t i) {
    if (text[i] == '.') {
      const bool single = i < 2 || !IsLetter(text[i - 2]);
      return single &&
             (i + 1 == text.size() || IsLetter(text[i + 1]) || (i >= 2 && text[i - 2] == '.'));
    }
    return (text[i] == '-' || text[i] == '\'') && i + 1 < text.size() && IsLetter(text[i + 1]);
  }

  void TextLetters(absl::string_view text, size_t at, absl::string_view run) {
    if (run.size() == 1) {
      // "\text{x}" is a letter, "\text{ R }" a word.
      const bool alone =
          text.size() == 1 || (at > 0 && IsDigit(text[at - 1]) && at + 1 == text.size());
      return Push(alone ? Kind::kLetter : Kind::kWord, std::string(run), alone);
    }
    if (run.size() == text.size() && IsFunctionName(run)) {
      return Push(Kind::kCommand, std::string(run));
    }
    std::string word;
    for (const char c : run) {
      if (c != '.') word += c;
    }
    Push(Kind::kWord, std::move(word), true);
  }

  void MathLetters(absl::string_view run) {
    if (run.size() == 1) return Push(Kind::kLetter, std::string(run), upright_);
    const bool counted = !tokens.empty() && tokens.back().kind == Kind::kNumber;
    if (IsFunctionName(run) && !(run == "min" && counted)) {
      return Push(Kind::kCommand, std::string(run));
    }
    if (run == "pi" || run == "theta") return Push(Kind::kLetter, std::string(run));
    if (run == "inf" || run == "infinity" || run == "oo") return Push(Kind::kCommand, "infty");
    if (run.size() >= 4 || !IsAscii(run[0]) || IsKnownWord(run)) {
      Push(Kind::kWord, std::string(run));
      tokens.back().bare = IsAscii(run[0]);
      return;
    }
    for (const char c : run) Push(Kind::kLetter, std::string(1, c));
  }

  // The content of the group that `text` starts with, its bytes with braces in `size`.
  static std::optional<absl::string_view> Group(absl::string_view text, size_t* size) {
    size_t at = 0;
    while (at < text.size() && IsSpace(text[at])) ++at;
    if (at == text.size() || text[at] != '{') return std::nullopt;
    int depth = 0;
    for (size_t i = at; i < text.size(); ++i) {
      if (text[i] == '\\') {
        ++i;
      } else if (text[i] == '{') {
        ++depth;
      } else if (text[i] == '}' && --depth == 0) {
        *size = i + 1;
        return text.substr(at + 1, i - at - 1);
      }
    }
    return std::nullopt;
  }

  size_t Command(absl::string_view text, bool text_mode, int depth) {
    if (text.size() < 2) return 1;
    size_t end = 1;
    while (end < text.size() && IsLetter(text[end])) ++end;
    if (end == 1) return SignCommand(text);
    const absl::string_view name = text.substr(1, end - 1);
    size_t size = 0;
    switch (const CommandMeaning meaning = MeaningOfCommand(name); meaning.use) {
      case CommandUse::kNothing:
        if (name == "right" || name == "left") {  // "\right."
          if (end < text.size() && text[end] == '.') ++end;
        }
        return end;
      case CommandUse::kSpace:
        space_ = true;
        return end;
      case CommandUse::kDropGroup:
        space_ = true;
        return Group(text.substr(end), &size) ? end + size : end;
      case CommandUse::kText:
      case CommandUse::kStyle: {
        const auto group = Group(text.substr(end), &size);
        if (!group || depth >= kMaxDepth) return end;
        if (name == "mathbf" && *group == "R") {
          Push(Kind::kLetter, "RR");
          return end + size;
        }
        const bool upright = std::exchange(upright_, upright_ || name == "mathrm");
        Styled(*group, text.substr(end + size), meaning.use == CommandUse::kText, depth);
        upright_ = upright;
        return end + size;
      }
      case CommandUse::kBegin:
        return end + Environment(name, text.substr(end));
      case CommandUse::kBlackboard: {
        const auto group = Group(text.substr(end), &size);
        absl::string_view letter = absl::StripLeadingAsciiWhitespace(text.substr(end));
        if (!group) size = text.size() - end - letter.size() + (letter.empty() ? 0 : 1);
        letter = group ? *group : letter.substr(0, 1);
        Push(Kind::kLetter, absl::StrCat(letter, letter));
        return end + size;
      }
      case CommandUse::kSign:
        Push(Kind::kSign, meaning.name);
        return end;
      case CommandUse::kWord:
        Push(Kind::kWord, meaning.name);
        return end;
      case CommandUse::kLetter:
        Push(Kind::kLetter, std::string(name));
        return end;
      case CommandUse::kCommand:
        Push(Kind::kCommand, *meaning.name != 0 ? meaning.name : std::string(name));
        return end;
    }
    (void)text_mode;
    return end;
  }

  // \mathbf{x+1}^2 keeps its braces, \text{square cm}^2 needs none.
  void Styled(absl::string_view inside, absl::string_view after, bool text, int depth) {
    const size_t before = tokens.size();
    const bool leading = !inside.empty() && IsSpace(inside[0]);
    space_ = space_ || leading;
    // What is meant as text may be a formula in a style: \textbf{4.5}, \text{$x$}.
    Read(inside, text || IsAllLetters(inside), depth + 1);
    const bool power = !after.empty() && absl::StrContains("^_!", after[0]);
    const bool plain = std::all_of(
        tokens.begin() + static_cast<std::ptrdiff_t>(before), tokens.end(), [](const Token& token) {
          return token.kind == Kind::kWord || token.IsSign("/");  // \text{m/s}^2
        });
    if (!power || plain || tokens.size() - before < 2) return;
    Token open;
    open.text = "{";
    tokens.insert(tokens.begin() + static_cast<std::ptrdiff_t>(before), open);
    Push(Kind::kSign, "}");
  }

  static bool IsAllLetters(absl::string_view text) {
    return std::all_of(text.begin(), text.end(), IsLetter);
  }

  size_t Environment(absl::string_view command, absl::string_view text) {
    size_t size = 0;
    const auto group = Group(text, &size);
    std::string name = group ? std::string(*group) : std::string();
    name.erase(std::remove(name.begin(), name.end(), '*'), name.end());
    size_t columns = 0;
    if (command == "begin" && (name == "array" || name == "tabular") &&
        Group(text.substr(size), &columns)) {
      size += columns;
    }
    Push(Kind::kCommand, absl::StrCat(command, ":", name));
    return size;
  }

  size_t SignCommand(absl::string_view text) {
    const char c = text[1];
    if (c == '\\') {
      Push(Kind::kSign, "\\\\");
      // "\\[4pt]"
      const size_t close = text.substr(0, 16).find(']');
      if (text.size() > 2 && text[2] == '[' && close != absl::string_view::npos &&
          IsLetter(text[close - 1])) {
        return close + 1;
      }
      return 2;
    }
    if (absl::StrContains("{}", c)) {
      Push(Kind::kSign, std::string(text.substr(0, 2)));
    } else if (c == '&') {
      Push(Kind::kWord, "and");
    } else if (c == '%' || c == '_' || c == '#') {
      Push(Kind::kSign, std::string(1, c));
    } else if (c == '|') {
      Push(Kind::kSign, "|");
    } else {
      space_ = space_ || c != '!';  // spacing, \( \) \[ \] and \$
    }
    return 2;
  }

  size_t Sign(absl::string_view text) {
    if (text[0] == '$') return 1;
    if (absl::StartsWith(text, "{,}")) {
      Push(Kind::kSign, ",");
      return 3;
    }
    if (absl::StartsWith(text, "{:}")) {
      Push(Kind::kSign, ":");
      return 3;
    }
    if (absl::StartsWith(text, "<=") || absl::StartsWith(text, ">=")) {
      Push(Kind::kSign, text[0] == '<' ? "<=" : ">=");
      return 2;
    }
    if (absl::StartsWith(text, "==")) {
      Push(Kind::kSign, "=");
      return 2;
    }
    // "5!=120" is a factorial, "x!=5" an inequality.
    const bool counted =
        !tokens.empty() && (tokens.back().kind == Kind::kNumber || tokens.back().IsSign(")"));
    if (absl::StartsWith(text, "!=") && !counted) {
      Push(Kind::kSign, "!=");
      return 2;
    }
    if (absl::StartsWith(text, "**")) {
      Push(Kind::kSign, "**");
      return 2;
    }
    Push(Kind::kSign, std::string(1, text[0]));
    return 1;
  }

  bool space_ = false;
  bool upright_ = false;
  int brackets_ = 0;
};

}  // namespace

Tokens TokenizeLatex(absl::string_view text, bool* complete) {
  Tokenizer tokenizer;
  tokenizer.tokens.reserve(std::min<size_t>(text.size(), 64));
  if (std::all_of(text.begin(), text.end(), IsAscii)) {
    tokenizer.Read(text, false, 0);
  } else {
    tokenizer.Read(UnicodeToLatex(text), false, 0);
  }
  *complete = tokenizer.complete;
  if (std::any_of(tokenizer.tokens.begin(), tokenizer.tokens.end(),
                  [](const Token& token) { return token.bare; })) {
    SplitBareWords(&tokenizer.tokens);
  }
  return std::move(tokenizer.tokens);
}

}  // namespace cohort

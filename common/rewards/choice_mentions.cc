#include "common/rewards/choice_mentions.h"

#include <algorithm>
#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "common/rewards/plain_text.h"

namespace cohort {
namespace {

constexpr size_t npos = absl::string_view::npos;

bool IsAlnum(char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)); }
bool IsLower(char c) { return absl::ascii_islower(static_cast<unsigned char>(c)); }

// The label stands at `at`, not as a part of a word. A small letter only in brackets.
bool LabelAt(absl::string_view text, size_t at, const std::string& label) {
  const absl::string_view found = text.substr(at, label.size());
  if (label.empty() || !absl::EqualsIgnoreCase(found, label)) return false;
  const size_t end = at + label.size();
  // Other scripts write no space before it: "答案是E".
  if (at > 0 && (IsAlnum(text[at - 1]) || text[at - 1] == '\'' || text[at - 1] == '\\'))
    return false;
  if (end < text.size() && (IsAlnum(text[end]) || text[end] == '\'')) return false;
  const bool bracket = at > 0 && (text[at - 1] == '(' || text[at - 1] == '[') &&
                       end < text.size() && (text[end] == ')' || text[end] == ']');
  const bool alone = at == 0 && (end == text.size() || text[end] == ')');
  return found == label || bracket || alone;
}

// "A city", "I think": a word, not a letter.
bool IsWordOfASentence(absl::string_view text, const Mention& mention) {
  const absl::string_view label = text.substr(mention.begin, mention.end - mention.begin);
  if (label != "A" && label != "I") return false;
  for (const absl::string_view join : {" and ", " or ", "oth "}) {
    if (absl::EndsWith(text.substr(0, mention.begin), join)) return false;
  }
  absl::string_view rest = text.substr(mention.end);
  if (!absl::ConsumePrefix(&rest, " ") || rest.empty() || !IsWordPart(rest[0])) return false;
  for (const absl::string_view verb :
       {"is ", "was ", "or ", "and ", "because", "since", "seems", "would", "must", "should",
        "fits", "as ", "are ", "were ", "has ", "can ", "could", "will", "looks"}) {
    if (absl::StartsWithIgnoreCase(rest, verb)) return false;
  }
  return IsLower(rest[0]) || label == "A";
}

bool TextAt(absl::string_view text, size_t at, const std::string& choice) {
  if (choice.empty() || !absl::EqualsIgnoreCase(text.substr(at, choice.size()), choice))
    return false;
  const size_t end = at + choice.size();
  const bool left = at == 0 || !IsAlnum(text[at - 1]) || !IsAlnum(choice.front());
  const bool right = end >= text.size() || !IsAlnum(text[end]) || !IsAlnum(choice.back());
  // "3" is not named by "3.5", "-3" or "3/4".
  const bool number = absl::ascii_isdigit(static_cast<unsigned char>(choice.back())) &&
                      end + 1 < text.size() && absl::StrContains(".,/^", text[end]) &&
                      absl::ascii_isdigit(static_cast<unsigned char>(text[end + 1]));
  const bool signed_number = at > 0 && absl::StrContains("-./", text[at - 1]) &&
                             absl::ascii_isdigit(static_cast<unsigned char>(choice.front()));
  return left && right && !number && !signed_number;
}

constexpr std::array<absl::string_view, 40> kDenials = {
    "not",         "isn't",   "isnt",         "aren't",   "wasn't",    "cannot",     "can't",
    "doesn't",     "neither", "nor",          "never",    "incorrect", "wrong",      "false",
    "except",      "unlike",  "excluded",     "exclude",  "eliminate", "eliminated", "ruled",
    "no",          "ni",      "non",          "pas",      "nicht",     "kein",       "keine",
    "n\u00e3o",    "falsch",  "\u043d\u0435", "nie",      "niet",      "falso",      "falsa",
    "rather than", "all but", "anything but", "rule out", "ruling out"};
constexpr std::array<absl::string_view, 4> kDenialCharacters = {"\u4e0d\u662f", "\u4e0d\u5bf9",
                                                                "\u975e", "\u306a\u3044"};

}  // namespace

std::string Bare(absl::string_view text) {
  std::string bare = absl::StrReplaceAll(PlainText(text), {{"\\text{", "{"},
                                                           {"\\textbf{", "{"},
                                                           {"\\mathrm{", "{"},
                                                           {"\\mathbf{", "{"},
                                                           {"\\textit{", "{"},
                                                           {"\\mathit{", "{"},
                                                           {"\\boldsymbol{", "{"},
                                                           {"\\boxed{", "{"},
                                                           {"\\mbox{", "{"},
                                                           {"\\bf ", ""},
                                                           {"\\rm ", ""},
                                                           {"\\(", ""},
                                                           {"\\)", ""},
                                                           {"\\,", " "},
                                                           {"\\ ", " "},
                                                           {"~", " "},
                                                           {"**", ""},
                                                           {"__", ""},
                                                           {"`", ""},
                                                           {"$", ""}});
  // Braces that only carried a command's text.
  if (!absl::StrContains(bare, '\\') && !absl::StrContains(bare, '^') &&
      !absl::StrContains(bare, '_')) {
    bare = absl::StrReplaceAll(bare, {{"{", ""}, {"}", ""}});
  }
  absl::RemoveExtraAsciiWhitespace(&bare);
  return bare;
}

absl::string_view StripStops(absl::string_view text) {
  absl::ConsumeSuffix(&text, ".");
  for (const absl::string_view copula : {"\u3067\u3059", "\u3060"})
    absl::ConsumeSuffix(&text, copula);
  while (!text.empty() && absl::StrContains(".,;:!?*\"' ", text.back())) text.remove_suffix(1);
  while (!text.empty() && absl::StrContains("*\"' ", text.front())) text.remove_prefix(1);
  return text;
}

bool IsWordPart(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return IsAlnum(c) || (byte >= 0x80 && byte < 0xE3);
}

std::vector<Mention> Mentions(absl::string_view text, const std::vector<Choice>& choices,
                              const std::vector<std::string>& texts) {
  std::vector<Mention> mentions;
  for (size_t at = 0; at < text.size();) {
    Mention best;
    for (size_t c = 0; c < choices.size(); ++c) {
      if (TextAt(text, at, texts[c]) && texts[c].size() > best.end - best.begin) {
        best = {c, at, at + texts[c].size(), true};
      }
    }
    for (size_t c = 0; c < choices.size() && best.end == best.begin; ++c) {
      if (!LabelAt(text, at, choices[c].label)) continue;
      best = {c, at, at + choices[c].label.size(), false};
      if (IsWordOfASentence(text, best)) best = {};
    }
    if (best.end > best.begin) mentions.push_back(best);
    at = best.end > best.begin ? best.end : at + 1;
  }
  return mentions;
}

bool HasWord(absl::string_view text, absl::string_view word) {
  for (size_t at = 0; at + word.size() <= text.size(); ++at) {
    if (!absl::EqualsIgnoreCase(text.substr(at, word.size()), word)) continue;
    const size_t end = at + word.size();
    if ((at == 0 || !IsWordPart(text[at - 1])) && (end == text.size() || !IsWordPart(text[end]))) {
      return true;
    }
  }
  return false;
}

bool Denies(absl::string_view text) {
  return std::any_of(kDenials.begin(), kDenials.end(),
                     [&](absl::string_view word) { return HasWord(text, word); }) ||
         std::any_of(kDenialCharacters.begin(), kDenialCharacters.end(),
                     [&](absl::string_view word) { return absl::StrContains(text, word); });
}

absl::string_view WithoutContrast(absl::string_view text) {
  for (const absl::string_view word : {", not ", " rather than ", " instead of ", " and not "}) {
    const size_t at = text.find(word);
    if (at != npos && at > 0) text = text.substr(0, at);
  }
  return text;
}

}  // namespace cohort

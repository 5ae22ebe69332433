#include "common/rewards/choice.h"

#include <algorithm>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "common/rewards/choice_mentions.h"
#include "common/rewards/reply.h"

namespace cohort {
namespace {

constexpr size_t kWindow = 1 << 16;  // bytes from the end: a choice is named near it
constexpr size_t kStatement = 400;   // bytes of a sentence that are looked at
constexpr size_t kWhole = 3200;      // bytes of a reply that is nothing but a choice
constexpr size_t kMostCues = 16;
constexpr size_t npos = absl::string_view::npos;

enum class Naming { kNothing, kChoice, kConflict };
struct Named {
  Naming naming = Naming::kNothing;
  size_t choice = 0;
};

class Finder {
 public:
  explicit Finder(const std::vector<Choice>& choices) : choices_(choices) {
    for (const Choice& choice : choices) texts_.push_back(Bare(choice.text));
  }

  // Nothing but a choice: its text, its label, or both.
  Named Whole(absl::string_view raw) const {
    const std::string bare = Bare(WithoutContrast(raw));
    absl::string_view text = StripStops(bare);
    if (const auto same = SameText(text)) return {Naming::kChoice, *same};
    text = SkipNoun(text);
    if (const auto same = SameText(text)) return {Naming::kChoice, *same};
    for (size_t c = 0; c < choices_.size(); ++c) {
      if (const auto rest = AfterLabel(text, choices_[c].label)) return Labelled(c, *rest);
    }
    return {};
  }

  // The choice that a sentence names.
  Named Sentence(absl::string_view text, bool announced) const {
    const absl::string_view sentence = WithoutContrast(text);
    if (const Named whole = Whole(sentence); whole.naming != Naming::kNothing) return whole;
    const std::string bare = Bare(sentence);
    const std::vector<Mention> mentions = Mentions(bare, choices_, texts_);
    if (mentions.empty()) return {};
    std::set<size_t> named;
    for (const Mention& mention : mentions) named.insert(mention.choice);
    std::string rest = bare;  // without the choices, whose own words deny nothing
    for (auto m = mentions.rbegin(); m != mentions.rend(); ++m)
      rest.erase(m->begin, m->end - m->begin);
    if (named.size() > 1 || Denies(rest)) return {Naming::kConflict, 0};
    const bool ends = std::any_of(mentions.begin(), mentions.end(), [&](const Mention& mention) {
      return StripStops(absl::string_view(bare).substr(mention.end)).find_first_not_of(")]") ==
             npos;
    });
    if (ends || announced || (Judges(rest) && !mentions[0].by_text)) {
      return {Naming::kChoice, mentions[0].choice};
    }
    return {};
  }

 private:
  std::optional<size_t> SameText(absl::string_view text) const {
    for (size_t c = 0; c < texts_.size(); ++c) {
      if (!texts_[c].empty() && (absl::EqualsIgnoreCase(texts_[c], text) ||
                                 absl::EqualsIgnoreCase(StripStops(texts_[c]), text))) {
        return c;
      }
    }
    return std::nullopt;
  }

  static absl::string_view SkipNoun(absl::string_view text) {
    for (const absl::string_view noun : {"the ", "option", "choice", "answer", "letter"}) {
      if (!absl::StartsWithIgnoreCase(text, noun)) continue;
      absl::string_view rest = text.substr(noun.size());
      if (noun.back() != ' ' && !rest.empty() && !absl::StrContains(" :(", rest[0])) continue;
      while (!rest.empty() && absl::StrContains(" :", rest[0])) rest.remove_prefix(1);
      if (!rest.empty()) text = rest;
    }
    return text;
  }

  // What follows a label at the start of a text: "" for "C", ")" for "(c)", ". Paris" for "C.
  // Paris".
  static std::optional<absl::string_view> AfterLabel(absl::string_view text,
                                                     const std::string& label) {
    const bool bracket = absl::ConsumePrefix(&text, "(") || absl::ConsumePrefix(&text, "[");
    if (label.empty() || !absl::StartsWithIgnoreCase(text, label)) return std::nullopt;
    const bool exact = absl::StartsWith(text, label);
    text.remove_prefix(label.size());
    const bool closed = !text.empty() && (text[0] == ')' || text[0] == ']');
    if (bracket && !closed) return std::nullopt;
    if (!exact && !closed && !text.empty()) return std::nullopt;  // "a cat"
    if (!closed && !text.empty() && IsWordPart(text[0])) return std::nullopt;
    if (!closed && !text.empty() && text[0] == '\'') return std::nullopt;
    return text;
  }

  // "C" and what stands behind it: its own text, or a separator and text without another label.
  Named Labelled(size_t choice, absl::string_view rest) const {
    const bool parted = !rest.empty() && absl::StrContains(".:)]-,=", StripSpaces(rest)[0]);
    absl::string_view text = rest;
    while (!text.empty() && absl::StrContains(" .:)]-=", text[0])) text.remove_prefix(1);
    text = StripStops(text);
    if (text.empty()) return {Naming::kChoice, choice};
    if (const auto same = SameText(text)) {
      return *same == choice ? Named{Naming::kChoice, choice} : Named{Naming::kConflict, 0};
    }
    if (!parted) return {};
    for (const Mention& mention : Mentions(text, choices_, texts_)) {
      if (mention.choice != choice) return {Naming::kConflict, 0};
    }
    return Denies(text) ? Named{Naming::kConflict, 0} : Named{Naming::kChoice, choice};
  }

  static absl::string_view StripSpaces(absl::string_view text) {
    const absl::string_view stripped = absl::StripLeadingAsciiWhitespace(text);
    return stripped.empty() ? absl::string_view(" ") : stripped;
  }

  static bool Judges(absl::string_view text) {
    for (const absl::string_view word : {"correct", "right", "answer", "option", "choice", "choose",
                                         "pick", "select", "go with", "best", "true"}) {
      if (HasWord(text, word)) return true;
    }
    return false;
  }

  const std::vector<Choice>& choices_;
  std::vector<std::string> texts_;
};

// The sentence that begins at `begin`: up to a line's end, or a stop that white space follows.
absl::string_view SentenceAt(absl::string_view text, size_t begin) {
  size_t end = begin;
  while (end < text.size() && end - begin < kStatement && text[end] != '\n') {
    const bool stop = absl::StrContains(".!?", text[end]) && end + 1 < text.size() &&
                      text[end + 1] == ' ' && end > begin + 2;
    const bool wide = absl::StartsWith(text.substr(end), "\u3002");
    end += wide ? 3 : 1;
    if (stop || wide) break;
  }
  return text.substr(begin, end - begin);
}

// Skips "is", "is:", ":", "would be", "=" and the like between "answer" and what it is; "" when
// none of them stands there, as in "answers".
absl::string_view SkipLinkWords(absl::string_view text) {
  const absl::string_view whole = text;
  for (int i = 0; i < 12; ++i) {
    const size_t before = text.size();
    while (!text.empty() && absl::StrContains(" *\n\t", text[0])) text.remove_prefix(1);
    for (const absl::string_view word :
         {"is ",     "is:",        "is\n",  "is(",      "be ",     "should ",
          "would ",  "must ",      "will ", "to be ",   "choice ", "option ",
          "letter ", "therefore ", "thus ", "clearly ", "indeed ", "probably ",
          "then ",   ":",          "=",     "\uff1a",   "\u662f",  "\u306f",
          "es ",     "est ",       "ist ",  "\u00e8 ",  "\u00e9 "}) {
      if (!absl::StartsWithIgnoreCase(text, word)) continue;
      text.remove_prefix(word.back() == '(' ? word.size() - 1 : word.size());
      break;
    }
    if (text.size() == before) break;
  }
  return text.size() == whole.size() ? absl::string_view() : text;
}

// Where words that announce an answer end, from the last one backwards.
std::vector<size_t> CueEnds(absl::string_view text) {
  std::vector<size_t> ends;
  for (const absl::string_view cue :
       {"nswer", "respuesta", "r\u00e9ponse", "ntwort", "\u7b54\u6848", "\u7b54\u3048",
        "\u043e\u0442\u0432\u0435\u0442", "orrect option", "orrect choice", "ight option",
        "ight choice", "I choose", "I pick", "go with", "NSWER"}) {
    size_t at = text.rfind(cue);
    for (size_t k = 0; at != npos && k < kMostCues; ++k) {
      ends.push_back(at + cue.size());
      at = at == 0 ? npos : text.rfind(cue, at - 1);
    }
  }
  std::sort(ends.rbegin(), ends.rend());
  if (ends.size() > kMostCues) ends.resize(kMostCues);
  return ends;
}

bool TakesBack(absl::string_view sentence) {
  for (const absl::string_view word :
       {"wait", "actually", "sorry", "correction", "instead", "scratch that", "mistake", "I mean",
        "no,", "rather", "on second thought", "reconsider", "changed my mind"}) {
    if (absl::EqualsIgnoreCase(sentence.substr(0, word.size()), word)) return true;
    if (word.size() > 3 && HasWord(sentence, word)) return true;
  }
  return false;
}

// A later sentence that moves on to another choice; kNothing: none does.
Named Retraction(absl::string_view rest, const Finder& finder, size_t choice) {
  for (size_t at = 0; at < rest.size();) {
    const absl::string_view sentence = SentenceAt(rest, at);
    at += std::max<size_t>(sentence.size(), 1);
    const absl::string_view trimmed = absl::StripAsciiWhitespace(sentence);
    if (trimmed.empty() || !TakesBack(trimmed)) continue;
    const Named named = finder.Sentence(trimmed, true);
    if (named.naming == Naming::kConflict) return named;
    if (named.naming == Naming::kChoice && named.choice != choice) return named;
  }
  return {};
}

Named Announced(absl::string_view text, const Finder& finder) {
  for (const size_t end : CueEnds(text)) {
    const absl::string_view after = SkipLinkWords(text.substr(end, kStatement));
    if (after.empty()) continue;
    const size_t begin = end + (std::min(text.size() - end, kStatement) - after.size());
    const absl::string_view sentence = SentenceAt(text, begin);
    // "The answer depends on B" announces nothing: the choice must follow at once. "The answer is
    // a" was cut off at an article; "Answer: a" is a letter.
    const absl::string_view word = StripStops(absl::StripAsciiWhitespace(sentence));
    if (word == "a" &&
        !absl::EndsWith(absl::StripTrailingAsciiWhitespace(text.substr(0, begin)), ":")) {
      continue;
    }
    Named named = finder.Whole(sentence);
    if (named.naming == Naming::kNothing) {
      const bool denied = Denies(sentence.substr(0, 24));
      const Named loose = finder.Sentence(sentence, false);
      if (loose.naming == Naming::kConflict) named = loose;
      if (loose.naming == Naming::kChoice && !denied) named = loose;
    }
    if (named.naming == Naming::kNothing) continue;
    if (named.naming == Naming::kConflict) return named;
    const Named later = Retraction(text.substr(begin + sentence.size()), finder, named.choice);
    return later.naming == Naming::kNothing ? named : Named{Naming::kConflict, 0};
  }
  return {};
}

// The last sentence of the last line that names a choice.
Named OfLastLine(absl::string_view text, const Finder& finder) {
  const absl::string_view line = LastLine(text);
  if (line.size() <= kWhole) {
    if (const Named whole = finder.Whole(line); whole.naming != Naming::kNothing) return whole;
  }
  std::vector<absl::string_view> sentences;
  for (size_t at = 0; at < line.size();) {
    const absl::string_view sentence = SentenceAt(line, at);
    at += std::max<size_t>(sentence.size(), 1);
    sentences.push_back(absl::StripAsciiWhitespace(sentence));
  }
  const size_t first = sentences.size() > 16 ? sentences.size() - 16 : 0;
  for (size_t i = sentences.size(); i-- > first;) {
    const Named named = finder.Sentence(sentences[i], false);
    if (named.naming != Naming::kNothing) return named;
  }
  return {};
}

std::optional<size_t> ToChoice(const Named& named) {
  return named.naming == Naming::kChoice ? std::optional<size_t>(named.choice) : std::nullopt;
}

}  // namespace

std::vector<Choice> LetterChoices(char last) {
  std::vector<Choice> choices;
  for (char letter = 'A'; letter <= last; ++letter) choices.push_back({std::string(1, letter), ""});
  return choices;
}

std::optional<size_t> ChoiceOf(absl::string_view text, const std::vector<Choice>& choices) {
  return ToChoice(Finder(choices).Whole(text.substr(0, kWhole)));
}

std::optional<size_t> FindChoice(absl::string_view completion, const std::vector<Choice>& choices) {
  const Finder finder(choices);
  const Reply reply = FindReply(completion);
  if (reply.place == ReplyPlace::kBox || reply.place == ReplyPlace::kTag) {
    const absl::string_view text = absl::string_view(reply.text).substr(0, kWhole);
    const Named whole = finder.Whole(text);
    return ToChoice(whole.naming == Naming::kNothing ? finder.Sentence(text, false) : whole);
  }
  if (completion.size() > kWindow) completion.remove_prefix(completion.size() - kWindow);
  const Named announced = Announced(completion, finder);
  if (announced.naming != Naming::kNothing) return ToChoice(announced);
  return ToChoice(OfLastLine(completion, finder));
}

}  // namespace cohort

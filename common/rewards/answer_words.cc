#include "common/rewards/answer_words.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace cohort {
namespace {

using Words = absl::string_view;

constexpr Words kAnd[] = {"and", "und", "et", "e", "y", "и", "和", "及", "与", "以及", "と"};
constexpr Words kOr[] = {"or", "oder", "ou", "o", "u", "или", "或", "或者", "または"};
constexpr Words kTo[] = {"to", "zu"};
constexpr Words kModulo[] = {"mod", "modulo"};
constexpr Words kRemainder[] = {"r", "remainder", "rem", "rest"};
constexpr Words kMeridiem[] = {"am", "pm"};
constexpr Words kPercent[] = {"percent", "prozent", "pct", "процентов"};

constexpr std::pair<Words, int64_t> kMagnitudes[] = {
    {"hundred", 100},
    {"thousand", 1000},
    {"million", 1'000'000},
    {"millions", 1'000'000},
    {"millionen", 1'000'000},
    {"millones", 1'000'000},
    {"milliard", 1'000'000'000},
    {"milliarde", 1'000'000'000},
    {"milliarden", 1'000'000'000},
    {"billion", 1'000'000'000},
    {"billions", 1'000'000'000},
    {"trillion", 1'000'000'000'000},
    {"trillions", 1'000'000'000'000},
    {"thousands", 1000},
    {"hundreds", 100},
    {"tausend", 1000},
    {"mille", 1000},
    {"mil", 1000},
    {"lakh", 100'000},
    {"crore", 10'000'000},
    {"dozen", 12},
    {"dozens", 12},
    {"dutzend", 12},
    {"тысяч", 1000},
    {"миллион", 1'000'000},
    {"миллионов", 1'000'000},
    {"百万", 1'000'000},
    {"千万", 10'000'000},
    {"万", 10'000},
    {"萬", 10'000},
    {"億", 100'000'000},
    {"亿", 100'000'000},
    {"千", 1000},
    {"百", 100},
};

constexpr Words kChanges[] = {
    "about",    "above",      "all",         "almost",    "any",       "approximately",
    "are",      "aren't",     "around",      "as",        "at",        "base",
    "because",  "below",      "beneath",     "better",    "between",   "beyond",
    "both",     "but",        "by",          "can",       "cannot",    "cubed",
    "divided",  "divides",    "does",        "doubled",   "eighths",   "either",
    "equals",   "even",       "except",      "factorial", "false",     "fewer",
    "fifth",    "fifths",     "fold",        "for",       "fourths",   "fraction",
    "from",     "greater",    "half",        "halves",    "hundredth", "hundredths",
    "if",       "impossible", "incorrect",   "into",      "is",        "isn't",
    "kein",     "least",      "less",        "maximum",   "may",       "maybe",
    "mehr",     "mindestens", "minimum",     "minus",     "moins",     "more",
    "most",     "multiplied", "nearly",      "negative",  "neither",   "nicht",
    "ninths",   "no",         "none",        "nor",       "not",       "odd",
    "of",       "off",        "ones",        "otherwise", "out",       "over",
    "pas",      "past",       "percentile",  "plus",      "possibly",  "prime",
    "quarter",  "quarters",   "ratio",       "roughly",   "rounded",   "same",
    "sevenths", "should",     "since",       "sixths",    "smaller",   "squared",
    "tens",     "tenth",      "tenths",      "than",      "that",      "then",
    "third",    "thirds",     "thousandths", "through",   "times",     "too",
    "true",     "twelfths",   "twice",       "undefined", "under",     "unless",
    "until",    "up",         "upto",        "versus",    "vs",        "was",
    "weniger",  "when",       "where",       "which",     "while",     "will",
    "with",     "without",    "worse",       "would",     "wrong",     "不",
    "不是",     "以上",       "以下",        "大约",      "左右",      "约",
};

// Units of at most three letters, and names of one unit.
constexpr std::pair<Words, Words> kUnits[] = {

    {"au", ""},
    {"bit", ""},
    {"c", ""},
    {"cc", ""},
    {"cl", ""},
    {"cm", "centimeter"},
    {"cms", "centimeter"},
    {"day", ""},
    {"days", "day"},
    {"db", ""},
    {"deg", "degree"},
    {"dm", ""},
    {"eur", ""},
    {"ev", ""},
    {"feet", "foot"},
    {"foot", ""},
    {"ft", "foot"},
    {"gal", ""},
    {"gb", ""},
    {"gm", "gram"},
    {"h", "hour"},
    {"g", "gram"},
    {"l", "liter"},
    {"m", "meter"},
    {"s", "second"},
    {"ha", ""},
    {"hour", ""},
    {"hours", "hour"},
    {"hr", "hour"},
    {"hrs", "hour"},
    {"hz", ""},
    {"in", "inch"},
    {"inch", ""},
    {"inches", "inch"},
    {"kb", ""},
    {"kg", "kilogram"},
    {"kgs", "kilogram"},
    {"kj", ""},
    {"km", "kilometer"},
    {"kmh", ""},
    {"kms", "kilometer"},
    {"kph", ""},
    {"kw", ""},
    {"kwh", ""},
    {"lb", "pound"},
    {"lbs", "pound"},
    {"mb", ""},
    {"mg", ""},
    {"mi", "mile"},
    {"min", "minute"},
    {"mins", "minute"},
    {"minute", ""},
    {"minutes", "minute"},
    {"ml", ""},
    {"mm", ""},
    {"mol", ""},
    {"mph", ""},
    {"ms", ""},
    {"nm", ""},
    {"oz", "ounce"},
    {"pa", ""},
    {"pt", ""},
    {"rad", ""},
    {"sec", "second"},
    {"secs", "second"},
    {"second", ""},
    {"seconds", "second"},
    {"sq", ""},
    {"usd", ""},
    {"yd", "yard"},
    {"yds", "yard"},
    {"yr", "year"},
    {"yrs", "year"},
};

// Short words that stand alone.
constexpr Words kShortWords[] = {
    "all", "any", "are", "bit", "box", "boy", "but", "car", "cat", "dog",  "for", "fri",
    "few", "he",  "is",  "it",  "mon", "neg", "no",  "nor", "not", "odd",  "off", "old",
    "on",  "one", "red", "sat", "six", "sun", "ten", "the", "tie", "too",  "top", "two",
    "up",  "us",  "via", "wed", "yes", "pos", "man", "low", "new", "big",  "hot", "dry",
    "wet", "win", "tue", "thu", "may", "jun", "jul", "aug", "sep", "oct",  "nov", "dec",
    "jan", "feb", "mar", "apr", "ann", "bob", "tom", "sam", "joe", "dan",  "amy", "eve",
    "max", "mia", "zoe", "kim", "ben", "tim", "jim", "ray", "sue", "ivy",  "leo", "dna",
    "ate", "day", "hen", "pig", "cow", "ant", "bee", "if",  "of",  "than",
};

template <typename Table>
bool Holds(const Table& table, absl::string_view word) {
  return std::find(std::begin(table), std::end(table), word) != std::end(table);
}

template <typename Table>
const auto* Entry(const Table& table, absl::string_view word) {
  const auto* const found = std::find_if(std::begin(table), std::end(table),
                                         [&](const auto& entry) { return entry.first == word; });
  return found == std::end(table) ? nullptr : found;
}

}  // namespace

WordUse UseOfWord(absl::string_view text) {
  const std::string word = absl::AsciiStrToLower(text);
  // "e", "y" and "o" join; "E" is a label.
  const absl::string_view joining = text.size() == 1 ? text : absl::string_view(word);
  if (Holds(kAnd, joining)) return WordUse::kAnd;
  if (Holds(kOr, joining)) return WordUse::kOr;
  if (Holds(kTo, word)) return WordUse::kTo;
  if (Holds(kPercent, word)) return WordUse::kPercent;
  if (Holds(kMeridiem, word)) return WordUse::kMeridiem;
  if (Holds(kModulo, word)) return WordUse::kModulo;
  if (Holds(kRemainder, word)) return WordUse::kRemainder;
  if (MagnitudeOf(word)) return WordUse::kMagnitude;
  if (Holds(kChanges, word)) return WordUse::kChanges;
  return Entry(kUnits, word) != nullptr ? WordUse::kUnit : WordUse::kNoun;
}

bool IsKnownWord(absl::string_view text) {
  const std::string word = absl::AsciiStrToLower(text);
  // A capital letter in the middle is a product or a segment: "cM", "AB".
  if (text.size() > 1 && absl::ascii_isupper(static_cast<unsigned char>(text[1])) &&
      !Holds(kShortWords, word)) {
    return word == "kg" || word == "mph" || word == "pm" || word == "am" || word == "usd";
  }
  if (word.size() < 2) return false;
  return Holds(kShortWords, word) || Holds(kAnd, word) || Holds(kOr, word) || Holds(kTo, word) ||
         Holds(kModulo, word) || Holds(kMeridiem, word) || Entry(kUnits, word) != nullptr ||
         word == "per" || word == "pct" || word == "mil";
}

std::optional<int64_t> MagnitudeOf(absl::string_view text) {
  const std::string word = absl::AsciiStrToLower(text);
  if (const auto* entry = Entry(kMagnitudes, word)) return entry->second;
  if (word.empty() || static_cast<unsigned char>(word[0]) < 0xE0) return std::nullopt;
  // "60万元": number word and unit are written without a space.
  for (const auto& [name, factor] : kMagnitudes) {
    if (static_cast<unsigned char>(name[0]) >= 0xE0 && absl::StartsWith(word, name)) return factor;
  }
  return std::nullopt;
}

std::string UnitName(absl::string_view text) {
  std::string word = absl::AsciiStrToLower(text);
  if (const auto* entry = Entry(kUnits, word)) {
    return std::string(entry->second.empty() ? entry->first : entry->second);
  }
  if (word.size() > 3 && word.back() == 's') word.pop_back();
  return word;
}

bool IsUnitLetter(absl::string_view letter) {
  return letter == "Omega" ||
         (letter.size() == 1 && absl::StrContains("msghlLVWNJKCFT", letter[0]));
}

std::string NamedSet(absl::string_view words) {
  for (const absl::string_view all : {"all real numbers", "all reals", "real numbers",
                                      "all real values", "the set of all real numbers"}) {
    if (words == all) return "real";
  }
  for (const absl::string_view none : {"no solution", "no solutions", "empty set",
                                       "no real solution", "no real solutions", "the empty set"}) {
    if (words == none) return "empty";
  }
  return "";
}

}  // namespace cohort

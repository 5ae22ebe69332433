#include "common/rewards/quantity.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "common/rewards/plain_text.h"

namespace cohort {
namespace {

constexpr size_t kMaxBytes = 512;
constexpr int kMostTries = 16;  // places of a sentence where a quantity may begin

struct Unit {
  int64_t top = 1;  // value in base units = top / bottom
  int64_t bottom = 1;
  Dimensions dimensions = {};
};

enum Base : size_t {
  kMetre,
  kKilogram,
  kSecond,
  kAmpere,
  kKelvin,
  kMole,
  kCandela,
  kBit,
  kDollar,
  kDegree,
  kMonth
};

Unit Of(int64_t top, int64_t bottom, std::initializer_list<std::pair<Base, int>> powers) {
  Unit unit{top, bottom, {}};
  for (const auto& [base, power] : powers) unit.dimensions[base] = static_cast<int8_t>(power);
  return unit;
}

using Units = std::map<std::string, Unit, std::less<>>;

// Symbols that take SI prefixes.
const Units& Symbols() {
  static const auto* const kSymbols = new Units{
      {"m", Of(1, 1, {{kMetre, 1}})},
      {"g", Of(1, 1000, {{kKilogram, 1}})},
      {"s", Of(1, 1, {{kSecond, 1}})},
      {"A", Of(1, 1, {{kAmpere, 1}})},
      {"K", Of(1, 1, {{kKelvin, 1}})},
      {"mol", Of(1, 1, {{kMole, 1}})},
      {"cd", Of(1, 1, {{kCandela, 1}})},
      {"b", Of(1, 1, {{kBit, 1}})},
      {"B", Of(8, 1, {{kBit, 1}})},
      {"L", Of(1, 1000, {{kMetre, 3}})},
      {"l", Of(1, 1000, {{kMetre, 3}})},
      {"Hz", Of(1, 1, {{kSecond, -1}})},
      {"N", Of(1, 1, {{kKilogram, 1}, {kMetre, 1}, {kSecond, -2}})},
      {"Pa", Of(1, 1, {{kKilogram, 1}, {kMetre, -1}, {kSecond, -2}})},
      {"J", Of(1, 1, {{kKilogram, 1}, {kMetre, 2}, {kSecond, -2}})},
      {"W", Of(1, 1, {{kKilogram, 1}, {kMetre, 2}, {kSecond, -3}})},
      {"Wh", Of(3600, 1, {{kKilogram, 1}, {kMetre, 2}, {kSecond, -2}})},
      {"C", Of(1, 1, {{kAmpere, 1}, {kSecond, 1}})},
      {"V", Of(1, 1, {{kKilogram, 1}, {kMetre, 2}, {kSecond, -3}, {kAmpere, -1}})},
      {"F", Of(1, 1, {{kKilogram, -1}, {kMetre, -2}, {kSecond, 4}, {kAmpere, 2}})},
      {"ohm", Of(1, 1, {{kKilogram, 1}, {kMetre, 2}, {kSecond, -3}, {kAmpere, -2}})},
      {"T", Of(1, 1, {{kKilogram, 1}, {kSecond, -2}, {kAmpere, -1}})},
      {"metre", Of(1, 1, {{kMetre, 1}})},
      {"meter", Of(1, 1, {{kMetre, 1}})},
      {"gram", Of(1, 1000, {{kKilogram, 1}})},
      {"litre", Of(1, 1000, {{kMetre, 3}})},
      {"liter", Of(1, 1000, {{kMetre, 3}})},
      {"watt", Of(1, 1, {{kKilogram, 1}, {kMetre, 2}, {kSecond, -3}})},
      {"joule", Of(1, 1, {{kKilogram, 1}, {kMetre, 2}, {kSecond, -2}})},
      {"byte", Of(8, 1, {{kBit, 1}})},
      {"bit", Of(1, 1, {{kBit, 1}})},
      {"bar", Of(100000, 1, {{kKilogram, 1}, {kMetre, -1}, {kSecond, -2}})},
      {"cal", Of(523, 125, {{kKilogram, 1}, {kMetre, 2}, {kSecond, -2}})},
      {"hertz", Of(1, 1, {{kSecond, -1}})},
      {"pascal", Of(1, 1, {{kKilogram, 1}, {kMetre, -1}, {kSecond, -2}})},
      {"newton", Of(1, 1, {{kKilogram, 1}, {kMetre, 1}, {kSecond, -2}})},
      {"volt", Of(1, 1, {{kKilogram, 1}, {kMetre, 2}, {kSecond, -3}, {kAmpere, -1}})},
      {"ampere", Of(1, 1, {{kAmpere, 1}})},
      {"second", Of(1, 1, {{kSecond, 1}})},
      {"calorie", Of(523, 125, {{kKilogram, 1}, {kMetre, 2}, {kSecond, -2}})},
  };
  return *kSymbols;
}

// Units without prefixes.
const Units& Words() {
  static const auto* const kWords = new Units{
      {"sec", Of(1, 1, {{kSecond, 1}})},
      {"min", Of(60, 1, {{kSecond, 1}})},
      {"minute", Of(60, 1, {{kSecond, 1}})},
      {"h", Of(3600, 1, {{kSecond, 1}})},
      {"hr", Of(3600, 1, {{kSecond, 1}})},
      {"hour", Of(3600, 1, {{kSecond, 1}})},
      {"day", Of(86400, 1, {{kSecond, 1}})},
      {"week", Of(604800, 1, {{kSecond, 1}})},
      {"wk", Of(604800, 1, {{kSecond, 1}})},
      {"fortnight", Of(1209600, 1, {{kSecond, 1}})},
      {"d", Of(86400, 1, {{kSecond, 1}})},
      // How many days a month has is not known: years and months are a kind of their own.
      {"month", Of(1, 1, {{kMonth, 1}})},
      {"mo", Of(1, 1, {{kMonth, 1}})},
      {"year", Of(12, 1, {{kMonth, 1}})},
      {"yr", Of(12, 1, {{kMonth, 1}})},
      {"decade", Of(120, 1, {{kMonth, 1}})},
      {"century", Of(1200, 1, {{kMonth, 1}})},
      {"centurie", Of(1200, 1, {{kMonth, 1}})},  // "centuries" without its s
      {"inch", Of(127, 5000, {{kMetre, 1}})},
      {"inche", Of(127, 5000, {{kMetre, 1}})},  // "inches" without its s
      {"in", Of(127, 5000, {{kMetre, 1}})},
      {"foot", Of(381, 1250, {{kMetre, 1}})},
      {"feet", Of(381, 1250, {{kMetre, 1}})},
      {"ft", Of(381, 1250, {{kMetre, 1}})},
      {"yard", Of(1143, 1250, {{kMetre, 1}})},
      {"yd", Of(1143, 1250, {{kMetre, 1}})},
      {"mile", Of(201168, 125, {{kMetre, 1}})},
      {"mi", Of(201168, 125, {{kMetre, 1}})},
      {"mph", Of(1397, 3125, {{kMetre, 1}, {kSecond, -1}})},
      {"kph", Of(5, 18, {{kMetre, 1}, {kSecond, -1}})},
      {"kmph", Of(5, 18, {{kMetre, 1}, {kSecond, -1}})},
      {"kmh", Of(5, 18, {{kMetre, 1}, {kSecond, -1}})},
      {"mps", Of(1, 1, {{kMetre, 1}, {kSecond, -1}})},
      {"fps", Of(381, 1250, {{kMetre, 1}, {kSecond, -1}})},
      {"knot", Of(463, 900, {{kMetre, 1}, {kSecond, -1}})},
      {"micron", Of(1, 1000000, {{kMetre, 1}})},
      {"angstrom", Of(1, 10000000000, {{kMetre, 1}})},
      {"cc", Of(1, 1000000, {{kMetre, 3}})},
      {"gallon", Of(473176473, 125000000000, {{kMetre, 3}})},
      {"gal", Of(473176473, 125000000000, {{kMetre, 3}})},
      {"quart", Of(473176473, 500000000000, {{kMetre, 3}})},
      {"pint", Of(473176473, 1000000000000, {{kMetre, 3}})},
      {"cup", Of(473176473, 2000000000000, {{kMetre, 3}})},
      {"atm", Of(101325, 1, {{kKilogram, 1}, {kMetre, -1}, {kSecond, -2}})},
      {"atmosphere", Of(101325, 1, {{kKilogram, 1}, {kMetre, -1}, {kSecond, -2}})},
      {"torr", Of(20265, 152, {{kKilogram, 1}, {kMetre, -1}, {kSecond, -2}})},
      {"stone", Of(317514659, 50000000, {{kKilogram, 1}})},
      {"t", Of(1000, 1, {{kKilogram, 1}})},
      {"tonne", Of(1000, 1, {{kKilogram, 1}})},
      {"pound", Of(45359237, 100000000, {{kKilogram, 1}})},
      {"lb", Of(45359237, 100000000, {{kKilogram, 1}})},
      {"ounce", Of(45359237, 1600000000, {{kKilogram, 1}})},
      {"oz", Of(45359237, 1600000000, {{kKilogram, 1}})},
      {"hectare", Of(10000, 1, {{kMetre, 2}})},
      {"ha", Of(10000, 1, {{kMetre, 2}})},
      {"acre", Of(316160658, 78125, {{kMetre, 2}})},
      {"kelvin", Of(1, 1, {{kKelvin, 1}})},
      {"mole", Of(1, 1, {{kMole, 1}})},
      {"thousand", Of(1000, 1, {})},
      {"million", Of(1000000, 1, {})},
      {"billion", Of(1000000000, 1, {})},
      {"dozen", Of(12, 1, {})},
      {"$", Of(1, 1, {{kDollar, 1}})},
      {"dollar", Of(1, 1, {{kDollar, 1}})},
      {"USD", Of(1, 1, {{kDollar, 1}})},
      {"cent", Of(1, 100, {{kDollar, 1}})},
      {"degree", Of(1, 1, {{kDegree, 1}})},
      {"deg", Of(1, 1, {{kDegree, 1}})},
      {"rad", Of(180, 1, {{kDegree, 1}})},  // over pi, see FindUnit
      {"radian", Of(180, 1, {{kDegree, 1}})},
  };
  return *kWords;
}

struct Prefix {
  absl::string_view symbol;
  absl::string_view word;
  int64_t top;
  int64_t bottom;
};
constexpr Prefix kPrefixes[] = {
    {"k", "kilo", 1000, 1},          {"M", "mega", 1000000, 1},       {"G", "giga", 1000000000, 1},
    {"T", "tera", 1000000000000, 1}, {"h", "hecto", 100, 1},          {"d", "deci", 1, 10},
    {"c", "centi", 1, 100},          {"m", "milli", 1, 1000},         {"u", "micro", 1, 1000000},
    {"n", "nano", 1, 1000000000},    {"p", "pico", 1, 1000000000000},
};

struct Measure {
  ExactNumber factor;
  Dimensions dimensions = {};
};

std::optional<Measure> MeasureOf(const Unit& unit, int64_t top, int64_t bottom) {
  const auto own = Rational::Make(unit.top, unit.bottom);
  const auto prefix = Rational::Make(top, bottom);
  const auto factor = own && prefix ? Multiply(*own, *prefix) : std::nullopt;
  if (!factor) return std::nullopt;
  return Measure{ExactNumber(*factor), unit.dimensions};
}

// One symbol or word, as it is spelt.
std::optional<Measure> FindSpelling(absl::string_view name) {
  if (const auto it = Words().find(name); it != Words().end()) {
    auto measure = MeasureOf(it->second, 1, 1);
    if (!absl::StartsWith(name, "rad") || !measure) return measure;
    const auto factor = Divide(measure->factor, ExactNumber::Pi());
    return factor ? std::optional<Measure>({*factor, measure->dimensions}) : std::nullopt;
  }
  if (const auto it = Symbols().find(name); it != Symbols().end()) {
    return MeasureOf(it->second, 1, 1);
  }
  for (const Prefix& prefix : kPrefixes) {
    for (const absl::string_view start : {prefix.word, prefix.symbol}) {
      if (!absl::StartsWith(name, start)) continue;
      const auto it = Symbols().find(name.substr(start.size()));
      // A whole word takes a whole word's prefix: "kilometer", not "kmeter".
      const bool word = it != Symbols().end() && it->first.size() > 3;
      if (it != Symbols().end() && word == (start.size() > 1)) {
        return MeasureOf(it->second, prefix.top, prefix.bottom);
      }
    }
  }
  return std::nullopt;
}

// Also the plural, and a capital at a word's start.
std::optional<Measure> FindUnit(absl::string_view name) {
  if (auto measure = FindSpelling(name)) return measure;
  if (name.size() < 3) return std::nullopt;
  const std::string lower = absl::AsciiStrToLower(name);
  if (auto measure = FindSpelling(lower)) return measure;
  if (lower.back() == 's')
    return FindSpelling(absl::string_view(lower).substr(0, lower.size() - 1));
  return std::nullopt;
}

bool IsUnitLetter(char c) { return absl::ascii_isalpha(static_cast<unsigned char>(c)) || c == '$'; }

std::optional<Measure> Raise(const Measure& base, int power) {
  const auto factor = Power(base.factor, power);
  if (!factor) return std::nullopt;
  Measure out{*factor, base.dimensions};
  for (int8_t& dimension : out.dimensions) {
    const int raised = dimension * power;
    if (raised < -100 || raised > 100) return std::nullopt;
    dimension = static_cast<int8_t>(raised);
  }
  return out;
}

bool MultiplyInto(const Measure& factor, Measure* product) {
  const auto value = Multiply(product->factor, factor.factor);
  if (!value) return false;
  product->factor = *value;
  for (size_t i = 0; i < factor.dimensions.size(); ++i) {
    const int sum = product->dimensions[i] + factor.dimensions[i];
    if (sum < -100 || sum > 100) return false;
    product->dimensions[i] = static_cast<int8_t>(sum);
  }
  return true;
}

// "^2", "^{-1}", "2" from `*at`; 1 when there is none, 0 when it is no small integer.
int ReadPower(absl::string_view text, size_t* at) {
  size_t i = *at;
  const bool caret = i < text.size() && text[i] == '^';
  if (caret) ++i;
  const bool brace = caret && i < text.size() && text[i] == '{';
  if (brace) ++i;
  size_t end = i;
  if (end < text.size() && text[end] == '-') ++end;
  while (end < text.size() && absl::ascii_isdigit(static_cast<unsigned char>(text[end]))) ++end;
  int power = 1;
  if (end == i) return caret ? 0 : 1;
  if (!absl::SimpleAtoi(text.substr(i, end - i), &power) || power < -9 || power > 9) return 0;
  if (brace && (end >= text.size() || text[end] != '}')) return 0;
  *at = brace ? end + 1 : end;
  return power;
}

// "km/h", "kg*m^2/s^2", "m s^{-1}", "squaremeters" by way of SquareWords.
std::optional<Measure> ReadUnits(absl::string_view text) {
  Measure product{ExactNumber(Rational::FromInteger(1)), {}};
  bool divide = false;
  for (size_t i = 0; i < text.size();) {
    if (text[i] == '*' || text[i] == ' ') {
      ++i;
      continue;
    }
    if (text[i] == '/') {
      divide = true;
      ++i;
      continue;
    }
    size_t end = i;
    while (end < text.size() && IsUnitLetter(text[end])) ++end;
    const auto unit = FindUnit(text.substr(i, end - i));
    if (end == i || !unit) return std::nullopt;
    i = end;
    const int power = ReadPower(text, &i);
    if (power == 0) return std::nullopt;
    const auto raised = Raise(*unit, divide ? -power : power);
    if (!raised || !MultiplyInto(*raised, &product)) return std::nullopt;
  }
  return product;
}

// LaTeX and spelling that never changes a unit.
std::string PlainUnits(absl::string_view text) {
  std::string plain = absl::StrReplaceAll(text, {{"\\text", ""},
                                                 {"\\mathrm", ""},
                                                 {"\\mbox", ""},
                                                 {"\\rm", ""},
                                                 {"\\,", " "},
                                                 {"\\;", " "},
                                                 {"\\!", ""},
                                                 {"\\ ", " "},
                                                 {"~", " "},
                                                 {"\\cdot", "*"},
                                                 {"\\times", "*"},
                                                 {"\u00b7", "*"},
                                                 {"^{\\circ}", " degree"},
                                                 {"^\\circ", " degree"},
                                                 {"\u00b0", " degree"},
                                                 {"\\$", "$"},
                                                 {"\\Omega", "ohm"},
                                                 {"\u03a9", "ohm"},
                                                 {"\\mu", "u"},
                                                 {"\u00b5", "u"},
                                                 {"\u03bc", "u"},
                                                 {"\u00b2", "^2"},
                                                 {"\u00b3", "^3"},
                                                 {"\u2103", " degree C"},
                                                 {"\u2109", " degree F"},
                                                 {" per ", "/"},
                                                 {" an hour", "/hour"},
                                                 {" a day", "/day"},
                                                 {" a week", "/week"},
                                                 {" a month", "/month"},
                                                 {" a year", "/year"}});
  // Braces around a whole word carry nothing; those of an exponent stay.
  std::string out;
  bool in_power = false;
  for (size_t i = 0; i < plain.size(); ++i) {
    if (plain[i] == '{') {
      in_power = i > 0 && plain[i - 1] == '^';
      if (!in_power) continue;
    } else if (plain[i] == '}') {
      if (!in_power) continue;
      in_power = false;
    }
    out += plain[i];
  }
  return out;
}

// "square meters" -> "meters^2".
std::string SquareWords(std::string text) {
  for (const auto& [word, power] : {std::pair{"square ", "^2"}, {"sq ", "^2"}, {"cubic ", "^3"}}) {
    const size_t at = text.find(word);
    if (at == std::string::npos) continue;
    text.erase(at, absl::string_view(word).size());
    size_t end = at;
    while (end < text.size() && IsUnitLetter(text[end])) ++end;
    text.insert(end, power);
  }
  return text;
}

// Where the unit begins: the longest start that is a number ends there. Cuts are tried only before
// what may begin a unit.
std::optional<std::pair<ExactNumber, absl::string_view>> SplitNumber(absl::string_view text) {
  int tries = 0;
  for (size_t cut = text.size(); cut > 0 && tries < 48; --cut) {
    const bool boundary = cut == text.size() || (absl::StrContains(" \\$~/\xc2\xe2", text[cut]) ||
                                                 IsUnitLetter(text[cut]) || text[cut] == '^');
    if (!boundary || IsUnitLetter(text[cut - 1])) continue;
    ++tries;
    const absl::string_view number = absl::StripAsciiWhitespace(text.substr(0, cut));
    if (auto value = ParseExactNumber(number))
      return std::pair{*std::move(value), text.substr(cut)};
  }
  return std::nullopt;
}

// "degree C", "degrees Celsius", "Fahrenheit": which scale a unit is of; nullopt: it is none with
// an offset.
std::optional<char> Scale(absl::string_view unit) {
  const bool degree = absl::StartsWithIgnoreCase(unit, "deg");
  if (degree) {
    for (const absl::string_view word : {"degrees", "degree", "deg.", "deg"}) {
      if (!absl::StartsWithIgnoreCase(unit, word)) continue;
      unit.remove_prefix(word.size());
      break;
    }
    unit = absl::StripLeadingAsciiWhitespace(unit);
  }
  if (absl::EqualsIgnoreCase(unit, "celsius") || absl::EqualsIgnoreCase(unit, "centigrade"))
    return 'C';
  if (absl::EqualsIgnoreCase(unit, "fahrenheit")) return 'F';
  if (degree && (unit == "C" || unit == "F")) return unit[0];
  return std::nullopt;
}

// In kelvin.
std::optional<ExactNumber> FromScale(const ExactNumber& number, char scale) {
  const auto offset = Rational::Make(scale == 'C' ? 27315 : 45967, 100);
  const auto factor = Rational::Make(scale == 'C' ? 1 : 5, scale == 'C' ? 1 : 9);
  const auto shifted = Add(number, ExactNumber(*offset));
  return shifted ? Multiply(*shifted, ExactNumber(*factor)) : std::nullopt;
}

bool IsDigit(char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }

size_t SkipSpaces(absl::string_view text, size_t i) {
  while (i < text.size() && text[i] == ' ') ++i;
  return i;
}

// "2 h 15 min", "5 feet and 10 inches": the sum of two or more parts of one kind.
std::optional<Quantity> ParseCompound(absl::string_view raw) {
  const std::string text = PlainUnits(raw);
  Quantity sum;
  int parts = 0;
  for (size_t i = SkipSpaces(text, 0); i < text.size(); ++parts) {
    for (const absl::string_view join : {"and ", ", ", "& "}) {
      if (parts > 0 && absl::StartsWith(absl::string_view(text).substr(i), join)) i += join.size();
    }
    size_t end = i;
    while (end < text.size() && (IsDigit(text[end]) || (text[end] == '.' && end > i))) ++end;
    const auto number = ParseExactNumber(absl::string_view(text).substr(i, end - i));
    const size_t unit = SkipSpaces(text, end);
    size_t unit_end = unit;
    while (unit_end < text.size() && IsUnitLetter(text[unit_end])) ++unit_end;
    const auto measure = FindUnit(absl::string_view(text).substr(unit, unit_end - unit));
    const auto value = number && measure ? Multiply(*number, measure->factor) : std::nullopt;
    if (!value || end == i || (parts > 0 && measure->dimensions != sum.dimensions))
      return std::nullopt;
    sum.dimensions = measure->dimensions;
    const auto total = parts == 0 ? value : Add(sum.value, *value);
    if (!total) return std::nullopt;
    sum.value = *total;
    i = SkipSpaces(text, unit_end);
    if (i < text.size() && text[i] == '.') i = SkipSpaces(text, i + 1);
  }
  if (parts < 2) return std::nullopt;
  sum.known = true;
  sum.number = sum.value;
  sum.unit = absl::StrReplaceAll(text, {{" ", ""}});
  return sum;
}

// "x = 8 m" -> "8 m", where the left side is a name: letters, words, an index.
absl::string_view DropName(absl::string_view text) {
  const size_t sign = text.find('=');
  if (sign == absl::string_view::npos) return text;
  for (size_t i = 0; i < sign; ++i) {
    const bool index = IsDigit(text[i]) && i > 0 && absl::StrContains("_{", text[i - 1]);
    const bool name = absl::ascii_isalpha(static_cast<unsigned char>(text[i])) || index ||
                      absl::StrContains(" \\_{}'$", text[i]);
    if (!name) return text;
  }
  return absl::StripLeadingAsciiWhitespace(text.substr(sign + 1));
}

// "\u20ac5" -> "5 \u20ac": a currency's sign stands before its number.
std::string CurrencyBehind(absl::string_view text) {
  for (const absl::string_view sign : {"\u20ac", "\u00a3", "\u00a5", "\u20b9"}) {
    if (absl::StartsWith(text, sign)) return absl::StrCat(text.substr(sign.size()), " ", sign);
  }
  return std::string(text);
}

absl::string_view Singular(absl::string_view unit) {
  if (unit.size() > 2) absl::ConsumeSuffix(&unit, "s");
  return unit;
}

bool IsPure(const Quantity& quantity) {
  return quantity.known && std::all_of(quantity.dimensions.begin(), quantity.dimensions.end(),
                                       [](int8_t power) { return power == 0; });
}

}  // namespace

std::optional<Quantity> ParseQuantity(absl::string_view raw) {
  if (raw.size() > kMaxBytes) return std::nullopt;
  const std::string ascii = CurrencyBehind(absl::StripAsciiWhitespace(PlainText(raw)));
  absl::string_view text = DropName(absl::StripAsciiWhitespace(ascii));
  while (absl::ConsumeSuffix(&text, ".") || absl::ConsumeSuffix(&text, "$")) {
  }
  const bool math = absl::ConsumePrefix(&text, "$");
  text = DropName(text);
  const bool dollars = !math && absl::ConsumePrefix(&text, "\\$");
  // "$18" is money, "$18$" is mathematics; the closing sign is gone in both.
  std::string plain = absl::StrReplaceAll(
      text, {{"\\left", ""}, {"\\right", ""}, {"dfrac", "frac"}, {"tfrac", "frac"}, {"$", " "}});
  if (auto compound = dollars ? std::nullopt : ParseCompound(plain)) return compound;
  const auto split = SplitNumber(plain);
  if (!split) return std::nullopt;
  Quantity quantity;
  quantity.number = split->first;
  std::string unit = SquareWords(PlainUnits(absl::StrCat(" ", split->second)));
  if (dollars) unit = "$" + unit;
  unit = std::string(absl::StripAsciiWhitespace(unit));
  quantity.unit = absl::StrReplaceAll(unit, {{" ", ""}});
  if (const auto scale = Scale(unit)) {
    const auto value = FromScale(quantity.number, *scale);
    quantity.known = value.has_value();
    if (value) quantity.value = *value;
    quantity.dimensions[kKelvin] = 1;
    return quantity;
  }
  const auto measure = ReadUnits(unit);
  const auto value = measure ? Multiply(quantity.number, measure->factor) : std::nullopt;
  if (value) {
    quantity.known = true;
    quantity.value = *value;
    quantity.dimensions = measure->dimensions;
  }
  return quantity;
}

std::optional<Quantity> LastQuantity(absl::string_view sentence) {
  if (sentence.size() > kMaxBytes) sentence.remove_prefix(sentence.size() - kMaxBytes);
  int tries = 0;
  for (size_t i = 0; i < sentence.size() && tries < kMostTries; ++i) {
    const bool starts = i == 0 || absl::StrContains(" $*:=", sentence[i - 1]);
    const bool number = IsDigit(sentence[i]) || sentence[i] == '-' || sentence[i] == '\\';
    if (!starts || !number) continue;
    ++tries;
    const auto quantity = ParseQuantity(StripDecoration(sentence.substr(i)));
    if (quantity && quantity->known && !quantity->unit.empty()) return quantity;
  }
  return std::nullopt;
}

bool SameQuantity(const Quantity& a, const Quantity& b) {
  if (a.unit.empty() || b.unit.empty()) {
    return a.number == b.number || (IsPure(a) && IsPure(b) && a.value == b.value);
  }
  if (a.known && b.known) return a.dimensions == b.dimensions && a.value == b.value;
  return a.number == b.number && absl::EqualsIgnoreCase(Singular(a.unit), Singular(b.unit));
}

}  // namespace cohort

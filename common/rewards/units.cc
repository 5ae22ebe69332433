#include "common/rewards/units.h"

#include <initializer_list>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_replace.h"

namespace cohort {
namespace {

struct Unit {
  int64_t top = 1;  // value in base units = top / bottom
  int64_t bottom = 1;
  Dimensions dimensions = {};
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

}  // namespace

bool IsUnitLetter(char c) { return absl::ascii_isalpha(static_cast<unsigned char>(c)) || c == '$'; }

std::optional<Measure> FindUnit(absl::string_view name) {
  if (auto measure = FindSpelling(name)) return measure;
  if (name.size() < 3) return std::nullopt;
  const std::string lower = absl::AsciiStrToLower(name);
  if (auto measure = FindSpelling(lower)) return measure;
  if (lower.back() == 's')
    return FindSpelling(absl::string_view(lower).substr(0, lower.size() - 1));
  return std::nullopt;
}

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

std::optional<char> TemperatureScale(absl::string_view unit) {
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

std::optional<ExactNumber> InKelvin(const ExactNumber& number, char scale) {
  const auto offset = Rational::Make(scale == 'C' ? 27315 : 45967, 100);
  const auto factor = Rational::Make(scale == 'C' ? 1 : 5, scale == 'C' ? 1 : 9);
  const auto shifted = Add(number, ExactNumber(*offset));
  return shifted ? Multiply(*shifted, ExactNumber(*factor)) : std::nullopt;
}

}  // namespace cohort

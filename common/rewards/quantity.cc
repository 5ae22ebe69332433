#include "common/rewards/quantity.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "common/rewards/plain_text.h"

namespace cohort {
namespace {

constexpr size_t kMaxBytes = 512;
constexpr int kMostTries = 16;  // places of a sentence where a quantity may begin

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
  if (const auto scale = TemperatureScale(unit)) {
    const auto value = InKelvin(quantity.number, *scale);
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

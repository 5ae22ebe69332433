// Units of measurement: what a name is in base units. Pure functions, any bytes, bounded time.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "common/rewards/exact_number.h"

namespace cohort {

// The base units, in the order of Dimensions.
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

// Powers of the base units.
using Dimensions = std::array<int8_t, 11>;

struct Measure {
  ExactNumber factor;  // of the base units
  Dimensions dimensions = {};
};

bool IsUnitLetter(char c);

// One name: "km", "hours", "kilometers", "USD". nullopt: it is not known.
std::optional<Measure> FindUnit(absl::string_view name);

// "km/h", "kg*m^2/s^2", "m s^{-1}"; what PlainUnits and SquareWords leave.
std::optional<Measure> ReadUnits(absl::string_view text);

// Without LaTeX and spelling that never change a unit: " per " is "/", "^\circ" is " degree".
std::string PlainUnits(absl::string_view text);

// "square meters" -> "meters^2".
std::string SquareWords(std::string text);

// "degree C", "degrees Celsius", "Fahrenheit": 'C' or 'F', scales with an offset; nullopt: none.
std::optional<char> TemperatureScale(absl::string_view unit);
std::optional<ExactNumber> InKelvin(const ExactNumber& number, char scale);

}  // namespace cohort

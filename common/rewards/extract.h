// Finding the answer in a completion (algorithms.md 11.1, 11.2, 11.3b). Hand-written scanners:
// linear in the text, no recursion, any bytes. Pure functions.
#pragma once

#include <limits>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace cohort {

// The reference implementations look at this many characters from the end.
inline constexpr size_t kCompatWindow = 300;
inline constexpr size_t kNoWindow = std::numeric_limits<size_t>::max();

// Content of the last box that is closed: \boxed{..}, \boxed {..}, \boxed 7, \fbox{..},
// \framebox{..}; \{ and \} do not count. One that opens later and is cut off hides nothing.
// nullopt: there is none. May be "".
std::optional<std::string> ExtractBoxed(absl::string_view text);

// The reference's: content of the last `\boxed{`, escaped braces count too. nullopt: no box, or the
// last one is not closed.
std::optional<std::string> ExtractBoxedCompat(absl::string_view text);

// The reference's: the last `#### ` followed by -?[0-9.,]+, commas removed; "42." stays "42.".
// `window`: characters from the end that are looked at.
std::optional<std::string> ExtractGsm8kStrict(absl::string_view text,
                                              size_t window = kCompatWindow);

// What stands behind the last `####` on its line, with any number of spaces between. Marks of
// headings, behind which a word stands that names no number, are passed over.
std::optional<std::string> ExtractGsm8kAnswer(absl::string_view text);

// The reference's: the last match of (?i)Answer\s*:\s*([^\n]+), not normalised.
std::optional<std::string> ExtractDapoAnswer(absl::string_view text, size_t window = kCompatWindow);

// The same of the whole text, also where the word or its colon is emphasised ("**Answer:** 5") and
// where the colon is a full-width one.
std::optional<std::string> ExtractAnswerLine(absl::string_view text);

// The last number, where it is an integer: digits with an optional sign and thousands separators
// ("-1,234" gives "-1234"). A sign between two numbers ("10-5") is an operator. nullopt: the text
// has no number, or the last one is a decimal, a part of a fraction or a percentage.
std::optional<std::string> ExtractLastInteger(absl::string_view text);

// 1 where any closed box has content other than white space, else 0 (algorithms.md 7.8): whether it
// is right, or the last one, does not matter.
double FormatBoxedReward(absl::string_view text);

// What follows the last "</think>"; nothing follows where there is none.
absl::string_view AfterThinking(absl::string_view text);

// The last `count` characters (UTF-8; other bytes count one each).
absl::string_view LastCharacters(absl::string_view text, size_t count);

}  // namespace cohort

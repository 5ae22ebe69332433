// Finding a reply of any form in a completion: where it stands, which choice it names, which number
// it ends with. Hand-written scanners: linear in the text, no recursion, any bytes. Pure functions;
// views point into their argument.
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace cohort {

// What stands between the last <answer> and its </answer> (or the end), trimmed; nullopt: no tag.
std::optional<absl::string_view> ExtractTagged(absl::string_view text);

// The last line that is not blank, trimmed.
absl::string_view LastLine(absl::string_view text);

// The reply, trimmed: the last closed \boxed, else the last <answer>, else the last "Answer:" line,
// else the last line.
std::string ExtractReply(absl::string_view text);

// The letter (upper case) that a multiple-choice completion names: alone in its box or <answer>,
// after the last "answer" ("The answer is (C)."), or alone on the last line ("C", "(C)", "C.
// Paris"). Letters beyond `last` do not count.
std::optional<char> ExtractChoice(absl::string_view text, char last = 'Z');

// The letter at the start of a reply that is nothing but a letter and perhaps what it stands for:
// "C", "(c)", "\text{C}", "C) Paris"; not "Cats".
std::optional<char> ChoiceLetter(absl::string_view reply);

// The last number as it is written, with its sign, fraction and percent sign: "-1,234.5", "3/4",
// "12%". A sign between two numbers is an operator.
std::optional<absl::string_view> ExtractLastNumber(absl::string_view text);

}  // namespace cohort

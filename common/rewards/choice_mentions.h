// Where a text names choices, and what denies them. Used by choice.cc alone.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/rewards/choice.h"

namespace cohort {

// Text as it is compared: without commands that set it, emphasis, mathematics' dollars and runs of
// white space.
std::string Bare(absl::string_view text);
// Without stops, quotes and a copula at the ends.
absl::string_view StripStops(absl::string_view text);

// A letter of a script that parts words with spaces, or of UTF-8's later bytes.
bool IsWordPart(char c);
bool HasWord(absl::string_view text, absl::string_view word);

// A place where a text names a choice.
struct Mention {
  size_t choice = 0;
  size_t begin = 0;
  size_t end = 0;
  bool by_text = false;
};

// Every place, in order; the longest text where several begin at one place, and none inside
// another. `texts`: those of the choices, bare.
std::vector<Mention> Mentions(absl::string_view text, const std::vector<Choice>& choices,
                              const std::vector<std::string>& texts);

// "not", "wrong", "neither" and the like, of several languages.
bool Denies(absl::string_view text);

// "B, not C" names B: without what it is set against.
absl::string_view WithoutContrast(absl::string_view text);

}  // namespace cohort

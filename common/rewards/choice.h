// Which choice of several a completion names. Linear in the text, any bytes. Pure functions.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace cohort {

struct Choice {
  std::string label;  // "A", "3"
  std::string text;   // "" where it is not known
};

// Choices that have nothing but the letters A to `last`.
std::vector<Choice> LetterChoices(char last = 'Z');

// The choice that a completion names: in its last closed box, else in its last <answer>, else where
// it last says "answer" and the like, else in its last line. By its label, by its text, or by both.
// nullopt: it names none, two, one that it denies, or one that it takes back afterwards.
std::optional<size_t> FindChoice(absl::string_view completion, const std::vector<Choice>& choices);

// The choice that a text is and nothing else: "C", "(c)", "\text{C}", "C) Paris", "Paris"; not
// "Cats", and not "A good one".
std::optional<size_t> ChoiceOf(absl::string_view text, const std::vector<Choice>& choices);

}  // namespace cohort

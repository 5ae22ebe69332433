// What LaTeX's commands are to an answer.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"

namespace cohort {

enum class CommandUse : uint8_t {
  kNothing,     // \left, \bigl, \displaystyle: gone
  kSpace,       // \quad
  kDropGroup,   // \hspace{1cm}: gone with its argument
  kText,        // \text{...}: its letters are words
  kStyle,       // \mathbf{...}: what it holds stands there, letters alone are words
  kBegin,       // \begin{...}, \end{...}
  kBlackboard,  // \mathbb{R}
  kSign,        // \cdot is `*`
  kWord,        // \lor is "or"
  kLetter,      // \alpha
  kCommand,     // \frac, and whatever is not known
};

struct CommandMeaning {
  CommandUse use = CommandUse::kCommand;
  const char* name = "";  // of signs, words and commands: the one name of several spellings
};

CommandMeaning MeaningOfCommand(absl::string_view name);

// "sin", "log", "gcd": names of functions that are read with and without a backslash.
bool IsFunctionName(absl::string_view name);

}  // namespace cohort

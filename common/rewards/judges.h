// The judgements behind the verifiers, without scales: is this completion right?
#pragma once

#include <optional>
#include <string>

#include "common/rewards/verifier.h"

namespace cohort {

// kCorrect, kWrong, kUnparsable or kUnscorable. `completion` is what is looked at (after the
// thinking where that is asked for).
struct Judgement {
  Outcome outcome = Outcome::kUnscorable;
  const char* note = "";  // why it is unscorable
};

using Judge = Judgement (*)(absl::string_view completion, const RewardPrompt& prompt, bool compat);

// The last \boxed against the gold answer (or the box inside it), by value.
Judgement JudgeMath(absl::string_view completion, const RewardPrompt& prompt, bool compat);
// "#### N", compared as a number.
Judgement JudgeGsm8k(absl::string_view completion, const RewardPrompt& prompt, bool compat);
// "Answer: ...", else a box in the last 100 characters, Minerva-normalised.
Judgement JudgeDapo(absl::string_view completion, const RewardPrompt& prompt, bool compat);
// The last integer.
Judgement JudgeLastInteger(absl::string_view completion, const RewardPrompt& prompt, bool compat);
// The integers of the last line, in order.
Judgement JudgeSorting(absl::string_view completion, const RewardPrompt& prompt, bool compat);
// An expression that uses each of the column `numbers` once and has the answer's value.
Judgement JudgeCountdown(absl::string_view completion, const RewardPrompt& prompt, bool compat);
// The reply, or the last number in it, compared by value.
Judgement JudgeNumber(absl::string_view completion, const RewardPrompt& prompt, bool compat);
// The reply as a number with a unit (quantity.h).
Judgement JudgeQuantity(absl::string_view completion, const RewardPrompt& prompt, bool compat);
// The letter of a choice, or the text of one of the column `choices`.
Judgement JudgeChoice(absl::string_view completion, const RewardPrompt& prompt, bool compat);
// The reply, or the completion as a whole, byte for byte but for white space around it.
Judgement JudgeExact(absl::string_view completion, const RewardPrompt& prompt, bool compat);

// The reply of those two as text: the integers of the last line; the expression without what
// follows its equals sign. nullopt: none.
std::optional<std::string> ReadSorting(absl::string_view completion);
std::optional<std::string> ReadCountdown(absl::string_view completion);

}  // namespace cohort

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

// The last closed box against the gold answer, by value.
Judgement JudgeMath(absl::string_view completion, const RewardPrompt& prompt, bool compat);
// What stands behind the last "####", compared as a number.
Judgement JudgeGsm8k(absl::string_view completion, const RewardPrompt& prompt, bool compat);
// The last "Answer: ..." line, else a box in the last 100 characters, by value. With `compat` as
// text that Minerva's rules normalise.
Judgement JudgeDapo(absl::string_view completion, const RewardPrompt& prompt, bool compat);
// The last number, which must be an integer.
Judgement JudgeLastInteger(absl::string_view completion, const RewardPrompt& prompt, bool compat);
// The numbers of the reply, in order.
Judgement JudgeSorting(absl::string_view completion, const RewardPrompt& prompt, bool compat);
// An expression that uses each of the column `numbers` once and has the answer's value.
Judgement JudgeCountdown(absl::string_view completion, const RewardPrompt& prompt, bool compat);
// The reply, or the last number that its sentence states, by value.
Judgement JudgeNumber(absl::string_view completion, const RewardPrompt& prompt, bool compat);
// The reply as a number with a unit (quantity.h).
Judgement JudgeQuantity(absl::string_view completion, const RewardPrompt& prompt, bool compat);
// The letter of a choice, or the text of one of the column `choices`.
Judgement JudgeChoice(absl::string_view completion, const RewardPrompt& prompt, bool compat);
// The reply, or the completion as a whole, byte for byte but for white space around it.
Judgement JudgeExact(absl::string_view completion, const RewardPrompt& prompt, bool compat);

// Replies as text. nullopt: none. Of rule_dapo: the answer without decoration; of rule_sorting: the
// numbers; of rule_countdown: the expression without what follows its equals sign.
std::optional<std::string> ReadDapo(absl::string_view completion);
std::optional<std::string> ReadSorting(absl::string_view completion);
std::optional<std::string> ReadCountdown(absl::string_view completion);

}  // namespace cohort

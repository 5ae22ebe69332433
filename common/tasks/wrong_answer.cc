#include "common/tasks/wrong_answer.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace cohort {
namespace {

constexpr size_t kMostDigits = 18;  // what an int64_t always holds

bool IsWholeNumber(const std::string& text) {
  return !text.empty() && text.size() <= kMostDigits &&
         std::all_of(text.begin(), text.end(), absl::ascii_isdigit);
}

// One of the other numbers with `digits` digits.
int64_t AnotherOf(size_t digits, int64_t value, CounterRng* rng) {
  int64_t low = 1;
  for (size_t i = 1; i < digits; ++i) low *= 10;
  const int64_t high = 10 * low - 1;
  if (digits == 1) low = 0;
  const int64_t other = rng->Between(low, high - 1);
  return other < value ? other : other + 1;
}

}  // namespace

absl::Status EndInWrongAnswer(WrongAnswerKind kind, CounterRng* rng, Prompt* prompt) {
  const std::string& answer = prompt->answer;
  int64_t value = 0;
  if (!IsWholeNumber(answer) || !absl::SimpleAtoi(answer, &value) ||
      !absl::EndsWith(prompt->solution, answer)) {
    return absl::InvalidArgumentError(
        absl::StrCat("sft.wrong_share: expected solutions that end with a whole number, found \"",
                     prompt->solution, "\" with the answer \"", answer, "\" in ", prompt->source,
                     "; take a task such as column-addition-3 or modular-addition"));
  }
  const int64_t wrong =
      kind == WrongAnswerKind::kNext ? value + 1 : AnotherOf(answer.size(), value, rng);
  prompt->solution.resize(prompt->solution.size() - answer.size());
  absl::StrAppend(&prompt->solution, wrong);
  return absl::OkStatus();
}

}  // namespace cohort

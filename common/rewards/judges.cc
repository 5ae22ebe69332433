#include "common/rewards/judges.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/rewards/answer.h"
#include "common/rewards/exact_number.h"
#include "common/rewards/extract.h"
#include "common/rewards/normalize.h"
#include "common/rewards/reply.h"

namespace cohort {

namespace {

constexpr Judgement kNoGold = {Outcome::kUnscorable, "the prompt has no gold answer"};
constexpr Judgement kBadGold = {Outcome::kUnscorable, "the gold answer is not a number"};
constexpr size_t kBoxWindow = 100;  // characters
constexpr size_t kMaxIntegers = 10000;

Judgement Verdict(bool correct) { return {correct ? Outcome::kCorrect : Outcome::kWrong}; }
constexpr Judgement kUnparsable = {Outcome::kUnparsable};

// Right when any gold answer satisfies `matches`.
template <typename Matches>
Judgement AnyGold(const RewardPrompt& prompt, Matches matches) {
  return Verdict(std::any_of(prompt.answers.begin(), prompt.answers.end(), matches));
}

bool HasGold(const RewardPrompt& prompt) {
  return std::any_of(prompt.answers.begin(), prompt.answers.end(), [](const std::string& gold) {
    return !absl::StripAsciiWhitespace(gold).empty();
  });
}

// The text after GSM8K's mark, or all of it.
absl::string_view AfterMark(absl::string_view gold) {
  const size_t mark = gold.rfind("#### ");
  return absl::StripAsciiWhitespace(mark == absl::string_view::npos ? gold : gold.substr(mark + 5));
}

// The first kMaxIntegers integers of a text.
std::vector<std::string> Integers(absl::string_view text) {
  std::vector<std::string> found;
  for (size_t i = 0; i < text.size() && found.size() < kMaxIntegers;) {
    size_t end = i;
    while (end < text.size() && absl::ascii_isdigit(static_cast<unsigned char>(text[end]))) ++end;
    if (end > i) {
      const bool negative = i > 0 && text[i - 1] == '-';
      found.push_back(
          *CanonicalDecimal(absl::StrCat(negative ? "-" : "", text.substr(i, end - i))));
    }
    i = std::max(end, i + 1);
  }
  return found;
}

// What stands between the last <answer> and </answer>, else the last line.
absl::string_view Reply(absl::string_view text) {
  return ExtractTagged(text).value_or(LastLine(text));
}

// "8 * 3 = 24" -> "8 * 3"; "$8 \times 3$" -> "8 \times 3".
absl::string_view LeftSide(absl::string_view text) {
  text = text.substr(0, text.find('='));
  absl::ConsumePrefix(&text, "$");
  absl::ConsumeSuffix(&text, "$");
  text = absl::StripAsciiWhitespace(text);
  absl::ConsumeSuffix(&text, ".");
  return text;
}

// The exact expression of a countdown reply: only digits, operators and brackets, so that the
// numbers used can be read off.
bool IsPlainArithmetic(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return absl::StrContains("0123456789+-*/() ", c); });
}

std::optional<std::vector<std::string>> GivenNumbers(const RewardPrompt& prompt) {
  const auto column = prompt.columns.find("numbers");
  if (column == prompt.columns.end() || !column->is_array() || column->empty()) return std::nullopt;
  std::vector<std::string> numbers;
  for (const auto& number : *column) {
    if (!number.is_number_integer()) return std::nullopt;
    numbers.push_back(number.dump());
  }
  return numbers;
}

}  // namespace

std::optional<std::string> ReadSorting(absl::string_view completion) {
  const std::vector<std::string> found = Integers(LastLine(completion));
  if (found.empty()) return std::nullopt;
  return absl::StrJoin(found, " ");
}

std::optional<std::string> ReadCountdown(absl::string_view completion) {
  const absl::string_view expression = LeftSide(Reply(completion));
  if (!IsPlainArithmetic(expression)) return std::nullopt;
  return std::string(expression);
}

Judgement JudgeMath(absl::string_view completion, const RewardPrompt& prompt, bool compat) {
  if (!HasGold(prompt)) return kNoGold;
  const auto box = ExtractBoxed(completion);
  if (!box || absl::StripAsciiWhitespace(*box).empty()) return kUnparsable;
  return AnyGold(prompt, [&](const std::string& gold) {
    const std::string text = ExtractBoxed(gold).value_or(gold);
    return compat ? HendrycksEqual(*box, text) : AnswerMatches(*box, text);
  });
}

Judgement JudgeGsm8k(absl::string_view completion, const RewardPrompt& prompt, bool compat) {
  if (!HasGold(prompt)) return kNoGold;
  const auto found = ExtractGsm8kStrict(completion, compat ? kCompatWindow : kNoWindow);
  if (compat) {
    if (!found) return kUnparsable;
    return AnyGold(prompt, [&](const std::string& gold) { return *found == AfterMark(gold); });
  }
  std::vector<std::string> golds;
  for (const std::string& gold : prompt.answers) {
    if (const auto number = CanonicalDecimal(AfterMark(gold))) golds.push_back(*number);
  }
  if (golds.empty()) return kBadGold;
  const auto number = found ? CanonicalDecimal(*found) : std::nullopt;
  if (!number) return kUnparsable;
  return Verdict(std::find(golds.begin(), golds.end(), *number) != golds.end());
}

Judgement JudgeDapo(absl::string_view completion, const RewardPrompt& prompt, bool compat) {
  if (!HasGold(prompt)) return kNoGold;
  if (const auto answer = ExtractDapoAnswer(completion, compat ? kCompatWindow : kNoWindow)) {
    const std::string value = NormalizeMinerva(*answer);
    return AnyGold(prompt,
                   [&](const std::string& gold) { return value == NormalizeMinerva(gold); });
  }
  const auto box = ExtractBoxed(LastCharacters(completion, kBoxWindow));
  if (!box) return kUnparsable;
  return AnyGold(prompt, [&](const std::string& gold) { return *box == gold; });
}

Judgement JudgeLastInteger(absl::string_view completion, const RewardPrompt& prompt, bool) {
  if (!HasGold(prompt)) return kNoGold;
  std::vector<std::string> golds;
  for (const std::string& gold : prompt.answers) {
    if (const auto number = CanonicalDecimal(gold)) golds.push_back(*number);
  }
  if (golds.empty()) return kBadGold;
  const auto found = ExtractLastInteger(completion);
  if (!found) return kUnparsable;
  const auto number = CanonicalDecimal(*found);
  return Verdict(std::find(golds.begin(), golds.end(), number) != golds.end());
}

Judgement JudgeSorting(absl::string_view completion, const RewardPrompt& prompt, bool) {
  if (!HasGold(prompt)) return kNoGold;
  const std::vector<std::string> found = Integers(LastLine(completion));
  if (found.empty()) return kUnparsable;
  return AnyGold(prompt, [&](const std::string& gold) { return found == Integers(gold); });
}

Judgement JudgeCountdown(absl::string_view completion, const RewardPrompt& prompt, bool) {
  auto given = GivenNumbers(prompt);
  const auto target = ParseExactNumber(prompt.answer);
  if (!given || !target) {
    return {Outcome::kUnscorable, "the prompt has no column `numbers` or no target"};
  }
  const absl::string_view expression = LeftSide(Reply(completion));
  if (!IsPlainArithmetic(expression)) return kUnparsable;
  const auto value = ParseExactNumber(expression);
  if (!value) return kUnparsable;
  // Signs belong to the operators here, not to the numbers.
  std::string unsigned_text(expression);
  std::replace(unsigned_text.begin(), unsigned_text.end(), '-', '+');
  std::vector<std::string> used = Integers(unsigned_text);
  std::sort(used.begin(), used.end());
  std::sort(given->begin(), given->end());
  return Verdict(used == *given && *value == *target);
}

}  // namespace cohort

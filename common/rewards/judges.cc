#include "common/rewards/judges.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/rewards/answer.h"
#include "common/rewards/countdown.h"
#include "common/rewards/exact_number.h"
#include "common/rewards/extract.h"
#include "common/rewards/normalize.h"
#include "common/rewards/plain_text.h"
#include "common/rewards/reply.h"
#include "common/text/json_text.h"

namespace cohort {

namespace {

constexpr Judgement kNoGold = {Outcome::kUnscorable, "the prompt has no gold answer"};
constexpr Judgement kBadGold = {Outcome::kUnscorable, "the gold answer is not a number"};
constexpr size_t kBoxWindow = 100;  // characters
constexpr size_t kMaxNumbers = 10000;

Judgement Verdict(bool correct) { return {correct ? Outcome::kCorrect : Outcome::kWrong}; }
constexpr Judgement kUnparsable = {Outcome::kUnparsable};

// Right when any gold answer satisfies `matches`.
template <typename Matches>
Judgement AnyGold(const RewardPrompt& prompt, Matches matches) {
  return Verdict(std::any_of(prompt.answers.begin(), prompt.answers.end(), matches));
}

bool HasGold(const RewardPrompt& prompt) {
  return std::any_of(prompt.answers.begin(), prompt.answers.end(),
                     [](const std::string& gold) { return !GoldAnswer(gold).empty(); });
}

// The text after GSM8K's mark as the reference has it, or all of it.
absl::string_view AfterMark(absl::string_view gold) {
  const size_t mark = gold.rfind("#### ");
  return absl::StripAsciiWhitespace(mark == absl::string_view::npos ? gold : gold.substr(mark + 5));
}

// What the gold answers are, those that are numbers; canonical.
std::vector<std::string> GoldNumbers(const RewardPrompt& prompt) {
  std::vector<std::string> golds;
  for (const std::string& gold : prompt.answers) {
    if (auto number = StatedNumber(GoldAnswer(gold))) golds.push_back(*std::move(number));
  }
  return golds;
}

Judgement Among(const std::vector<std::string>& golds, const std::string& value) {
  return Verdict(std::find(golds.begin(), golds.end(), value) != golds.end());
}

bool IsDigit(char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }

// A minus that belongs to the number at `begin`, with or without a space between; "4 -5" has one,
// "4 - 5" has none.
bool HasSign(absl::string_view text, size_t begin) {
  absl::string_view before = absl::StripTrailingAsciiWhitespace(text.substr(0, begin));
  const bool spaced = before.size() < begin;
  if (!absl::ConsumeSuffix(&before, "-")) return false;
  before = absl::StripTrailingAsciiWhitespace(before);
  return before.empty() || !IsDigit(before.back()) || !spaced;
}

// The first kMaxNumbers numbers of a text, in canonical form.
std::vector<std::string> Numbers(absl::string_view raw) {
  const std::string text = PlainText(raw);
  std::vector<std::string> found;
  for (size_t i = 0; i < text.size() && found.size() < kMaxNumbers;) {
    size_t end = i;
    while (end < text.size() && IsDigit(text[end])) ++end;
    if (end > i && end + 1 < text.size() && text[end] == '.' && IsDigit(text[end + 1])) {
      for (++end; end < text.size() && IsDigit(text[end]);) ++end;
    }
    if (end > i) {
      const std::string digits = text.substr(i, end - i);
      found.push_back(*CanonicalDecimal(absl::StrCat(HasSign(text, i) ? "-" : "", digits)));
    }
    i = std::max(end, i + 1);
  }
  return found;
}

std::optional<std::vector<std::string>> GivenNumbers(const RewardPrompt& prompt) {
  const auto column = prompt.spelt.find("numbers");
  if (column == prompt.spelt.end() || !absl::StartsWith(column->second, "[")) return std::nullopt;
  std::vector<std::string> numbers;
  for (const absl::string_view number : JsonElements(column->second)) {
    const auto text = CanonicalDecimal(JsonValueText(number));
    if (!text || text->find_first_not_of("0123456789") != std::string::npos) return std::nullopt;
    numbers.push_back(*text);
  }
  if (numbers.empty()) return std::nullopt;
  return numbers;
}

}  // namespace

std::optional<std::string> ReadSorting(absl::string_view completion) {
  const std::vector<std::string> found = Numbers(ExtractReply(completion));
  if (found.empty()) return std::nullopt;
  return absl::StrJoin(found, " ");
}

std::optional<std::string> ReadCountdown(absl::string_view completion) {
  std::string expression = CountdownExpression(ExtractReply(completion));
  if (!EvaluateCountdown(expression)) return std::nullopt;
  return expression;
}

Judgement JudgeMath(absl::string_view completion, const RewardPrompt& prompt, bool compat) {
  if (!HasGold(prompt)) return kNoGold;
  const auto box = compat ? ExtractBoxedCompat(completion) : ExtractBoxed(completion);
  if (!box || absl::StripAsciiWhitespace(*box).empty()) return kUnparsable;
  return AnyGold(prompt, [&](const std::string& gold) {
    if (compat) return HendrycksEqual(*box, ExtractBoxedCompat(gold).value_or(gold));
    const std::string text = GoldAnswer(gold);
    return !text.empty() && AnswerMatches(*box, text);
  });
}

Judgement JudgeGsm8k(absl::string_view completion, const RewardPrompt& prompt, bool compat) {
  if (!HasGold(prompt)) return kNoGold;
  if (compat) {
    const auto found = ExtractGsm8kStrict(completion, kCompatWindow);
    if (!found) return kUnparsable;
    return AnyGold(prompt, [&](const std::string& gold) { return *found == AfterMark(gold); });
  }
  const std::vector<std::string> golds = GoldNumbers(prompt);
  if (golds.empty()) return kBadGold;
  const auto found = ExtractGsm8kAnswer(completion);
  const auto number = found ? StatedNumber(*found) : std::nullopt;
  return number ? Among(golds, *number) : kUnparsable;
}

Judgement JudgeDapo(absl::string_view completion, const RewardPrompt& prompt, bool compat) {
  if (!HasGold(prompt)) return kNoGold;
  if (compat) {
    if (const auto answer = ExtractDapoAnswer(completion, kCompatWindow)) {
      const std::string value = NormalizeMinerva(*answer);
      return AnyGold(prompt,
                     [&](const std::string& gold) { return value == NormalizeMinerva(gold); });
    }
    const auto box = ExtractBoxedCompat(LastCharacters(completion, kBoxWindow));
    if (!box) return kUnparsable;
    return AnyGold(prompt, [&](const std::string& gold) { return *box == gold; });
  }
  const auto found = ReadDapo(completion);
  if (!found) return kUnparsable;
  return AnyGold(prompt, [&](const std::string& gold) {
    const std::string text = GoldAnswer(gold);
    return !text.empty() && AnswerMatches(*found, text);
  });
}

std::optional<std::string> ReadDapo(absl::string_view completion) {
  std::optional<std::string> found = ExtractAnswerLine(completion);
  if (!found) found = ExtractBoxed(LastCharacters(completion, kBoxWindow));
  if (!found) return std::nullopt;
  const absl::string_view text = StripDecoration(*found);
  return text.empty() ? std::nullopt : std::optional<std::string>(std::string(text));
}

Judgement JudgeLastInteger(absl::string_view completion, const RewardPrompt& prompt, bool) {
  if (!HasGold(prompt)) return kNoGold;
  const std::vector<std::string> golds = GoldNumbers(prompt);
  if (golds.empty()) return kBadGold;
  const auto found = ExtractLastInteger(completion);
  const auto number = found ? CanonicalNumber(*found) : std::nullopt;
  return number ? Among(golds, *number) : kUnparsable;
}

Judgement JudgeSorting(absl::string_view completion, const RewardPrompt& prompt, bool) {
  if (!HasGold(prompt)) return kNoGold;
  const std::vector<std::string> found = Numbers(ExtractReply(completion));
  if (found.empty()) return kUnparsable;
  return AnyGold(prompt, [&](const std::string& gold) { return found == Numbers(gold); });
}

Judgement JudgeCountdown(absl::string_view completion, const RewardPrompt& prompt, bool) {
  auto given = GivenNumbers(prompt);
  const auto target = ParseExactNumber(prompt.answer);
  if (!given || !target) {
    return {Outcome::kUnscorable, "the prompt has no column `numbers` or no target"};
  }
  const std::string reply = ExtractReply(completion);
  auto result = EvaluateCountdown(CountdownExpression(reply));
  if (!result || !result->value) return kUnparsable;
  for (const Rational& claim : CountdownClaims(reply)) {
    if (ExactNumber(claim) != *target) return Verdict(false);
  }
  std::sort(result->used.begin(), result->used.end());
  std::sort(given->begin(), given->end());
  return Verdict(result->used == *given && ExactNumber(*result->value) == *target);
}

}  // namespace cohort

// Judgements of replies: numbers, quantities, choices and exact text.
#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "common/rewards/answer.h"
#include "common/rewards/extract.h"
#include "common/rewards/judges.h"
#include "common/rewards/quantity.h"
#include "common/rewards/reply.h"

namespace cohort {
namespace {

constexpr Judgement kUnparsable = {Outcome::kUnparsable, ""};
constexpr Judgement kNoGold = {Outcome::kUnscorable, "the prompt has no gold answer"};

Judgement Verdict(bool correct) { return {correct ? Outcome::kCorrect : Outcome::kWrong, ""}; }

bool IsBlank(absl::string_view text) { return absl::StripAsciiWhitespace(text).empty(); }

// The number of a completion: the reply as a whole where it is one, else the last one written in
// it.
std::optional<std::string> FoundNumber(absl::string_view completion) {
  const std::string reply = ExtractReply(completion);
  if (auto key = CanonicalNumber(reply)) return key;
  auto number = ExtractLastNumber(reply);
  if (!number) number = ExtractLastNumber(completion);
  return number ? CanonicalNumber(*number) : std::nullopt;
}

std::vector<std::string> ChoiceTexts(const RewardPrompt& prompt) {
  std::vector<std::string> texts;
  const auto column = prompt.columns.find("choices");
  if (column == prompt.columns.end() || !column->is_array()) return texts;
  for (const auto& choice : *column) {
    texts.push_back(choice.is_string() ? choice.get<std::string>() : choice.dump());
  }
  return texts;
}

// The place in `choices` of a text, in any case.
std::optional<char> LetterOfText(absl::string_view text, const std::vector<std::string>& choices) {
  for (size_t i = 0; i < choices.size() && i < 26; ++i) {
    if (absl::EqualsIgnoreCase(absl::StripAsciiWhitespace(choices[i]),
                               absl::StripAsciiWhitespace(text))) {
      return static_cast<char>('A' + i);
    }
  }
  return std::nullopt;
}

// A gold answer is a letter, a choice's text, or, where there are choices, an index from 0.
std::optional<char> GoldLetter(const std::string& gold, const std::vector<std::string>& choices,
                               char last) {
  if (const auto letter = LetterOfText(gold, choices)) return letter;
  if (const auto letter = ChoiceLetter(gold); letter && *letter <= last) return letter;
  size_t index = 0;
  if (absl::SimpleAtoi(gold, &index) && index < choices.size() && index < 26) {
    return static_cast<char>('A' + index);
  }
  return std::nullopt;
}

}  // namespace

Judgement JudgeNumber(absl::string_view completion, const RewardPrompt& prompt, bool) {
  std::vector<std::string> golds;
  for (const std::string& gold : prompt.answers) {
    if (auto key = CanonicalNumber(ExtractBoxed(gold).value_or(gold)))
      golds.push_back(*std::move(key));
  }
  if (golds.empty()) return {Outcome::kUnscorable, "the gold answer is not a number"};
  const auto found = FoundNumber(completion);
  if (!found) return kUnparsable;
  return Verdict(std::find(golds.begin(), golds.end(), *found) != golds.end());
}

Judgement JudgeQuantity(absl::string_view completion, const RewardPrompt& prompt, bool) {
  std::vector<Quantity> golds;
  for (const std::string& gold : prompt.answers) {
    if (auto quantity = ParseQuantity(ExtractBoxed(gold).value_or(gold))) {
      golds.push_back(*std::move(quantity));
    }
  }
  if (golds.empty()) return {Outcome::kUnscorable, "the gold answer is not a number with a unit"};
  const auto found = ParseQuantity(ExtractReply(completion));
  if (!found) return kUnparsable;
  return Verdict(std::any_of(golds.begin(), golds.end(),
                             [&](const Quantity& gold) { return SameQuantity(*found, gold); }));
}

Judgement JudgeChoice(absl::string_view completion, const RewardPrompt& prompt, bool) {
  const std::vector<std::string> choices = ChoiceTexts(prompt);
  const char last =
      choices.empty() ? 'Z' : static_cast<char>('A' + std::min<size_t>(choices.size(), 26) - 1);
  std::string golds;
  for (const std::string& gold : prompt.answers) {
    if (const auto letter = GoldLetter(gold, choices, last)) golds += *letter;
  }
  if (golds.empty()) return {Outcome::kUnscorable, "the gold answer is none of the choices"};
  std::optional<char> found = LetterOfText(ExtractReply(completion), choices);
  if (!found) found = ExtractChoice(completion, last);
  if (!found) return kUnparsable;
  return Verdict(absl::StrContains(golds, *found));
}

Judgement JudgeExact(absl::string_view completion, const RewardPrompt& prompt, bool) {
  if (std::all_of(prompt.answers.begin(), prompt.answers.end(), IsBlank)) return kNoGold;
  const absl::string_view whole = absl::StripAsciiWhitespace(completion);
  const std::string reply = ExtractReply(completion);
  if (reply.empty()) return kUnparsable;
  return Verdict(
      std::any_of(prompt.answers.begin(), prompt.answers.end(), [&](const std::string& gold) {
        const absl::string_view text = absl::StripAsciiWhitespace(gold);
        return !text.empty() && (text == whole || text == reply);
      }));
}

}  // namespace cohort

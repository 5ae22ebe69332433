// Judgements of replies: numbers, quantities, choices and exact text.
#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "common/rewards/answer.h"
#include "common/rewards/choice.h"
#include "common/rewards/judges.h"
#include "common/rewards/plain_text.h"
#include "common/rewards/quantity.h"
#include "common/rewards/reply.h"
#include "common/text/json_text.h"

namespace cohort {
namespace {

constexpr Judgement kUnparsable = {Outcome::kUnparsable, ""};
constexpr Judgement kNoGold = {Outcome::kUnscorable, "the prompt has no gold answer"};

Judgement Verdict(bool correct) { return {correct ? Outcome::kCorrect : Outcome::kWrong, ""}; }

constexpr size_t kMostChoices = 26;

bool IsBlank(absl::string_view text) { return absl::StripAsciiWhitespace(text).empty(); }

// The column `choices`: a list of texts, or an object with the lists `text` and `label`.
std::vector<Choice> ChoicesOf(const RewardPrompt& prompt) {
  const auto column = prompt.spelt.find("choices");
  std::vector<absl::string_view> texts, labels;
  if (column == prompt.spelt.end()) return {};
  if (absl::StartsWith(column->second, "[")) texts = JsonElements(column->second);
  if (absl::StartsWith(column->second, "{")) {
    for (const auto& [name, value] : JsonMembers(column->second)) {
      if (!absl::StartsWith(value, "[")) continue;
      if (name == "text") texts = JsonElements(value);
      if (name == "label") labels = JsonElements(value);
    }
  }
  std::vector<Choice> choices;
  for (size_t i = 0; i < std::min(texts.size(), kMostChoices); ++i) {
    const std::string letter(1, static_cast<char>('A' + i));
    choices.push_back({i < labels.size() ? JsonValueText(labels[i]) : letter,
                       std::string(absl::StripAsciiWhitespace(JsonValueText(texts[i])))});
  }
  return choices;
}

std::optional<size_t> ByIndex(absl::string_view gold, size_t count) {
  size_t index = 0;
  if (absl::SimpleAtoi(gold, &index) && index < count) return index;
  return std::nullopt;
}

// A gold answer is a choice's text, a label, or an index from 0; a JSON integer is an index first,
// where the labels are letters.
std::optional<size_t> GoldChoice(absl::string_view raw, const std::vector<Choice>& choices,
                                 bool known) {
  const std::string gold = GoldAnswer(JsonValueText(raw));
  const bool integer = absl::StripAsciiWhitespace(raw) == gold && !gold.empty();
  const auto label = [&](const Choice& choice) { return choice.label == gold; };
  const auto labelled = std::find_if(choices.begin(), choices.end(), label);
  const auto index = known ? ByIndex(gold, choices.size()) : std::nullopt;
  const auto place = [&]() -> std::optional<size_t> {
    if (labelled == choices.end()) return std::nullopt;
    return static_cast<size_t>(labelled - choices.begin());
  };
  if (integer && index) return place() ? place() : index;
  if (const auto choice = ChoiceOf(gold, choices)) return choice;
  return index;
}

std::vector<size_t> GoldChoices(const RewardPrompt& prompt, const std::vector<Choice>& choices,
                                bool known) {
  std::vector<size_t> golds;
  const auto answer = prompt.spelt.find("answer");
  if (answer == prompt.spelt.end()) return golds;
  const bool list = absl::StartsWith(answer->second, "[");
  for (const absl::string_view gold :
       list ? JsonElements(answer->second) : std::vector<absl::string_view>{answer->second}) {
    if (const auto choice = GoldChoice(gold, choices, known)) golds.push_back(*choice);
  }
  return golds;
}

}  // namespace

Judgement JudgeNumber(absl::string_view completion, const RewardPrompt& prompt, bool) {
  std::vector<std::string> golds;
  for (const std::string& gold : prompt.answers) {
    if (auto key = CanonicalNumber(GoldAnswer(gold))) golds.push_back(*std::move(key));
  }
  if (golds.empty()) return {Outcome::kUnscorable, "the gold answer is not a number"};
  const auto found = RepliedNumber(completion);
  if (!found) return kUnparsable;
  return Verdict(std::find(golds.begin(), golds.end(), *found) != golds.end());
}

Judgement JudgeQuantity(absl::string_view completion, const RewardPrompt& prompt, bool) {
  std::vector<Quantity> golds;
  for (const std::string& gold : prompt.answers) {
    if (auto quantity = ParseQuantity(GoldAnswer(gold))) {
      golds.push_back(*std::move(quantity));
    }
  }
  if (golds.empty()) return {Outcome::kUnscorable, "the gold answer is not a number with a unit"};
  const Reply reply = FindReply(completion);
  auto found = ParseQuantity(StripDecoration(reply.text));
  if (!found && reply.place != ReplyPlace::kBox) found = LastQuantity(reply.text);
  if (!found) return kUnparsable;
  return Verdict(std::any_of(golds.begin(), golds.end(),
                             [&](const Quantity& gold) { return SameQuantity(*found, gold); }));
}

Judgement JudgeChoice(absl::string_view completion, const RewardPrompt& prompt, bool) {
  std::vector<Choice> choices = ChoicesOf(prompt);
  const bool known = !choices.empty();
  if (!known) choices = LetterChoices();
  const std::vector<size_t> golds = GoldChoices(prompt, choices, known);
  if (golds.empty()) return {Outcome::kUnscorable, "the gold answer is none of the choices"};
  const auto found = FindChoice(completion, choices);
  if (!found) return kUnparsable;
  return Verdict(std::find(golds.begin(), golds.end(), *found) != golds.end());
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

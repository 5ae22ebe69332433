#include "common/rewards/answer_text.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/rewards/answer.h"
#include "common/rewards/choice.h"
#include "common/rewards/exact_number.h"
#include "common/rewards/extract.h"
#include "common/rewards/judges.h"
#include "common/rewards/literal.h"
#include "common/rewards/plain_text.h"
#include "common/rewards/reply.h"

namespace cohort {
namespace {

using Text = std::optional<std::string>;

constexpr size_t kMaxSpelled = 256;  // bytes; the search takes up to so many steps per byte of text

Text ReadMath(absl::string_view completion) { return ExtractBoxed(completion); }
Text ReadReply(absl::string_view completion) { return ExtractReply(completion); }

// A plain number without its commas, so that equal ones vote together.
Text ReadGsm8k(absl::string_view completion) {
  const Text found = ExtractGsm8kAnswer(completion);
  const Text number = found ? CanonicalDecimal(*found) : std::nullopt;
  return number ? number : found;
}

Text ReadNumber(absl::string_view completion) {
  const Reply reply = FindReply(completion);
  if (CanonicalNumber(StripDecoration(reply.text))) {
    return std::string(StripDecoration(reply.text));
  }
  if (reply.place == ReplyPlace::kBox) return std::nullopt;
  const auto literal = LastLiteral(reply.text);
  return literal && !literal->in_expression ? Text(literal->text) : std::nullopt;
}

Text ReadChoice(absl::string_view completion) {
  const auto choice = FindChoice(completion, LetterChoices());
  return choice ? Text(std::string(1, static_cast<char>('A' + *choice))) : std::nullopt;
}

struct Form {
  const char* verifier;
  Text (*read)(absl::string_view completion);
  const char* before;  // what stands around an answer
  const char* after;
};
constexpr Form kForms[] = {
    {"rule_math", ReadMath, "\\boxed{", "}"}, {"rule_gsm8k", ReadGsm8k, "#### ", ""},
    {"rule_dapo", ReadDapo, "Answer: ", ""},  {"rule_last_integer", ExtractLastInteger, "", ""},
    {"rule_sorting", ReadSorting, "", ""},    {"rule_countdown", ReadCountdown, "", ""},
    {"rule_number", ReadNumber, "", ""},      {"rule_choice", ReadChoice, "\\boxed{", "}"},
};
constexpr Form kOther = {"", ReadReply, "\\boxed{", "}"};

const Form& FormOf(absl::string_view verifier) {
  for (const Form& form : kForms) {
    if (verifier == form.verifier) return form;
  }
  return kOther;
}

}  // namespace

Text ReadAnswer(absl::string_view verifier, absl::string_view completion) {
  const Text found = FormOf(verifier).read(completion);
  if (!found) return std::nullopt;
  const absl::string_view answer = absl::StripAsciiWhitespace(*found);
  return answer.empty() ? std::nullopt : Text(std::string(answer));
}

std::vector<uint8_t> TokensSpelling(absl::string_view text, absl::Span<const size_t> ends,
                                    absl::string_view answer) {
  const size_t begin = answer.size() <= kMaxSpelled ? text.rfind(answer) : absl::string_view::npos;
  if (begin == absl::string_view::npos) return {};
  std::vector<uint8_t> mask;
  size_t start = 0;
  for (const size_t end : ends) {
    mask.push_back(end > begin && start < begin + answer.size() ? 1 : 0);
    start = end;
  }
  return mask;
}

std::string WriteAnswer(absl::string_view verifier, absl::string_view answer) {
  const Form& form = FormOf(verifier);
  return absl::StrCat(form.before, answer, form.after);
}

std::shared_ptr<const RewardPrompt> WithAnswer(const RewardPrompt& prompt,
                                               const std::string& answer) {
  auto changed = std::make_shared<RewardPrompt>(prompt);
  changed->answer = answer;
  changed->spelt["answer"] = nlohmann::json(answer).dump(-1, ' ', /*ensure_ascii=*/false,
                                                         nlohmann::json::error_handler_t::replace);
  changed->answers = {answer};
  return changed;
}

}  // namespace cohort

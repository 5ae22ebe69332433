#include <string>

#include "absl/strings/ascii.h"
#include "common/rewards/answer.h"
#include "common/rewards/extract.h"
#include "services/cli/eval_results.h"

namespace cohort {

std::string VotingAnswer(const std::string& reward, const std::string& completion) {
  const auto canonical = [](const std::optional<std::string>& answer) {
    return answer ? CanonicalAnswer(*answer) : std::string();
  };
  if (reward == "rule_math") return canonical(ExtractBoxed(completion));
  if (reward == "rule_gsm8k") return canonical(ExtractGsm8kStrict(completion, kNoWindow));
  if (reward == "rule_dapo") return canonical(ExtractDapoAnswer(completion, kNoWindow));
  if (reward == "rule_last_integer") return canonical(ExtractLastInteger(completion));
  // The last line is the answer.
  const std::string text(absl::StripAsciiWhitespace(completion));
  const size_t line = text.rfind('\n');
  return line == std::string::npos ? text : text.substr(line + 1);
}

}  // namespace cohort

#include <string>

#include "common/rewards/answer.h"
#include "common/rewards/answer_text.h"
#include "services/cli/eval_results.h"

namespace cohort {

std::string VotingAnswer(const std::string& reward, const std::string& completion) {
  const auto answer = ReadAnswer(reward, completion);
  if (!answer) return "";
  // A list in its order and an expression in its form are not what they amount to.
  if (reward == "rule_sorting" || reward == "rule_countdown") return *answer;
  return CanonicalAnswer(*answer);
}

}  // namespace cohort

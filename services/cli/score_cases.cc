// `cohort score --cases`: verdicts that somebody else wrote down, beside ours.
#include <unistd.h>

#include <istream>
#include <ostream>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/text/json_text.h"
#include "services/cli/score_lines.h"

namespace cohort {
namespace {

const std::set<std::string>& Verdicts() {
  static const auto* const kVerdicts =
      new std::set<std::string>{"correct", "wrong", "unparsable", "unscorable"};
  return *kVerdicts;
}

struct Case {
  std::string id, verifier, why;
  std::set<std::string> expected;  // any of them
};

absl::StatusOr<std::string> TextOf(const ScoreLine& line, const char* name) {
  const auto found = line.json.find(name);
  if (found != line.json.end() && found->is_string()) return found->get<std::string>();
  return absl::InvalidArgumentError(absl::StrCat(line.where, ": expected a text `", name, "`"));
}

absl::Status AddExpected(const ScoreLine& line, const nlohmann::json& verdict, Case* out) {
  if (verdict.is_array()) {
    for (const auto& one : verdict) COHORT_RETURN_IF_ERROR(AddExpected(line, one, out));
    return absl::OkStatus();
  }
  if (verdict.is_string() && Verdicts().contains(verdict.get<std::string>())) {
    out->expected.insert(verdict.get<std::string>());
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(line.where, ": expected a verdict (",
                                                 absl::StrJoin(Verdicts(), ", "), "), found ",
                                                 verdict.dump()));
}

absl::StatusOr<Case> ReadCase(const ScoreLine& line) {
  Case out;
  COHORT_ASSIGN_OR_RETURN(out.id, TextOf(line, "id"));
  COHORT_ASSIGN_OR_RETURN(out.verifier, TextOf(line, "verifier"));
  COHORT_ASSIGN_OR_RETURN(const std::string expected, TextOf(line, "expected"));
  COHORT_RETURN_IF_ERROR(AddExpected(line, expected, &out));
  if (line.json.contains("or")) COHORT_RETURN_IF_ERROR(AddExpected(line, line.json["or"], &out));
  if (line.json.contains("why")) {
    COHORT_ASSIGN_OR_RETURN(out.why, TextOf(line, "why"));
  }
  return out;
}

// The prompt's columns: `answer` and what `columns` holds.
absl::Status KeepCaseColumns(ScoreLine* line) {
  const std::string whole = std::move(line->columns_json);
  std::vector<JsonMember> columns;
  for (const JsonMember& member : JsonMembers(whole)) {
    if (member.first == "answer") columns.push_back(member);
    if (member.first != "columns" || member.second == "null") continue;
    if (member.second[0] != '{') {
      return absl::InvalidArgumentError(
          absl::StrCat(line->where, ": expected `columns` to be an object, found ", member.second));
    }
    for (const JsonMember& column : JsonMembers(member.second)) columns.push_back(column);
  }
  line->columns_json = JsonObject(columns);
  return absl::OkStatus();
}

bool CanRun(const std::string& verifier, const CodeOptions& code) {
  return verifier != "code_tests" ||
         (!code.interpreter.empty() && access(code.interpreter[0].c_str(), X_OK) == 0);
}

}  // namespace

absl::StatusOr<CaseCounts> RunScoreCases(const std::string& name, std::istream& in,
                                         const CodeOptions& code, std::ostream& out) {
  CaseCounts counts;
  LineJudge judge(code);
  const auto take = [&](ScoreLine line) -> absl::Status {
    COHORT_ASSIGN_OR_RETURN(const Case expected, ReadCase(line));
    COHORT_RETURN_IF_ERROR(KeepCaseColumns(&line));
    if (!CanRun(expected.verifier, code)) {
      ++counts.skipped;
      return absl::OkStatus();
    }
    COHORT_ASSIGN_OR_RETURN(const ScoreResult result, judge.Judge(expected.verifier, line));
    const std::string got = VerdictName(result.outcome);
    if (expected.expected.contains(got)) {
      ++counts.passed;
      return absl::OkStatus();
    }
    ++counts.failed;
    out << expected.id << ": got " << got << (result.reason.empty() ? "" : " (") << result.reason
        << (result.reason.empty() ? "" : ")") << ", expected "
        << absl::StrJoin(expected.expected, " or ") << ": " << expected.why << "\n";
    return absl::OkStatus();
  };
  COHORT_RETURN_IF_ERROR(ForEachJsonLine(name, in, take));
  return counts;
}

}  // namespace cohort

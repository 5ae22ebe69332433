// `cohort score`: people try a reward before they train on it.
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/config/config.h"
#include "common/rpc/security_flags.h"
#include "services/cli/commands.h"
#include "services/cli/score_lines.h"
#include "services/cli/score_run.h"

namespace cohort {
namespace {

using ScoreOne = std::function<absl::StatusOr<ScoreResult>(const ScoreLine&)>;

CodeOptions CodeLimits(const ScoreArgs& args) {
  CodeOptions code;
  code.interpreter = absl::StrSplit(args.interpreter, ' ', absl::SkipEmpty());
  return code;
}

absl::StatusOr<ScoreOne> FromConfig(const ScoreArgs& args) {
  COHORT_ASSIGN_OR_RETURN(const v1::RunConfig config,
                          LoadResolvedConfig(args.config, args.overrides));
  COHORT_ASSIGN_OR_RETURN(
      const auto security,
      MakeClientSecurity(args.security, config.tls(), {Role::kCli, Role::kRollout}, {}));
  COHORT_ASSIGN_OR_RETURN(std::shared_ptr<RunScorer> scorer,
                          RunScorer::Create(config, args.reward, security));
  return [scorer](const ScoreLine& line) { return scorer->Score(line); };
}

absl::StatusOr<ScoreOne> MakeScore(const ScoreArgs& args) {
  if (!args.config.empty()) return FromConfig(args);
  auto judge = std::make_shared<LineJudge>(CodeLimits(args));
  return [judge, name = args.reward](const ScoreLine& line) { return judge->Judge(name, line); };
}

absl::Status WithInput(const std::string& path,
                       const std::function<absl::Status(std::istream& in)>& use) {
  if (path == "-") return use(std::cin);
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  return use(file);
}

// Verdicts go to --out or to standard output, the counts to whichever of the two is free.
absl::Status ScoreInput(const ScoreArgs& args) {
  COHORT_ASSIGN_OR_RETURN(const ScoreOne score, MakeScore(args));
  ScoreCounts counts;
  std::string out;
  COHORT_RETURN_IF_ERROR(WithInput(args.input, [&](std::istream& in) {
    return ForEachJsonLine(args.input, in, [&](const ScoreLine& line) -> absl::Status {
      COHORT_ASSIGN_OR_RETURN(const ScoreResult result, score(line));
      counts.Add(result.outcome, result.spent);
      const std::string text = ScoreResultJson(result) + "\n";
      if (args.out.empty())
        std::cout << text;
      else
        out += text;
      return absl::OkStatus();
    });
  }));
  if (counts.total() == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(args.input, ": no lines: expected one JSON object a line"));
  }
  std::cout << std::flush;
  if (!args.out.empty()) COHORT_RETURN_IF_ERROR(WriteFileAtomic(args.out, out));
  (args.out.empty() ? std::cerr : std::cout) << counts.Table() << std::flush;
  return absl::OkStatus();
}

absl::StatusOr<CaseCounts> ScoreCases(const ScoreArgs& args) {
  CaseCounts counts;
  COHORT_RETURN_IF_ERROR(WithInput(args.cases, [&](std::istream& in) -> absl::Status {
    COHORT_ASSIGN_OR_RETURN(counts, RunScoreCases(args.cases, in, CodeLimits(args), std::cout));
    return absl::OkStatus();
  }));
  return counts;
}

}  // namespace

int RunScore(const ScoreArgs& args) {
  if (args.cases.empty()) {
    const absl::Status status = ScoreInput(args);
    return status.ok() ? 0 : Fail("score", status);
  }
  const auto counts = ScoreCases(args);
  if (!counts.ok()) return Fail("score", counts.status());
  std::cout << counts->passed << " passed, " << counts->failed << " failed, " << counts->skipped
            << " skipped" << std::endl;
  return counts->failed == 0 ? 0 : 1;
}

}  // namespace cohort

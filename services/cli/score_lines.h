// What `cohort score` reads, judges and counts; no LibTorch, no gRPC.
#pragma once

#include <functional>
#include <iosfwd>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/rewards/verifier.h"

namespace cohort {

// One line: a response and the prompt's columns, each as the line spells it.
struct ScoreLine {
  std::string where;    // "FILE line 7", for errors
  nlohmann::json json;  // the whole line
  std::string completion;
  std::string columns_json;  // without `completion` and `options`
  std::string options;       // JSON of `options`; "" when there are none
};

// Calls `take` for every line of `in` that is not blank. Errors name the line.
absl::Status ForEachJsonLine(const std::string& name, std::istream& in,
                             const std::function<absl::Status(ScoreLine line)>& take);

// {"completion", "answer", further columns, "options"} of `line->json`.
absl::Status ReadScoreColumns(absl::string_view text, ScoreLine* line);

struct ScoreResult {
  Outcome outcome = Outcome::kUnscorable;
  double reward = 0;
  std::optional<std::string> reply;          // as the verifier reads it
  std::map<std::string, double> components;  // without weights
  std::string reason;                        // why it is not right; "" when it is
  absl::Duration spent;                      // on the verdict alone
};

// "correct", "wrong", "unparsable", "unscorable"; "value" for a reward that judges nothing.
const char* VerdictName(Outcome outcome);
// The line of output: {"verdict","reward","reply","components","reason","microseconds"}.
std::string ScoreResultJson(const ScoreResult& result);

// Judges lines by verifiers by name, one for each set of options that comes up.
class LineJudge {
 public:
  explicit LineJudge(CodeOptions code) : code_(std::move(code)) {}
  // Errors: no such verifier, options that it does not know or that do not fit.
  absl::StatusOr<ScoreResult> Judge(const std::string& verifier, const ScoreLine& line);

 private:
  struct Made {
    std::unique_ptr<Verifier> verifier;
    bool after_thinking = false;
  };
  absl::StatusOr<const Made*> Find(const std::string& verifier, const std::string& options);

  CodeOptions code_;
  std::map<std::pair<std::string, std::string>, Made> made_;
};

// Counts and time per verdict.
class ScoreCounts {
 public:
  void Add(Outcome outcome, absl::Duration spent) { spent_[outcome].push_back(spent); }
  int64_t total() const;
  std::string Table() const;  // a line for each verdict that came up

 private:
  std::map<Outcome, std::vector<absl::Duration>> spent_;
};

// Why a verdict is not "correct", from what the prompt and the reply are.
std::string ReasonOf(Outcome outcome, const std::string& note,
                     const std::optional<std::string>& reply, const RewardPrompt& prompt);

struct CaseCounts {
  int64_t passed = 0, failed = 0, skipped = 0;
};

// Lines as {"id","verifier","answer","completion","columns","options","expected","or"}: prints id,
// got, expected and why for each that is judged otherwise. Those that need an interpreter which is
// not there are skipped.
absl::StatusOr<CaseCounts> RunScoreCases(const std::string& name, std::istream& in,
                                         const CodeOptions& code, std::ostream& out);

}  // namespace cohort

// Studies (proto/cohort/v1/study.proto): files of studies/, also inside every program that links
// this. Found, read and checked here; services/cli runs them.
//
// No state, thread-safe. Errors name the study and the arm, evaluation or claim.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cohort/v1/config.pb.h"
#include "cohort/v1/study.pb.h"

namespace cohort {

struct NamedStudy {
  std::string name;  // the file's name without .yaml
  v1::Study study;
};

// Those inside this program, in alphabetical order, without what cannot be read.
std::vector<NamedStudy> Studies();

// A file, or else the name of one inside this program. Read and checked.
absl::StatusOr<NamedStudy> FindStudy(const std::string& name_or_file);

// `origin` names the text in errors. Read, not checked.
absl::StatusOr<v1::Study> ParseStudy(absl::string_view yaml, const std::string& origin);

// InvalidArgument with every mistake, separated by "; ": names that nothing has, circles, wrong
// metrics and bounds, and configurations of arms and bases that do not hold.
absl::Status CheckStudy(const v1::Study& study);

// ---- parts of a study by name; null where there is none ----

const v1::StudyBase* FindBase(const v1::Study& study, absl::string_view name);
const v1::StudyFile* FindFile(const v1::Study& study, absl::string_view name);
const v1::StudyArm* FindArm(const v1::Study& study, absl::string_view name);
const v1::StudyEval* FindEval(const v1::Study& study, absl::string_view name);
const v1::StudyClaim* FindClaim(const v1::Study& study, absl::string_view name);

bool IsTrained(const v1::StudyArm& arm);
// The base or arm that it starts from.
std::string StartOf(const v1::Study& study, const v1::StudyArm& arm);
bool IsEvaluated(const v1::StudyEval& eval, absl::string_view arm);
// Those of the study that are evaluated so, in its order.
std::vector<std::string> ArmsOf(const v1::Study& study, const v1::StudyEval& eval);

// ---- configurations ----

// What an arm or a base is trained with: `-c` of `cohort train` or `cohort sft`, and its overrides
// in order, as they stand in the study (with placeholders), without model.path of the start.
std::string ConfigurationOf(const v1::StudyArm& arm);
std::string ConfigurationOf(const v1::StudyBase& base);
std::vector<std::string> OverridesOf(const v1::Study& study, const v1::StudyArm& arm);
std::vector<std::string> OverridesOf(const v1::Study& study, const v1::StudyBase& base);

// ---- metrics of claims ----

struct StudyMetric {
  enum class Kind { kEval, kLogits, kTrain };
  Kind kind = Kind::kEval;
  std::string eval;  // name of the evaluation
  std::string key;   // pass, avg, maj, entropy, length, truncated, tokens_per_correct; of logits:
                     // mean, std, skew, kurtosis, margin, top_probability; or of metrics.jsonl
  int64_t k = 0;     // of pass, avg and maj
  std::string part;  // of train: first, last, mean, max, min, std
};
// "eval:NAME:pass@4", "logits:NAME:skew", "train:reward/mean:last". InvalidArgument says what is
// expected.
absl::StatusOr<StudyMetric> ParseStudyMetric(absl::string_view text);

// ---- what depends on what ----

// "${eval:grpo/main}" in a text: kind "eval", name "grpo/main". ${seed} and ${out} have no name.
struct StudyReference {
  std::string kind;
  std::string name;
};
// InvalidArgument for a "${" without an end or of a kind that does not exist.
absl::StatusOr<std::vector<StudyReference>> ReferencesIn(absl::string_view text);
// Every ${...} replaced by what `value` says about it.
std::string ReplaceReferences(absl::string_view text,
                              const std::function<std::string(const StudyReference&)>& value);

// Things that are made: a base, a file, an arm's model, an arm's evaluation, what the model's
// logits are like on that evaluation, all arms of an evaluation compared.
struct StudyNode {
  enum class Kind { kBase, kFile, kArm, kEval, kLogits, kComparison };
  Kind kind = Kind::kArm;
  std::string name;  // of an evaluation, its logits and its comparison: the evaluation's
  std::string arm;   // of an evaluation and its logits
  friend auto operator<=>(const StudyNode&, const StudyNode&) = default;
};
std::string NodeText(const StudyNode& node);  // "base m1", "evaluation main of grpo"

// `wanted` and all that it needs, each after what it needs. InvalidArgument for a name that nothing
// has and for a circle.
absl::StatusOr<std::vector<StudyNode>> InOrder(const v1::Study& study,
                                               const std::vector<StudyNode>& wanted);
// Every arm and every evaluation, in the order of the arms, the logits that claims ask for, and the
// comparisons that evaluations ask for.
std::vector<StudyNode> AllNodes(const v1::Study& study);
// What a claim looks at and all that it needs, in order.
absl::StatusOr<std::vector<StudyNode>> NodesOf(const v1::Study& study, const v1::StudyClaim& claim);

}  // namespace cohort

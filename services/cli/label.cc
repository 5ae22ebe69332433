// `cohort label`: labels from a model's own samples, taken once (algorithms.md 7.8): the majority
// answer of each evaluated problem, and a wrong one, as columns that the reward sources
// majority_offline and incorrect_label read; or its right responses, for `cohort sft`.
#include <algorithm>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/rl/label_free.h"
#include "common/text/json.h"
#include "services/cli/commands.h"
#include "services/cli/eval_results.h"

namespace cohort {
namespace {

struct Labels {
  Vote majority;
  bool majority_right = false;
  Vote wrong;  // the most frequent of the wrong answers
};

Labels LabelsOf(const ProblemResult& problem) {
  Labels labels;
  std::vector<Answer> all, wrong;
  for (const SampleResult& sample : problem.samples) {
    all.emplace_back(sample.answer);
    if (sample.judged && !sample.correct) wrong.emplace_back(sample.answer);
  }
  labels.majority = MajorityVote(all);
  labels.wrong = MajorityVote(wrong);
  labels.majority_right =
      std::any_of(problem.samples.begin(), problem.samples.end(), [&](const SampleResult& sample) {
        return sample.judged && sample.correct && sample.answer == labels.majority.label;
      });
  return labels;
}

class Labelling {
 public:
  explicit Labelling(const LabelArgs& args) : args_(args) {}

  absl::Status Run() {
    COHORT_ASSIGN_OR_RETURN(const EvalResults results, ReadEvalResults(args_.eval));
    COHORT_RETURN_IF_ERROR(ReadData());
    std::string out;
    for (const auto& [index, problem] : results.problems) {
      COHORT_RETURN_IF_ERROR(args_.right ? AddRightResponses(index, problem, &out)
                                         : AddLine(index, problem, &out));
    }
    if (written_ == 0) {
      return absl::FailedPreconditionError(
          absl::StrCat("no problem of ", args_.eval, " has a label", Wanted()));
    }
    COHORT_RETURN_IF_ERROR(WriteFileAtomic(args_.out, out));
    if (args_.right) {
      std::cout << written_ << " right responses of " << results.problems.size()
                << " problems\nwritten to " << args_.out << std::endl;
      return absl::OkStatus();
    }
    std::cout << written_ << " of " << results.problems.size() << " problems labelled, majority "
              << "right in " << right_ << "\nwritten to " << args_.out << std::endl;
    return absl::OkStatus();
  }

 private:
  std::string Wanted() const {
    if (args_.right) {
      return " (--right needs samples whose text was kept: `cohort eval --keep N`)";
    }
    return args_.only_wrong ? " (--only-wrong keeps those whose majority is wrong)" : "";
  }

  absl::Status ReadData() {
    if (args_.data.empty()) return absl::OkStatus();
    COHORT_ASSIGN_OR_RETURN(const std::string text, ReadFile(args_.data));
    for (absl::string_view line : absl::StrSplit(text, '\n')) {
      if (absl::StripAsciiWhitespace(line).empty()) continue;
      COHORT_ASSIGN_OR_RETURN(nlohmann::json row,
                              ParseJson(line, absl::StrCat(args_.data, " row ", rows_.size() + 1)));
      rows_.push_back(std::move(row));
    }
    return absl::OkStatus();
  }

  // The problem's own line of --data, else one made of what the evaluation kept.
  absl::StatusOr<nlohmann::json> RowOf(uint64_t index, const ProblemResult& problem) const {
    if (args_.data.empty()) {
      return nlohmann::json{{"prompt", problem.prompt}, {"answer", problem.answer}};
    }
    if (index < rows_.size() && rows_[index].is_object()) return rows_[index];
    return absl::InvalidArgumentError(
        absl::StrCat("problem ", index, " of ", args_.eval, " is no row of ", args_.data, " (",
                     rows_.size(), " rows); give the file that was evaluated, all of it"));
  }

  absl::Status AddLine(uint64_t index, const ProblemResult& problem, std::string* out) {
    const Labels labels = LabelsOf(problem);
    if (!labels.majority.label) return absl::OkStatus();
    if (args_.only_wrong && labels.majority_right) return absl::OkStatus();
    COHORT_ASSIGN_OR_RETURN(nlohmann::json row, RowOf(index, problem));
    row["majority_answer"] = *labels.majority.label;
    row["majority_ratio"] = labels.majority.ratio;
    if (labels.wrong.label) row["incorrect_answer"] = *labels.wrong.label;
    COHORT_ASSIGN_OR_RETURN(const std::string line, DumpJson(row, args_.out));
    absl::StrAppend(out, line, "\n");
    ++written_;
    right_ += labels.majority_right ? 1 : 0;
    return absl::OkStatus();
  }

  absl::Status AddRightResponses(uint64_t index, const ProblemResult& problem, std::string* out) {
    std::vector<absl::string_view> texts;
    for (const SampleResult& sample : problem.samples) {
      if (sample.correct && !sample.text.empty()) texts.push_back(sample.text);
    }
    if (texts.empty() && !problem.right_text.empty()) texts.push_back(problem.right_text);
    for (absl::string_view text : texts) {
      COHORT_ASSIGN_OR_RETURN(nlohmann::json row, RowOf(index, problem));
      row["response"] = std::string(text);
      COHORT_ASSIGN_OR_RETURN(const std::string line, DumpJson(row, args_.out));
      absl::StrAppend(out, line, "\n");
      ++written_;
    }
    return absl::OkStatus();
  }

  const LabelArgs& args_;
  std::vector<nlohmann::json> rows_;
  int64_t written_ = 0, right_ = 0;
};

}  // namespace

int RunLabel(const LabelArgs& args) {
  const absl::Status status = Labelling(args).Run();
  return status.ok() ? 0 : Fail("label", status);
}

}  // namespace cohort

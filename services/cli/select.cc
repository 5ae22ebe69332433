// `cohort select`: ranks the prompts of a file by how they went in an earlier run
// (algorithms.md 8.1, 8.2) and writes the chosen lines.
#include <algorithm>
#include <iostream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/config/config.h"
#include "common/rl/learning_curves.h"
#include "common/tasks/prompt_history.h"
#include "common/tasks/prompt_source.h"
#include "common/telemetry/metric_names.h"
#include "services/cli/commands.h"

namespace cohort {
namespace {

constexpr double kLimTheta = 0.6;
constexpr int kShown = 10;

absl::StatusOr<PromptHistory> ReadHistory(const std::string& run) {
  absl::StatusOr<PromptHistory> history =
      PromptHistory::Read(absl::StrCat(run, "/", metric::kGroupsFile));
  if (history.ok()) return history;
  return absl::Status(history.status().code(),
                      absl::StrCat(history.status().message(),
                                   "; --run needs the folder of a run that trained on --data"));
}

// Passes over the run's only file are epochs; with several sources, or a file that is not the
// run's, the n-th visit of a prompt is its n-th epoch.
uint64_t PromptsPerEpoch(const v1::RunConfig& config, uint64_t rows) {
  const auto& sources = config.data().sources();
  if (sources.size() != 1 || !sources[0].has_path()) return 0;
  SourceOptions options;
  options.path = sources[0].path();
  const auto whole = MakeSource(options);
  if (!whole.ok() || (*whole)->Size(Split::kTrain) != rows) return 0;
  options.heldout_rows = static_cast<uint64_t>(sources[0].heldout_rows());
  const auto trained = MakeSource(options);
  return trained.ok() ? (*trained)->Size(Split::kTrain) : 0;
}

class Selection {
 public:
  explicit Selection(const SelectArgs& args) : args_(args) {}

  absl::Status Run() {
    COHORT_RETURN_IF_ERROR(ReadLines());
    COHORT_RETURN_IF_ERROR(MakeHistory());
    const bool lim = args_.method == "lim";
    std::vector<RankedPrompt> ranked = lim ? RankByLim(history_, args_.theta.value_or(kLimTheta))
                                           : RankByHistoryVariance(history_);
    const size_t most = args_.k ? static_cast<size_t>(*args_.k) : lim ? ranked.size() : 1;
    if (ranked.size() > most) ranked.resize(most);
    if (ranked.empty()) {
      return absl::FailedPreconditionError(
          "no prompt is left: with lim, a lower --theta keeps more, and a run of at least one pass "
          "over the data knows all of them");
    }
    return Write(ranked);
  }

 private:
  // The lines as MakeJsonlSource counts them: blank ones do not.
  absl::Status ReadLines() {
    COHORT_ASSIGN_OR_RETURN(const std::string text, ReadFile(args_.data));
    for (absl::string_view line : absl::StrSplit(text, '\n')) {
      if (!absl::StripAsciiWhitespace(line).empty()) lines_.emplace_back(line);
    }
    return absl::OkStatus();
  }

  absl::Status MakeHistory() {
    COHORT_ASSIGN_OR_RETURN(const v1::RunConfig config,
                            LoadConfig(absl::StrCat(args_.run, "/", metric::kConfigFile)));
    COHORT_ASSIGN_OR_RETURN(const PromptHistory history, ReadHistory(args_.run));
    COHORT_ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Load(config.model().path()));
    SourceOptions options;
    options.path = args_.data;
    COHORT_ASSIGN_OR_RETURN(const auto source, MakeSource(options));
    PromptFormat format;
    format.chat_template = config.data().chat_template();
    format.system_prompt = config.data().system_prompt();
    format.prompt_suffix = config.data().prompt_suffix();
    const uint64_t rows = source->Size(Split::kTrain);
    const uint64_t epoch_size = PromptsPerEpoch(config, rows);
    for (uint64_t i = 0; i < rows; ++i) {
      COHORT_ASSIGN_OR_RETURN(const Prompt prompt, source->At(i, Split::kTrain));
      COHORT_ASSIGN_OR_RETURN(const std::vector<int32_t> tokens,
                              EncodePrompt(prompt, format, *tokenizer));
      history_.push_back(history.Curve(PromptKey(tokens), epoch_size));
      trained_ += history_.back().empty() ? 0 : 1;
    }
    if (trained_ > 0) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat("none of the ", rows, " prompts of ", args_.data, " was trained in ",
                     args_.run, "; give the file and the run that belong together"));
  }

  absl::Status Write(const std::vector<RankedPrompt>& ranked) const {
    std::string out;
    for (const RankedPrompt& one : ranked) absl::StrAppend(&out, lines_[one.prompt], "\n");
    COHORT_RETURN_IF_ERROR(WriteFileAtomic(args_.out, out));
    std::cout << args_.method << ": " << ranked.size() << " of " << history_.size()
              << " prompts chosen, " << trained_ << " have a history\n";
    for (size_t i = 0; i < std::min<size_t>(kShown, ranked.size()); ++i) {
      std::cout << absl::StrFormat("%4d  row %d  score %.4f\n", i + 1, ranked[i].prompt + 1,
                                   ranked[i].score);
    }
    std::cout << "written to " << args_.out << std::endl;
    return absl::OkStatus();
  }

  const SelectArgs& args_;
  std::vector<std::string> lines_;
  AccuracyHistory history_;
  size_t trained_ = 0;
};

}  // namespace

int RunSelect(const SelectArgs& args) {
  if (args.theta && args.method != "lim") {
    return Fail("select", absl::InvalidArgumentError("--theta belongs to lim; variance takes -k"));
  }
  const absl::Status status = Selection(args).Run();
  return status.ok() ? 0 : Fail("select", status);
}

}  // namespace cohort

// `cohort report`: several runs and evaluations as one self-contained page and the same as JSON.
#include <algorithm>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "services/cli/commands.h"
#include "services/cli/report_data.h"
#include "services/cli/report_models.h"
#include "services/cli/report_page.h"

namespace cohort {
namespace {

absl::StatusOr<size_t> FindBase(const std::vector<ReportRun>& runs, const std::string& name) {
  if (name.empty()) return 0;
  for (size_t i = 0; i < runs.size(); ++i) {
    if (runs[i].name == name) return i;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--base: expected the name of a --run, found ", name));
}

absl::Status MakeReport(const ReportArgs& args) {
  COHORT_ASSIGN_OR_RETURN(const std::vector<ReportRun> runs, LoadReportRuns(args.runs));
  COHORT_ASSIGN_OR_RETURN(const size_t base, FindBase(runs, args.base));
  COHORT_ASSIGN_OR_RETURN(nlohmann::json numbers, ReportNumbers(runs, base, args.seed));
  if (args.models) {
    ModelAnalysisOptions options;
    options.base_model = args.base_model.empty() ? runs[base].model : args.base_model;
    if (args.early_answer) options.early_answer = *args.early_answer;
    options.cache = absl::StrCat(absl::StripSuffix(args.out, ".html"), ".cache.json");
    options.dtype = args.dtype;
    options.device = args.device;
    options.threads = args.threads;
    COHORT_RETURN_IF_ERROR(AddModelAnalyses(runs, base, options, &numbers));
  }
  COHORT_RETURN_IF_ERROR(WriteFileAtomic(args.out, ReportPage(numbers)));
  std::cout << "report             " << args.out << "\n";
  if (!args.json.empty()) {
    const std::string text =
        numbers.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    COHORT_RETURN_IF_ERROR(WriteFileAtomic(args.json, text));
    std::cout << "numbers            " << args.json << "\n";
  }
  return absl::OkStatus();
}

}  // namespace

int RunReport(const ReportArgs& args) {
  const absl::Status status = MakeReport(args);
  return status.ok() ? 0 : Fail("report", status);
}

}  // namespace cohort

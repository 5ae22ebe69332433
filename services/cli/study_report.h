// What a study found, as one JSON document and from it the Markdown and the HTML page.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "services/cli/study_metrics.h"

namespace cohort {

// `claims`: judged. Reads what the jobs left.
nlohmann::json StudyReportNumbers(const NamedStudy& study, const StudyPlan& plan,
                                  const StudyPaths& paths, const StudyOutcome& outcome,
                                  StudyNumbers* numbers);

std::string StudyMarkdown(const nlohmann::json& numbers);
std::string StudyPage(const nlohmann::json& numbers);  // self-contained HTML

// report.json, report.md and report.html in `folder`.
absl::Status WriteStudyReport(const std::string& folder, const nlohmann::json& numbers);

}  // namespace cohort

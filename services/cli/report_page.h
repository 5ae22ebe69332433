// The report as one page: everything in it comes from the document of report_data.h and
// report_models.h, nothing from outside the file. No scripts.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace cohort {

// `numbers` as ReportNumbers made it; parts that are missing are left out of the page.
std::string ReportPage(const nlohmann::json& numbers);

}  // namespace cohort

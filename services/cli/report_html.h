// Pieces of HTML that the report is made of: numbers as text, tables, the page's style.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace cohort {

// Values of a JSON object; what is missing or of another type is `otherwise`, "" or an empty list.
double Number(const nlohmann::json& in, const char* key, double otherwise = 0);
std::string Text(const nlohmann::json& in, const char* key);
const nlohmann::json& Part(const nlohmann::json& in, const char* key);

std::string Percent(double share);                      // "12.3 %"
std::string WithInterval(const nlohmann::json& value);  // HTML: share with its interval
std::string Points(const nlohmann::json& value);        // HTML: difference in points, signed
std::string KText(double k);                            // "16"

// `caption` and `head` are plain text, cells are HTML; the first cell of a row names it.
using Cells = std::vector<std::string>;
std::string Table(const std::string& caption, const Cells& head, const std::vector<Cells>& rows);

std::string PageStyle();

}  // namespace cohort

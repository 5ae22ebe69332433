// JSON values of a report as numbers and HTML.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace cohort {

// Values of a JSON object; what is missing or of another type is `otherwise`, "" or an empty list.
double Number(const nlohmann::json& in, const char* key, double otherwise = 0);
std::string Text(const nlohmann::json& in, const char* key);
const nlohmann::json& Part(const nlohmann::json& in, const char* key);

std::string WithInterval(const nlohmann::json& value);  // HTML: share with its interval
std::string Points(const nlohmann::json& value);        // HTML: difference in points, signed
std::string KText(double k);                            // "16"

}  // namespace cohort

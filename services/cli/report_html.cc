#include "services/cli/report_html.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace cohort {

using nlohmann::json;

double Number(const json& in, const char* key, double otherwise) {
  const auto found = in.find(key);
  return found != in.end() && found->is_number() ? found->get<double>() : otherwise;
}
std::string Text(const json& in, const char* key) {
  const auto found = in.find(key);
  return found != in.end() && found->is_string() ? found->get<std::string>() : "";
}
const json& Part(const json& in, const char* key) {
  static const json* const kNothing = new json(json::array());
  const auto found = in.find(key);
  return found == in.end() ? *kNothing : *found;
}
std::string WithInterval(const json& value) {
  return absl::StrFormat("%.1f %% <small>[%.1f, %.1f]</small>", 100 * Number(value, "mean"),
                         100 * Number(value, "low"), 100 * Number(value, "high"));
}
std::string Points(const json& value) {
  return absl::StrFormat("%+.1f <small>[%+.1f, %+.1f]</small>", 100 * Number(value, "mean"),
                         100 * Number(value, "low"), 100 * Number(value, "high"));
}
std::string KText(double k) { return absl::StrFormat("%.3g", k); }

}  // namespace cohort

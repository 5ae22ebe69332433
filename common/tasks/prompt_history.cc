#include "common/tasks/prompt_history.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/text/json.h"

namespace cohort {

absl::StatusOr<PromptHistory> PromptHistory::Read(const std::string& path) {
  COHORT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  PromptHistory history;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipWhitespace())) {
    const std::string where = absl::StrCat(path, " line ", ++number);
    const nlohmann::json entry = nlohmann::json::parse(line, nullptr, false);
    if (!entry.is_object() || !entry.value("prompt", nlohmann::json()).is_string() ||
        !entry.value("ordinal", nlohmann::json()).is_number() ||
        !entry.value("accuracy", nlohmann::json()).is_number()) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": expected {\"ordinal\", \"prompt\", \"accuracy\"}"));
    }
    history.visits_[entry["prompt"].get<std::string>()].push_back(
        {entry["ordinal"].get<uint64_t>(), entry["accuracy"].get<double>()});
  }
  for (auto& [key, list] : history.visits_) {
    std::sort(list.begin(), list.end(),
              [](const Visit& a, const Visit& b) { return a.ordinal < b.ordinal; });
  }
  return history;
}

std::vector<std::optional<double>> PromptHistory::Curve(const std::string& key,
                                                        uint64_t epoch_size) const {
  std::vector<std::optional<double>> curve;
  const auto found = visits_.find(key);
  if (found == visits_.end()) return curve;
  for (const Visit& visit : found->second) {
    const size_t epoch = epoch_size > 0 ? visit.ordinal / epoch_size : curve.size();
    if (curve.size() <= epoch) curve.resize(epoch + 1);
    curve[epoch] = visit.accuracy;
  }
  return curve;
}

}  // namespace cohort

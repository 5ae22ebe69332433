// JSON from files that others wrote: errors instead of exceptions, bounded nesting.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cohort {

// Arrays and objects may nest this deep: printing and destroying a value recurses.
inline constexpr int kMaxJsonDepth = 100;

// `what` names the input in the error ("models/x/config.json", "train.jsonl line 7").
absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text, absl::string_view what);

// NotFound when the file is missing; InvalidArgument when it is not one JSON object.
absl::StatusOr<nlohmann::json> ReadJsonObject(const std::string& path);

// Compact JSON. InvalidArgument when a string inside is not valid UTF-8.
absl::StatusOr<std::string> DumpJson(const nlohmann::json& value, absl::string_view what);

}  // namespace cohort

#include "common/text/json.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace cohort {
namespace {

// The deepest nesting of brackets outside strings, without building anything.
int NestingDepth(absl::string_view text) {
  int depth = 0;
  int deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size() && deepest <= kMaxJsonDepth; ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return deepest;
}

}  // namespace

absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text, absl::string_view what) {
  if (NestingDepth(text) > kMaxJsonDepth) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": JSON nests deeper than ", kMaxJsonDepth, " levels"));
  }
  try {
    return nlohmann::json::parse(text.begin(), text.end());
  } catch (const nlohmann::json::parse_error& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": not valid JSON at byte ", error.byte, " of ", text.size()));
  } catch (const nlohmann::json::exception& error) {  // a number out of range
    return absl::InvalidArgumentError(absl::StrCat(what, ": not valid JSON: ", error.what()));
  }
}

absl::StatusOr<nlohmann::json> ReadJsonObject(const std::string& path) {
  COHORT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  COHORT_ASSIGN_OR_RETURN(nlohmann::json value, ParseJson(text, path));
  if (!value.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": expected a JSON object, found ", value.type_name()));
  }
  return value;
}

absl::StatusOr<std::string> DumpJson(const nlohmann::json& value, absl::string_view what) {
  try {
    return value.dump();
  } catch (const nlohmann::json::exception&) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": a string is not valid UTF-8"));
  }
}

}  // namespace cohort

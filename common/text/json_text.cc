#include "common/text/json_text.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace cohort {
namespace {

// Behind the string that opens at `begin`.
size_t StringEnd(absl::string_view text, size_t begin) {
  size_t i = begin + 1;
  while (i < text.size() && text[i] != '"') i += text[i] == '\\' ? 2 : 1;
  return std::min(i + 1, text.size());
}

// Behind the value at `begin`: at the comma, colon or bracket that follows it.
size_t ValueEnd(absl::string_view text, size_t begin) {
  int depth = 0;
  for (size_t i = begin; i < text.size();) {
    const char c = text[i];
    if (c == '"') {
      i = StringEnd(text, i);
      continue;
    }
    if (c == '[' || c == '{') ++depth;
    if (depth == 0 && (c == ',' || c == ':' || c == ']' || c == '}')) return i;
    if (c == ']' || c == '}') --depth;
    ++i;
  }
  return text.size();
}

// The text between the outer brackets, cut at its commas and, in an object, at its colons.
std::vector<absl::string_view> Parts(absl::string_view text) {
  std::vector<absl::string_view> parts;
  text = absl::StripAsciiWhitespace(text);
  if (text.size() < 2) return parts;
  text = absl::StripAsciiWhitespace(text.substr(1, text.size() - 2));
  for (size_t i = 0; i < text.size();) {
    const size_t end = ValueEnd(text, i);
    parts.push_back(absl::StripAsciiWhitespace(text.substr(i, end - i)));
    i = end + 1;
  }
  return parts;
}

}  // namespace

std::vector<JsonMember> JsonMembers(absl::string_view object) {
  const std::vector<absl::string_view> parts = Parts(object);
  std::vector<JsonMember> members;
  for (size_t i = 0; i + 1 < parts.size(); i += 2) {
    std::string name = JsonValueText(parts[i]);
    const auto same = std::find_if(members.begin(), members.end(),
                                   [&](const JsonMember& member) { return member.first == name; });
    if (same != members.end()) {
      same->second = parts[i + 1];
    } else {
      members.emplace_back(std::move(name), parts[i + 1]);
    }
  }
  return members;
}

std::vector<absl::string_view> JsonElements(absl::string_view array) { return Parts(array); }

std::string JsonValueText(absl::string_view value) {
  value = absl::StripAsciiWhitespace(value);
  if (value == "null") return "";
  if (value.empty() || value[0] != '"') return std::string(value);
  const auto text = nlohmann::json::parse(value.begin(), value.end(), nullptr,
                                          /*allow_exceptions=*/false);
  return text.is_string() ? text.get<std::string>() : std::string(value);
}

std::string JsonObject(const std::vector<JsonMember>& members) {
  std::string out = "{";
  for (const auto& [name, value] : members) {
    const std::string key =
        nlohmann::json(name).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    absl::StrAppend(&out, out.size() > 1 ? "," : "", key, ":", value);
  }
  return out + "}";
}

}  // namespace cohort

// JSON values as their line spells them. Parsing a number and printing it again changes it
// (91827364554637281900122, 0.00003), and what a reward compares is the text.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cohort {

// A member of an object: its name, and its value as it is written. The view is into the object.
using JsonMember = std::pair<std::string, absl::string_view>;

// Both expect text that ParseJson takes: an object, an array. A name that stands there twice is
// given once, with its last value; the order is that of the text.
std::vector<JsonMember> JsonMembers(absl::string_view object);
std::vector<absl::string_view> JsonElements(absl::string_view array);

// What a value says: the content of a string, "" for null, else the value as it is written.
std::string JsonValueText(absl::string_view value);

// The object with these members, each with its value as it is written.
std::string JsonObject(const std::vector<JsonMember>& members);

}  // namespace cohort

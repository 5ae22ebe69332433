// YAML text into a message of the configuration schema, by reflection. Refuses what the schema does
// not know, in one line that says where, what was expected and what was found.
#pragma once

#include <google/protobuf/message.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace cohort {

// Reads `text` into `message`. `origin` names the text in errors ("recipes/grpo.yaml"); they read
// "origin:line: key: expected ..., found ...". InvalidArgument on any mistake; the message is then
// half filled.
absl::Status ReadYaml(absl::string_view text, const std::string& origin,
                      google::protobuf::Message* message);

// Applies one `a.b.c=value` (a list entry as `sources[0]` or `sources.0`, one past the end
// appends). The value is YAML and replaces what was there; a field of a part selects that part.
absl::Status ApplyOverride(const std::string& setting, google::protobuf::Message* message);

}  // namespace cohort

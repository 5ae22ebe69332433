// Messages as JSON: field names as in the .proto files, every value written out. Thread-safe.
#pragma once

#include <google/protobuf/message.h>

#include <string>

#include "absl/status/status.h"

namespace cohort {

std::string MessageToJson(const google::protobuf::Message& message);
// InvalidArgument: not JSON, or not of this message. Fields of a newer peer are passed over.
absl::Status MessageFromJson(const std::string& json, google::protobuf::Message* message);

}  // namespace cohort

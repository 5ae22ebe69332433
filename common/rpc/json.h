// Messages as JSON: field names as in the .proto files, every value written out unless said
// otherwise. Thread-safe.
#pragma once

#include <google/protobuf/message.h>

#include <string>

#include "absl/status/status.h"

namespace cohort {

std::string MessageToJson(const google::protobuf::Message& message);
// Only the fields that are set: what is read back from it is the same message, in which others are
// still unset.
std::string MessageToSparseJson(const google::protobuf::Message& message);
// InvalidArgument: not JSON, or not of this message. Fields of a newer peer are passed over.
absl::Status MessageFromJson(const std::string& json, google::protobuf::Message* message);

}  // namespace cohort

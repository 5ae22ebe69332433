#include "common/rpc/json.h"

#include <google/protobuf/util/json_util.h>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"

namespace cohort {

namespace {

std::string ToJson(const google::protobuf::Message& message, bool unset_too) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = unset_too;
  std::string json;
  const auto written = google::protobuf::util::MessageToJsonString(message, &json, options);
  COHORT_CHECK(written.ok()) << written.ToString();  // fails on unknown Any types only
  return json;
}

}  // namespace

std::string MessageToJson(const google::protobuf::Message& message) {
  return ToJson(message, /*unset_too=*/true);
}

std::string MessageToSparseJson(const google::protobuf::Message& message) {
  return ToJson(message, /*unset_too=*/false);
}

absl::Status MessageFromJson(const std::string& json, google::protobuf::Message* message) {
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  const auto read = google::protobuf::util::JsonStringToMessage(json, message, options);
  if (read.ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("expected the JSON of a ",
                                                 message->GetDescriptor()->full_name(), ": ",
                                                 std::string(read.message())));
}

}  // namespace cohort

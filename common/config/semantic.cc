#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/config/config.h"
#include "common/config/schema.h"
#include "common/config/values.h"

namespace cohort {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Marked [semantic] in config.proto, except data, algorithm (whole sections) and model.path (by
// content). Sorted is not needed here.
constexpr const char* kSemanticFields[] = {"run.seed",
                                           "model.dtype",
                                           "model.max_context",
                                           "rollout.group_size",
                                           "rollout.temperature",
                                           "rollout.top_p",
                                           "rollout.top_k",
                                           "rollout.max_new_tokens",
                                           "rollout.stop",
                                           "rollout.length_schedule",
                                           "rollout.serial"};

// Not what is trained: how long to look for prompts (a paused run is resumed with another value),
// and where this host keeps a model or an earlier run.
constexpr const char* kLocal[] = {".max_rounds", ".max_tries",         ".on_exhausted",
                                  "].path",      ".variance_topk.run", ".lim.run"};

bool IsSemantic(const std::string& name) {
  if (absl::StartsWith(name, "algorithm.")) {
    return std::none_of(std::begin(kLocal), std::end(kLocal),
                        [&](const char* ending) { return absl::EndsWith(name, ending); });
  }
  if (absl::StartsWith(name, "critic.") || absl::StartsWith(name, "process_model.")) {
    return !absl::EndsWith(name, ".path");
  }
  // A data file may lie elsewhere on another host; its source's name and reward count.
  if (absl::StartsWith(name, "data.")) return !absl::EndsWith(name, ".path");
  return std::any_of(std::begin(kSemanticFields), std::end(kSemanticFields),
                     [&](const char* field) {
                       return name == field || absl::StartsWith(name, absl::StrCat(field, "[")) ||
                              absl::StartsWith(name, absl::StrCat(field, "."));
                     });
}

void Flatten(const Message& message, const std::string& path, FieldMap* out);

void FlattenValue(const Message& message, const FieldDescriptor& field, int index,
                  const std::string& path, FieldMap* out) {
  const Reflection& reflection = *message.GetReflection();
  if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
    out->emplace(path, ScalarText(message, field, index));
    return;
  }
  const Message& part = index < 0 ? reflection.GetMessage(message, &field)
                                  : reflection.GetRepeatedMessage(message, &field, index);
  // A chosen part without fields is a fact of its own.
  if (field.containing_oneof() != nullptr) out->emplace(path, "{}");
  Flatten(part, path, out);
}

void Flatten(const Message& message, const std::string& path, FieldMap* out) {
  const Reflection& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const std::string here = JoinKey(path, field->name());
    if (!field->is_repeated()) {
      FlattenValue(message, *field, -1, here, out);
      continue;
    }
    for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
      FlattenValue(message, *field, i, absl::StrCat(here, "[", i, "]"), out);
    }
  }
}

}  // namespace

FieldMap FlatFields(const v1::RunConfig& config) {
  FieldMap fields;
  Flatten(config, "", &fields);
  return fields;
}

FieldMap SemanticFields(const v1::RunConfig& config, const std::string& model_sha256) {
  FieldMap fields = FlatFields(config);
  std::erase_if(fields, [](const auto& field) { return !IsSemantic(field.first); });
  fields.emplace("model.sha256", model_sha256);
  return fields;
}

}  // namespace cohort

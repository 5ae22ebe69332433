// YAML out: the inverse of yaml_reader.
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/config/config.h"
#include "common/config/schema.h"
#include "common/config/values.h"

namespace cohort {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

class Printer {
 public:
  // The keys of `message`, each on a line of its own, indented by `indent` spaces.
  void Fields(const Message& message, int indent) {
    const auto& type = *message.GetDescriptor();
    for (int i = 0; i < type.field_count(); ++i) Field(message, *type.field(i), indent);
  }
  std::string Take() { return std::move(out_); }

 private:
  void Field(const Message& message, const FieldDescriptor& field, int indent) {
    if (field.is_repeated()) return List(message, field, indent);
    const Reflection& reflection = *message.GetReflection();
    if (!reflection.HasField(message, &field)) return;
    absl::StrAppend(&out_, std::string(static_cast<size_t>(indent), ' '), field.name(), ":");
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      Part(reflection.GetMessage(message, &field), indent);
    } else {
      absl::StrAppend(&out_, " ", ScalarYaml(message, field, -1), "\n");
    }
  }

  // What follows "key:": a bare name when a part without set fields was chosen, else its fields.
  void Part(const Message& message, int indent) {
    std::vector<const FieldDescriptor*> set;
    message.GetReflection()->ListFields(message, &set);
    if (set.empty()) {
      absl::StrAppend(&out_, " {}\n");
    } else if (IsBareName(message, set)) {
      absl::StrAppend(&out_, " ", set[0]->name(), "\n");
    } else {
      absl::StrAppend(&out_, "\n");
      Fields(message, indent + 2);
    }
  }

  static bool IsBareName(const Message& message, const std::vector<const FieldDescriptor*>& set) {
    if (set.size() != 1 || set[0]->containing_oneof() == nullptr) return false;
    std::vector<const FieldDescriptor*> inner;
    const Message& part = message.GetReflection()->GetMessage(message, set[0]);
    part.GetReflection()->ListFields(part, &inner);
    return inner.empty();
  }

  void List(const Message& message, const FieldDescriptor& field, int indent) {
    const Reflection& reflection = *message.GetReflection();
    const int size = reflection.FieldSize(message, &field);
    const std::string margin(static_cast<size_t>(indent), ' ');
    absl::StrAppend(&out_, margin, field.name(), size == 0 ? ": []\n" : ":\n");
    for (int i = 0; i < size; ++i) {
      if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
        absl::StrAppend(&out_, margin, "  - ", ScalarYaml(message, field, i), "\n");
        continue;
      }
      Printer element;
      element.Part(reflection.GetRepeatedMessage(message, &field, i), indent + 2);
      absl::StrAppend(&out_, margin, "  -", OnDashLine(element.Take(), indent + 4));
    }
  }

  // "\n    a: 1\n" as " a: 1\n": the first key stands beside the dash.
  static std::string OnDashLine(std::string text, int indent) {
    if (text[0] != '\n') return text;
    return absl::StrCat(" ", text.substr(static_cast<size_t>(indent) + 1));
  }

  std::string out_;
};

}  // namespace

std::string PrintConfig(const v1::RunConfig& config) {
  Printer printer;
  printer.Fields(config, 0);
  return printer.Take();
}

}  // namespace cohort

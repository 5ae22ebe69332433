// One scalar of the configuration as text.
#pragma once

#include <google/protobuf/message.h>

#include <string>

namespace cohort {

// The shortest text that reads back as the same number.
std::string NumberText(double value);

// The field's value as it would be typed in YAML, without quotes. `index` -1: not a list's entry.
std::string ScalarText(const google::protobuf::Message& message,
                       const google::protobuf::FieldDescriptor& field, int index);

// The same, quoted where YAML needs it.
std::string ScalarYaml(const google::protobuf::Message& message,
                       const google::protobuf::FieldDescriptor& field, int index);

}  // namespace cohort

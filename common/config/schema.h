// Names in the configuration schema (config.proto): how enum values, choices and short forms are
// written in YAML, and which valid name is nearest to a misspelt one.
#pragma once

#include <google/protobuf/descriptor.h>

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace cohort {

// The choice between parts that a message makes (`trust: none | clip | ...`); null when it has
// none.
const google::protobuf::OneofDescriptor* ChoiceOf(const google::protobuf::Descriptor& message);

// The field that a bare value stands for (`agg: token_mean` is `agg: {mode: token_mean}`); null
// when the message has no short form.
const google::protobuf::FieldDescriptor* ShortFormOf(const google::protobuf::Descriptor& message);

// True for an optional message whose absence means "off", so that it is never filled in.
bool AbsentMeansOff(const google::protobuf::FieldDescriptor& field);

// Lower case without the prefix that all values of the enum share: BASELINE_GROUP_MEAN is
// group_mean.
std::string EnumValueText(const google::protobuf::EnumValueDescriptor& value);
const google::protobuf::EnumValueDescriptor* FindEnumValue(
    const google::protobuf::EnumDescriptor& type, absl::string_view text);

std::vector<std::string> EnumTexts(const google::protobuf::EnumDescriptor& type);
std::vector<std::string> PartNames(const google::protobuf::OneofDescriptor& choice);
std::vector<std::string> KeyNames(const google::protobuf::Descriptor& message);

// "did you mean 'x'?" with the candidate nearest in edit distance, else "expected one of a, b, c".
std::string Suggest(absl::string_view wrong, const std::vector<std::string>& candidates);

// The same for a key of `message`, which stands at `path`. A name that is right at another place
// of the schema is pointed to ("did you mean 'algorithm.trust.clip.high'?").
std::string SuggestKey(absl::string_view wrong, const google::protobuf::Descriptor& message,
                       const std::string& path);

// "a.b" or, at the root, "b".
std::string JoinKey(absl::string_view path, absl::string_view key);

}  // namespace cohort

#include "common/config/yaml_reader.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <sstream>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "common/config/schema.h"

namespace cohort {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::OneofDescriptor;
using google::protobuf::Reflection;

constexpr size_t kMaxBytes = size_t{1} << 20;

std::string Shorten(std::string text) {
  constexpr size_t kLongest = 60;
  if (text.size() > kLongest) text = absl::StrCat(text.substr(0, kLongest), "...");
  for (char& c : text) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(c))) c = ' ';
  }
  return text;
}

std::string Describe(const YAML::Node& node) {
  if (!node.IsDefined() || node.IsNull()) return "nothing";
  if (node.IsMap()) return "a mapping";
  if (node.IsSequence()) return "a list";
  return absl::StrCat("'", Shorten(node.Scalar()), "'");
}

// A quoted scalar is text, never a number or a truth value.
bool IsPlain(const YAML::Node& node) { return node.IsScalar() && node.Tag() != "!"; }

// One text being read: knows how to say where in it something is wrong.
class Reader {
 public:
  explicit Reader(std::string origin, bool lines) : origin_(std::move(origin)), lines_(lines) {}

  absl::Status Read(const YAML::Node& node, const std::string& path, Message* message);
  absl::Status ReadField(const YAML::Node& node, const std::string& path,
                         const FieldDescriptor& field, Message* message);
  absl::Status ReadElement(const YAML::Node& node, const std::string& path,
                           const FieldDescriptor& field, int index, Message* message);
  absl::Status Fail(const YAML::Node& node, absl::string_view text) const;

 private:
  absl::Status ReadBare(const YAML::Node& node, const std::string& path, Message* message);
  absl::Status ReadMap(const YAML::Node& node, const std::string& path, Message* message);
  absl::Status ReadKey(const YAML::Node& key, const YAML::Node& value, const std::string& path,
                       Message* message);
  absl::Status ReadList(const YAML::Node& node, const std::string& path,
                        const FieldDescriptor& field, Message* message);
  absl::Status ReadScalar(const YAML::Node& node, const std::string& path,
                          const FieldDescriptor& field, int index, Message* message);
  absl::Status Expected(const YAML::Node& node, const std::string& path,
                        absl::string_view what) const {
    return Fail(node, absl::StrCat(path.empty() ? "configuration" : path, ": expected ", what,
                                   ", found ", Describe(node)));
  }

  absl::StatusOr<int64_t> Integer(const YAML::Node& node, const std::string& path, int64_t low,
                                  int64_t high) const;
  absl::StatusOr<uint64_t> Unsigned(const YAML::Node& node, const std::string& path) const;
  absl::StatusOr<double> Number(const YAML::Node& node, const std::string& path) const;
  absl::StatusOr<bool> Truth(const YAML::Node& node, const std::string& path) const;
  absl::StatusOr<const EnumValueDescriptor*> Enum(const YAML::Node& node, const std::string& path,
                                                  const FieldDescriptor& field) const;

  std::string origin_;
  YAML::Mark key_mark_ = YAML::Mark::null_mark();  // of the last key: where a missing value belongs
  bool lines_;  // an override is one value: a line number would say nothing
};

absl::Status Reader::Fail(const YAML::Node& node, absl::string_view text) const {
  const YAML::Mark mark = node.IsDefined() && !node.IsNull() ? node.Mark() : key_mark_;
  if (!lines_ || mark.is_null())
    return absl::InvalidArgumentError(absl::StrCat(origin_, ": ", text));
  return absl::InvalidArgumentError(absl::StrCat(origin_, ":", mark.line + 1, ": ", text));
}

std::string Expectation(const Descriptor& type) {
  if (const OneofDescriptor* choice = ChoiceOf(type)) {
    return absl::StrCat("one of ", absl::StrJoin(PartNames(*choice), ", "),
                        " (a name, or a mapping from it to its fields)");
  }
  if (type.field_count() == 0) return "nothing (it has no fields)";
  return absl::StrCat("a mapping with keys among ", absl::StrJoin(KeyNames(type), ", "));
}

absl::Status Reader::Read(const YAML::Node& node, const std::string& path, Message* message) {
  const Descriptor& type = *message->GetDescriptor();
  if (node.IsMap()) return ReadMap(node, path, message);
  if (node.IsScalar()) return ReadBare(node, path, message);
  if (node.IsNull() && !ChoiceOf(type) && !ShortFormOf(type)) return absl::OkStatus();
  return Expected(node, path, Expectation(type));
}

// A part's name, or the value of the message's short form.
absl::Status Reader::ReadBare(const YAML::Node& node, const std::string& path, Message* message) {
  const Descriptor& type = *message->GetDescriptor();
  if (const FieldDescriptor* field = ShortFormOf(type)) {
    return ReadField(node, path, *field, message);
  }
  const OneofDescriptor* choice = ChoiceOf(type);
  if (choice == nullptr) return Expected(node, path, Expectation(type));
  const FieldDescriptor* part = type.FindFieldByName(node.Scalar());
  if (part == nullptr || part->containing_oneof() != choice) {
    return Fail(node, absl::StrCat(path, ": unknown value ", Describe(node), "; ",
                                   Suggest(node.Scalar(), PartNames(*choice))));
  }
  message->GetReflection()->MutableMessage(message, part);
  return absl::OkStatus();
}

absl::Status Reader::ReadMap(const YAML::Node& node, const std::string& path, Message* message) {
  std::set<std::string> seen;
  for (const auto& entry : node) {
    if (!entry.first.IsScalar()) return Expected(entry.first, path, "a key");
    if (!seen.insert(entry.first.Scalar()).second) {
      return Fail(entry.first, absl::StrCat("duplicate key '", JoinKey(path, entry.first.Scalar()),
                                            "'; keep one of them"));
    }
    COHORT_RETURN_IF_ERROR(ReadKey(entry.first, entry.second, path, message));
  }
  return absl::OkStatus();
}

absl::Status Reader::ReadKey(const YAML::Node& key, const YAML::Node& value,
                             const std::string& path, Message* message) {
  key_mark_ = key.Mark();
  const Descriptor& type = *message->GetDescriptor();
  const FieldDescriptor* field = type.FindFieldByName(key.Scalar());
  if (field == nullptr) {
    return Fail(key, absl::StrCat("unknown key '", Shorten(JoinKey(path, key.Scalar())), "'; ",
                                  SuggestKey(key.Scalar(), type, path)));
  }
  if (const OneofDescriptor* choice = field->containing_oneof()) {
    const FieldDescriptor* chosen =
        message->GetReflection()->GetOneofFieldDescriptor(*message, choice);
    if (chosen != nullptr) {
      return Fail(key, absl::StrCat(path, ": '", chosen->name(), "' and '", field->name(),
                                    "' exclude each other; keep one of them"));
    }
  }
  return ReadField(value, JoinKey(path, field->name()), *field, message);
}

absl::Status Reader::ReadField(const YAML::Node& node, const std::string& path,
                               const FieldDescriptor& field, Message* message) {
  if (field.is_repeated()) return ReadList(node, path, field, message);
  if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
    return ReadScalar(node, path, field, -1, message);
  }
  Message* part = message->GetReflection()->MutableMessage(message, &field);
  // `clip:` without fields is the part with its defaults.
  if (node.IsNull() && field.containing_oneof()) return absl::OkStatus();
  return Read(node, path, part);
}

absl::Status Reader::ReadList(const YAML::Node& node, const std::string& path,
                              const FieldDescriptor& field, Message* message) {
  if (!node.IsSequence()) return Expected(node, path, "a list");
  for (size_t i = 0; i < node.size(); ++i) {
    const int index = static_cast<int>(i);
    COHORT_RETURN_IF_ERROR(
        ReadElement(node[i], absl::StrCat(path, "[", i, "]"), field, index, message));
  }
  return absl::OkStatus();
}

// `index` is at most the list's size: one past the end appends.
absl::Status Reader::ReadElement(const YAML::Node& node, const std::string& path,
                                 const FieldDescriptor& field, int index, Message* message) {
  const Reflection& reflection = *message->GetReflection();
  if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
    return ReadScalar(node, path, field, index, message);
  }
  if (index == reflection.FieldSize(*message, &field)) {
    return Read(node, path, reflection.AddMessage(message, &field));
  }
  Message* element = reflection.MutableRepeatedMessage(message, &field, index);
  element->Clear();
  return Read(node, path, element);
}

absl::StatusOr<int64_t> Reader::Integer(const YAML::Node& node, const std::string& path,
                                        int64_t low, int64_t high) const {
  int64_t value = 0;
  if (!IsPlain(node) || !absl::SimpleAtoi(node.Scalar(), &value) || value < low || value > high) {
    return Expected(node, path, absl::StrCat("a whole number in [", low, ", ", high, "]"));
  }
  return value;
}

absl::StatusOr<uint64_t> Reader::Unsigned(const YAML::Node& node, const std::string& path) const {
  uint64_t value = 0;
  if (!IsPlain(node) || !absl::SimpleAtoi(node.Scalar(), &value)) {
    return Expected(node, path, "a whole number that is not negative");
  }
  return value;
}

absl::StatusOr<double> Reader::Number(const YAML::Node& node, const std::string& path) const {
  double value = 0;
  if (!IsPlain(node) || !absl::SimpleAtod(node.Scalar(), &value) || !std::isfinite(value)) {
    return Expected(node, path, "a finite number");
  }
  return value;
}

absl::StatusOr<bool> Reader::Truth(const YAML::Node& node, const std::string& path) const {
  if (IsPlain(node) && node.Scalar() == "true") return true;
  if (IsPlain(node) && node.Scalar() == "false") return false;
  return Expected(node, path, "true or false");
}

absl::StatusOr<const EnumValueDescriptor*> Reader::Enum(const YAML::Node& node,
                                                        const std::string& path,
                                                        const FieldDescriptor& field) const {
  const auto& type = *field.enum_type();
  if (!node.IsScalar()) {
    return Expected(node, path, absl::StrCat("one of ", absl::StrJoin(EnumTexts(type), ", ")));
  }
  const EnumValueDescriptor* value = FindEnumValue(type, node.Scalar());
  if (value == nullptr) {
    return Fail(node, absl::StrCat(path, ": unknown value ", Describe(node), "; ",
                                   Suggest(node.Scalar(), EnumTexts(type))));
  }
  return value;
}

// Calls the reflection setter that fits: of a single field (index -1), of a list's entry, or one
// past its end.
template <typename Value>
absl::Status Store(void (Reflection::*set)(Message*, const FieldDescriptor*, Value) const,
                   void (Reflection::*set_at)(Message*, const FieldDescriptor*, int, Value) const,
                   void (Reflection::*add)(Message*, const FieldDescriptor*, Value) const,
                   const FieldDescriptor& field, int index, Message* message, Value value) {
  const Reflection& reflection = *message->GetReflection();
  if (index < 0) {
    (reflection.*set)(message, &field, std::move(value));
  } else if (index < reflection.FieldSize(*message, &field)) {
    (reflection.*set_at)(message, &field, index, std::move(value));
  } else {
    (reflection.*add)(message, &field, std::move(value));
  }
  return absl::OkStatus();
}

absl::Status Reader::ReadScalar(const YAML::Node& node, const std::string& path,
                                const FieldDescriptor& field, int index, Message* message) {
  if (node.IsNull() && index < 0 && !field.has_default_value()) {
    message->GetReflection()->ClearField(message, &field);  // `dual_c: null` switches it off
    return absl::OkStatus();
  }
#define COHORT_STORE(Type, value)                                                              \
  Store(&Reflection::Set##Type, &Reflection::SetRepeated##Type, &Reflection::Add##Type, field, \
        index, message, value)
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32: {
      using Limits = std::numeric_limits<int32_t>;
      COHORT_ASSIGN_OR_RETURN(int64_t value, Integer(node, path, Limits::min(), Limits::max()));
      return COHORT_STORE(Int32, static_cast<int32_t>(value));
    }
    case FieldDescriptor::CPPTYPE_INT64: {
      using Limits = std::numeric_limits<int64_t>;
      COHORT_ASSIGN_OR_RETURN(int64_t value, Integer(node, path, Limits::min(), Limits::max()));
      return COHORT_STORE(Int64, value);
    }
    case FieldDescriptor::CPPTYPE_UINT64: {
      COHORT_ASSIGN_OR_RETURN(uint64_t value, Unsigned(node, path));
      return COHORT_STORE(UInt64, value);
    }
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      COHORT_ASSIGN_OR_RETURN(double value, Number(node, path));
      return COHORT_STORE(Double, value);
    }
    case FieldDescriptor::CPPTYPE_BOOL: {
      COHORT_ASSIGN_OR_RETURN(bool value, Truth(node, path));
      return COHORT_STORE(Bool, value);
    }
    case FieldDescriptor::CPPTYPE_ENUM: {
      COHORT_ASSIGN_OR_RETURN(const EnumValueDescriptor* value, Enum(node, path, field));
      return COHORT_STORE(Enum, value);
    }
    case FieldDescriptor::CPPTYPE_STRING: {
      if (!node.IsScalar()) return Expected(node, path, "text");
      return COHORT_STORE(String, node.Scalar());
    }
    default:
      return Fail(node, absl::StrCat(path, ": a field of this type cannot be read"));
  }
#undef COHORT_STORE
}

// ---- overrides ----

// `data.sources[0].weight` and `data.sources.0.weight` as {data, sources, 0, weight}.
absl::StatusOr<std::vector<std::string>> SplitPath(const std::string& key) {
  std::string dotted;
  for (size_t i = 0; i < key.size(); ++i) {
    if (key[i] == '[') {
      dotted += '.';
    } else if (key[i] == ']') {
      if (i + 1 < key.size() && key[i + 1] != '.') {
        return absl::InvalidArgumentError("expected '.' after ']'");
      }
    } else {
      dotted += key[i];
    }
  }
  return std::vector<std::string>(absl::StrSplit(dotted, '.'));
}

class Override {
 public:
  Override(std::string origin, std::vector<std::string> path, YAML::Node value)
      : reader_(std::move(origin), /*lines=*/false), path_(std::move(path)), value_(value) {}

  // Walks from path element `at`, whose parent `message` stands at `where`.
  absl::Status Apply(size_t at, const std::string& where, Message* message) {
    const FieldDescriptor* field = message->GetDescriptor()->FindFieldByName(path_[at]);
    if (field == nullptr) {
      return reader_.Fail(YAML::Node(),
                          absl::StrCat("unknown key '", Shorten(JoinKey(where, path_[at])), "'; ",
                                       SuggestKey(path_[at], *message->GetDescriptor(), where)));
    }
    const std::string here = JoinKey(where, path_[at]);
    if (at + 1 == path_.size()) {
      message->GetReflection()->ClearField(message, field);
      return reader_.ReadField(value_, here, *field, message);
    }
    if (field->is_repeated()) return ApplyToElement(at + 1, here, *field, message);
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
      return reader_.Fail(YAML::Node(), absl::StrCat(here, " has no part '", path_[at + 1], "'"));
    }
    return Apply(at + 1, here, message->GetReflection()->MutableMessage(message, field));
  }

 private:
  absl::Status ApplyToElement(size_t at, const std::string& where, const FieldDescriptor& field,
                              Message* message) {
    const Reflection& reflection = *message->GetReflection();
    const int size = reflection.FieldSize(*message, &field);
    int index = 0;
    if (!absl::SimpleAtoi(path_[at], &index) || index < 0 || index > size) {
      return reader_.Fail(YAML::Node(),
                          absl::StrCat(where, " has ", size, " entries; expected an index in [0, ",
                                       size, "], found '", Shorten(path_[at]), "'"));
    }
    const std::string here = absl::StrCat(where, "[", index, "]");
    if (at + 1 == path_.size()) return reader_.ReadElement(value_, here, field, index, message);
    if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
      return reader_.Fail(YAML::Node(), absl::StrCat(here, " has no part '", path_[at + 1], "'"));
    }
    if (index == size) return Apply(at + 1, here, reflection.AddMessage(message, &field));
    return Apply(at + 1, here, reflection.MutableRepeatedMessage(message, &field, index));
  }

  Reader reader_;
  std::vector<std::string> path_;
  YAML::Node value_;
};

// Reads and ignores: tells how the text is divided into documents.
class NullHandler final : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t,
                const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}
};

// The text's only document, null when it is empty. Not YAML::LoadAll: that never returns where the
// parser meets a token it does not consume, such as a stray `]`.
absl::StatusOr<YAML::Node> LoadOne(const std::string& text, const std::string& origin) {
  std::istringstream stream(text);
  YAML::Parser parser(stream);
  NullHandler ignore;
  if (parser.HandleNextDocument(ignore) && parser.HandleNextDocument(ignore)) {
    return absl::InvalidArgumentError(
        absl::StrCat(origin, ": expected one YAML document, found more after its end"));
  }
  return YAML::Load(text);
}

absl::Status YamlError(const std::string& origin, const YAML::Exception& error) {
  const std::string line = error.mark.is_null() ? "" : absl::StrCat(":", error.mark.line + 1);
  return absl::InvalidArgumentError(absl::StrCat(origin, line, ": not valid YAML: ", error.msg));
}

}  // namespace

absl::Status ReadYaml(absl::string_view text, const std::string& origin, Message* message) {
  if (text.size() > kMaxBytes) {
    return absl::InvalidArgumentError(absl::StrCat(origin, ": expected at most ", kMaxBytes,
                                                   " bytes of YAML, found ", text.size()));
  }
  try {
    COHORT_ASSIGN_OR_RETURN(const YAML::Node document, LoadOne(std::string(text), origin));
    if (document.IsNull()) return absl::OkStatus();
    return Reader(origin, /*lines=*/true).Read(document, "", message);
  } catch (const YAML::Exception& error) {
    return YamlError(origin, error);
  }
}

absl::Status ApplyOverride(const std::string& setting, Message* message) {
  const std::string origin = absl::StrCat("--set ", Shorten(setting));
  const size_t equals = setting.find('=');
  if (equals == std::string::npos || equals == 0 || setting.size() > kMaxBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(origin, ": expected key=value, as in optimizer.lr=1e-6"));
  }
  absl::StatusOr<std::vector<std::string>> path = SplitPath(setting.substr(0, equals));
  if (!path.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(origin, ": ", path.status().message()));
  }
  try {
    COHORT_ASSIGN_OR_RETURN(const YAML::Node value, LoadOne(setting.substr(equals + 1), origin));
    return Override(origin, *std::move(path), value).Apply(0, "", message);
  } catch (const YAML::Exception& error) {
    return YamlError(origin, error);
  }
}

}  // namespace cohort

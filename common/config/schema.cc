#include "common/config/schema.h"

#include <algorithm>
#include <deque>
#include <numeric>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cohort/v1/config.pb.h"

namespace cohort {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::OneofDescriptor;

size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row.back();
}

// Empty when nothing is near enough to be what was meant.
std::string Nearest(absl::string_view wrong, const std::vector<std::string>& candidates) {
  if (wrong.size() > 64) return "";
  std::string best;
  size_t best_distance = std::max<size_t>(2, wrong.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const size_t distance = EditDistance(wrong, candidate);
    if (distance < best_distance && distance < candidate.size()) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

// Path of the field called `name` below `message`, the one nearest to it; empty when there is none.
std::string FindBelow(const Descriptor& message, absl::string_view name, const std::string& path) {
  std::deque<std::pair<const Descriptor*, std::string>> queue = {{&message, path}};
  for (; !queue.empty(); queue.pop_front()) {
    const auto [type, where] = queue.front();
    for (int i = 0; i < type->field_count(); ++i) {
      const FieldDescriptor& field = *type->field(i);
      const std::string here = JoinKey(where, field.name());
      if (name == field.name()) return here;
      if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        queue.emplace_back(field.message_type(),
                           field.is_repeated() ? absl::StrCat(here, "[0]") : here);
      }
    }
  }
  return "";
}

size_t SharedPrefixLength(const EnumDescriptor& type) {
  std::string prefix = type.value(0)->name();
  for (int i = 1; i < type.value_count(); ++i) {
    const std::string& name = type.value(i)->name();
    size_t same = 0;
    while (same < prefix.size() && same < name.size() && prefix[same] == name[same]) ++same;
    prefix.resize(same);
  }
  const size_t underscore = prefix.rfind('_');
  return underscore == std::string::npos ? 0 : underscore + 1;
}

}  // namespace

const OneofDescriptor* ChoiceOf(const Descriptor& message) {
  return message.oneof_decl_count() > 0 ? message.oneof_decl(0) : nullptr;
}

const FieldDescriptor* ShortFormOf(const Descriptor& message) {
  static const auto* const kShortForms = new std::vector<std::pair<std::string, std::string>>{
      {"Aggregation", "mode"}, {"DataSelection", "select"}, {"DataSource", "task"},
      {"EvalSource", "task"},  {"RewardComponent", "name"}, {"TokenWhiten", "variance"},
      {"Truncated", "mode"}};
  for (const auto& [name, field] : *kShortForms) {
    if (message.name() == name) return message.FindFieldByName(field);
  }
  return nullptr;
}

bool AbsentMeansOff(const FieldDescriptor& field) {
  return field.name() == "controller" || field.name() == "neg_seq_mask" ||
         field.full_name() == "cohort.v1.RolloutSection.serial" ||
         field.full_name() == "cohort.v1.DetachClip.mask";
}

std::string EnumValueText(const EnumValueDescriptor& value) {
  return absl::AsciiStrToLower(value.name().substr(SharedPrefixLength(*value.type())));
}

const EnumValueDescriptor* FindEnumValue(const EnumDescriptor& type, absl::string_view text) {
  for (int i = 0; i < type.value_count(); ++i) {
    if (EnumValueText(*type.value(i)) == text) return type.value(i);
  }
  return nullptr;
}

std::vector<std::string> EnumTexts(const EnumDescriptor& type) {
  std::vector<std::string> texts;
  for (int i = 0; i < type.value_count(); ++i) texts.push_back(EnumValueText(*type.value(i)));
  return texts;
}

std::vector<std::string> PartNames(const OneofDescriptor& choice) {
  std::vector<std::string> names;
  for (int i = 0; i < choice.field_count(); ++i) names.push_back(choice.field(i)->name());
  return names;
}

std::vector<std::string> KeyNames(const Descriptor& message) {
  std::vector<std::string> names;
  for (int i = 0; i < message.field_count(); ++i) names.push_back(message.field(i)->name());
  return names;
}

std::string Suggest(absl::string_view wrong, const std::vector<std::string>& candidates) {
  const std::string nearest = Nearest(wrong, candidates);
  if (!nearest.empty()) return absl::StrCat("did you mean '", nearest, "'?");
  return absl::StrCat("expected one of ", absl::StrJoin(candidates, ", "));
}

std::string SuggestKey(absl::string_view wrong, const Descriptor& message,
                       const std::string& path) {
  const std::vector<std::string> keys = KeyNames(message);
  std::string found = Nearest(wrong, keys);
  if (!found.empty()) found = JoinKey(path, found);
  if (found.empty()) found = FindBelow(message, wrong, path);
  if (found.empty()) found = FindBelow(*v1::RunConfig::descriptor(), wrong, "");
  if (!found.empty()) return absl::StrCat("did you mean '", found, "'?");
  if (keys.empty()) return "nothing can be set here";
  return absl::StrCat("expected one of ", absl::StrJoin(keys, ", "));
}

std::string JoinKey(absl::string_view path, absl::string_view key) {
  return path.empty() ? std::string(key) : absl::StrCat(path, ".", key);
}

}  // namespace cohort

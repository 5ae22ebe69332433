#include "common/wire/semantic.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace cohort {
namespace {

constexpr char kAbsent[] = "(absent)";

std::string ValueOf(const SemanticMap& fields, const std::string& name) {
  const auto found = fields.find(name);
  return found == fields.end() ? kAbsent : found->second;
}

}  // namespace

std::vector<v1::FieldDifference> DifferingFields(const SemanticMap& learner,
                                                 const SemanticMap& worker) {
  std::set<std::string> names;
  for (const auto& [name, value] : learner) names.insert(name);
  for (const auto& [name, value] : worker) names.insert(name);
  std::vector<v1::FieldDifference> differences;
  for (const std::string& name : names) {
    v1::FieldDifference difference;
    difference.set_name(name);
    difference.set_learner(ValueOf(learner, name));
    difference.set_worker(ValueOf(worker, name));
    if (difference.learner() != difference.worker()) differences.push_back(difference);
  }
  return differences;
}

std::string DescribeDifferences(const std::vector<v1::FieldDifference>& differences) {
  return absl::StrJoin(differences, "; ", [](std::string* out, const v1::FieldDifference& field) {
    absl::StrAppend(out, field.name(), ": learner has ", field.learner(), ", worker has ",
                    field.worker());
  });
}

}  // namespace cohort

#include "common/config/studies.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/config/embedded.h"
#include "common/config/yaml_reader.h"

namespace cohort {
namespace {

std::string StemOf(const std::string& path) {
  absl::string_view name = path;
  const size_t slash = name.rfind('/');
  if (slash != absl::string_view::npos) name.remove_prefix(slash + 1);
  if (!absl::ConsumeSuffix(&name, ".yaml")) absl::ConsumeSuffix(&name, ".yml");
  return std::string(name);
}

absl::StatusOr<NamedStudy> Checked(absl::string_view yaml, const std::string& origin,
                                   const std::string& name) {
  NamedStudy study;
  study.name = name;
  COHORT_ASSIGN_OR_RETURN(study.study, ParseStudy(yaml, origin));
  const absl::Status status = CheckStudy(study.study);
  if (!status.ok()) {
    return absl::Status(status.code(), absl::StrCat(origin, ": ", status.message()));
  }
  return study;
}

template <typename List>
auto FindByName(const List& list, absl::string_view name) -> decltype(&*list.begin()) {
  const auto found = std::find_if(list.begin(), list.end(),
                                  [&](const auto& entry) { return entry.name() == name; });
  return found == list.end() ? nullptr : &*found;
}

std::vector<std::string> Both(const google::protobuf::RepeatedPtrField<std::string>& first,
                              const google::protobuf::RepeatedPtrField<std::string>& second) {
  // A run's checkpoints are for its own end; whoever wants more says so.
  std::vector<std::string> all = {"checkpoint.every_steps=0", "checkpoint.keep_last=1",
                                  "checkpoint.keep_best=false", "log.tensorboard=false"};
  all.insert(all.end(), first.begin(), first.end());
  all.insert(all.end(), second.begin(), second.end());
  return all;
}

}  // namespace

std::vector<NamedStudy> Studies() {
  std::vector<NamedStudy> studies;
  for (size_t i = 0; i < internal::kStudiesCount; ++i) {
    const internal::EmbeddedText& text = internal::kStudies[i];
    absl::StatusOr<v1::Study> study = ParseStudy(text.text, text.name);
    if (study.ok()) studies.push_back({text.name, *std::move(study)});
  }
  return studies;
}

absl::StatusOr<NamedStudy> FindStudy(const std::string& name_or_file) {
  const absl::StatusOr<std::string> text = ReadFile(name_or_file);
  if (text.ok()) return Checked(*text, name_or_file, StemOf(name_or_file));
  std::vector<std::string> names;
  for (size_t i = 0; i < internal::kStudiesCount; ++i) {
    const internal::EmbeddedText& embedded = internal::kStudies[i];
    names.emplace_back(embedded.name);
    if (name_or_file == embedded.name) {
      return Checked(embedded.text, absl::StrCat("study ", embedded.name), embedded.name);
    }
  }
  return absl::NotFoundError(absl::StrCat("no file and no study is called ", name_or_file,
                                          "; there are: ", absl::StrJoin(names, ", ")));
}

absl::StatusOr<v1::Study> ParseStudy(absl::string_view yaml, const std::string& origin) {
  v1::Study study;
  COHORT_RETURN_IF_ERROR(ReadYaml(yaml, origin, &study));
  return study;
}

const v1::StudyBase* FindBase(const v1::Study& study, absl::string_view name) {
  return FindByName(study.bases(), name);
}
const v1::StudyFile* FindFile(const v1::Study& study, absl::string_view name) {
  return FindByName(study.files(), name);
}
const v1::StudyArm* FindArm(const v1::Study& study, absl::string_view name) {
  return FindByName(study.arms(), name);
}
const v1::StudyEval* FindEval(const v1::Study& study, absl::string_view name) {
  return FindByName(study.evals(), name);
}
const v1::StudyClaim* FindClaim(const v1::Study& study, absl::string_view name) {
  return FindByName(study.claims(), name);
}

bool IsTrained(const v1::StudyArm& arm) { return arm.has_recipe() || arm.has_sft(); }

std::string StartOf(const v1::Study& study, const v1::StudyArm& arm) {
  if (arm.has_from()) return arm.from();
  return study.bases().empty() ? "" : study.bases(0).name();
}

bool IsEvaluated(const v1::StudyEval& eval, absl::string_view arm) {
  return eval.arms().empty() ||
         std::find(eval.arms().begin(), eval.arms().end(), arm) != eval.arms().end();
}

std::vector<std::string> ArmsOf(const v1::Study& study, const v1::StudyEval& eval) {
  std::vector<std::string> arms;
  for (const v1::StudyArm& arm : study.arms()) {
    if (IsEvaluated(eval, arm.name())) arms.push_back(arm.name());
  }
  return arms;
}

std::string ConfigurationOf(const v1::StudyArm& arm) {
  return arm.has_sft() ? absl::StrCat("sft/", arm.sft()) : arm.recipe();
}
std::string ConfigurationOf(const v1::StudyBase& base) {
  return base.has_sft() ? absl::StrCat("sft/", base.sft()) : "";
}
std::vector<std::string> OverridesOf(const v1::Study& study, const v1::StudyArm& arm) {
  return Both(study.set(), arm.set());
}
std::vector<std::string> OverridesOf(const v1::Study&, const v1::StudyBase& base) {
  return {base.set().begin(), base.set().end()};
}

}  // namespace cohort

#include "common/config/config.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/config/recipes.h"
#include "common/config/yaml_reader.h"

namespace cohort {
namespace {

bool Sets(absl::string_view setting, absl::string_view key) {
  return absl::ConsumePrefix(&setting, key) &&
         (absl::StartsWith(setting, "=") || absl::StartsWith(setting, "[") ||
          absl::StartsWith(setting, "."));
}

// Three spellings of one choice: the override's replaces the file's.
void DropOtherDataSpellings(absl::string_view setting, v1::RunConfig* config) {
  const bool task = Sets(setting, "data.task");
  const bool path = Sets(setting, "data.path");
  const bool sources = Sets(setting, "data.sources");
  if (!task && !path && !sources) return;
  if (!task) config->mutable_data()->clear_task();
  if (!path) config->mutable_data()->clear_path();
  if (!sources) config->mutable_data()->clear_sources();
}

std::string NameOfFile(const std::string& path) {
  absl::string_view name = path;
  const size_t slash = name.rfind('/');
  if (slash != absl::string_view::npos) name.remove_prefix(slash + 1);
  if (!absl::ConsumeSuffix(&name, ".yaml")) absl::ConsumeSuffix(&name, ".yml");
  return std::string(name.empty() ? "run" : name);
}

}  // namespace

absl::Status OverrideConfig(const std::vector<std::string>& overrides, v1::RunConfig* config) {
  for (const std::string& setting : overrides) {
    COHORT_RETURN_IF_ERROR(ApplyOverride(setting, config));
    DropOtherDataSpellings(setting, config);
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::RunConfig> ParseConfig(absl::string_view yaml, const std::string& origin,
                                          const std::vector<std::string>& overrides) {
  v1::RunConfig config;
  COHORT_RETURN_IF_ERROR(ReadYaml(yaml, origin, &config));
  COHORT_RETURN_IF_ERROR(OverrideConfig(overrides, &config));
  return config;
}

absl::StatusOr<v1::RunConfig> LoadConfig(const std::string& path,
                                         const std::vector<std::string>& overrides) {
  absl::StatusOr<std::string> text = ReadFile(path);
  if (absl::IsNotFound(text.status())) {
    const absl::StatusOr<Recipe> recipe = FindRecipe(path);
    if (recipe.ok()) return ParseConfig(recipe->yaml, absl::StrCat("recipe ", path), overrides);
  }
  COHORT_RETURN_IF_ERROR(text.status());
  return ParseConfig(*text, path, overrides);
}

absl::StatusOr<v1::RunConfig> LoadResolvedConfig(const std::string& path,
                                                 const std::vector<std::string>& overrides) {
  COHORT_ASSIGN_OR_RETURN(v1::RunConfig config, LoadConfig(path, overrides));
  ResolveConfig(NameOfFile(path), &config);
  const absl::Status valid = ValidateConfig(config);
  if (!valid.ok()) {
    return absl::Status(valid.code(), absl::StrCat(path, ": ", valid.message()));
  }
  return config;
}

const std::string& LearnerDevice(const v1::RunConfig& config) {
  const std::string& own = config.learner().device();
  return own.empty() ? config.model().device() : own;
}

const std::string& RolloutDevice(const v1::RunConfig& config) {
  const std::string& own = config.rollout().device();
  return own.empty() ? config.model().device() : own;
}

int64_t UpdatesPerBatch(const v1::RunConfig& config) {
  return int64_t{config.learner().mini_batches()} * config.learner().epochs();
}

}  // namespace cohort

#include "common/config/recipes.h"

#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "common/config/config.h"
#include "common/config/embedded.h"

namespace cohort {
namespace {

std::string Description(absl::string_view yaml) {
  std::vector<absl::string_view> lines;
  for (absl::string_view line : absl::StrSplit(yaml, '\n')) {
    if (!absl::ConsumePrefix(&line, "#")) break;
    absl::ConsumePrefix(&line, " ");
    lines.push_back(line);
  }
  return absl::StrJoin(lines, "\n");
}

// "GSPO, Group Sequence Policy Optimization (arXiv 2507.18071)" of a description that begins with
// "GSPO, Group Sequence Policy Optimization (arXiv 2507.18071; ...": what stands before the
// sources, and the paper's number.
std::string Title(absl::string_view description) {
  const size_t end = std::min(description.find(" ("), description.find_first_of(".:\n", 12));
  std::string title(absl::StripSuffix(description.substr(0, end), ","));
  const size_t paper = description.find("arXiv ");
  const size_t paragraph = description.find("). ");
  if (paper < paragraph) {
    const absl::string_view number = description.substr(paper);
    absl::StrAppend(&title, " (", number.substr(0, number.find_first_of(";,:) \n", 6)), ")");
  }
  return title;
}

Recipe MakeRecipe(const internal::EmbeddedText& embedded) {
  Recipe recipe;
  recipe.name = embedded.name;
  recipe.yaml = embedded.text;
  recipe.description = Description(recipe.yaml);
  recipe.title = Title(recipe.description);
  return recipe;
}

bool IsIdentity(const std::string& field) { return field == "run.name" || field == "run.out"; }

}  // namespace

std::vector<Recipe> Recipes() {
  std::vector<Recipe> recipes;
  for (size_t i = 0; i < internal::kRecipesCount; ++i) {
    recipes.push_back(MakeRecipe(internal::kRecipes[i]));
  }
  return recipes;
}

absl::StatusOr<Recipe> FindRecipe(absl::string_view name) {
  for (size_t i = 0; i < internal::kSftRecipesCount; ++i) {
    const std::string full = absl::StrCat("sft/", internal::kSftRecipes[i].name);
    if (name != full) continue;
    Recipe recipe = MakeRecipe(internal::kSftRecipes[i]);
    recipe.name = full;
    return recipe;
  }
  std::vector<std::string> names;
  for (size_t i = 0; i < internal::kRecipesCount; ++i) {
    if (name == internal::kRecipes[i].name) return MakeRecipe(internal::kRecipes[i]);
    names.emplace_back(internal::kRecipes[i].name);
  }
  return absl::NotFoundError(
      absl::StrCat("no recipe is called ", name, "; there are: ", absl::StrJoin(names, ", ")));
}

absl::StatusOr<v1::RunConfig> ResolveRecipe(const Recipe& recipe) {
  COHORT_ASSIGN_OR_RETURN(v1::RunConfig config,
                          ParseConfig(recipe.yaml, absl::StrCat("recipe ", recipe.name)));
  ResolveConfig(recipe.name, &config);
  COHORT_RETURN_IF_ERROR(ValidateConfig(config));
  return config;
}

std::vector<FieldDifference> DifferingFields(const v1::RunConfig& before,
                                             const v1::RunConfig& after) {
  std::map<std::string, FieldDifference> all;
  for (const auto& [name, value] : FlatFields(before)) all[name].before = value;
  for (const auto& [name, value] : FlatFields(after)) all[name].after = value;
  std::vector<FieldDifference> out;
  for (auto& [name, difference] : all) {
    if (difference.before == difference.after || IsIdentity(name)) continue;
    difference.field = name;
    out.push_back(std::move(difference));
  }
  return out;
}

}  // namespace cohort

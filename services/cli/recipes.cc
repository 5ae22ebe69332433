#include "common/config/recipes.h"

#include <algorithm>
#include <cstdio>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "common/config/config.h"
#include "services/cli/commands.h"

namespace cohort {
namespace {

constexpr char kReference[] = "grpo";

void PrintComment(const std::string& text) {
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    std::cout << (line.empty() ? "#" : absl::StrCat("# ", line)) << "\n";
  }
}

void PrintRow(const std::string& field, const std::string& before, const std::string& after,
              size_t width, size_t before_width) {
  const auto padded = [](std::string text, size_t size) {
    text.resize(std::max(size, text.size()), ' ');
    return text;
  };
  std::cout << "#   " << padded(field, width) << "  "
            << padded(before.empty() ? "-" : before, before_width) << "  "
            << (after.empty() ? "-" : absl::StrReplaceAll(after, {{"\n", "\\n"}})) << "\n";
}

void PrintDifferences(const std::vector<FieldDifference>& differences, const std::string& name) {
  size_t width = 5, before_width = 4;
  for (const FieldDifference& d : differences) {
    width = std::max(width, d.field.size());
    before_width = std::max(before_width, std::min<size_t>(d.before.size(), 24));
  }
  std::cout << "#\n# Differs from " << kReference << " in:\n";
  PrintRow("field", kReference, name, width, before_width);
  for (const FieldDifference& d : differences) {
    PrintRow(d.field, d.before, d.after, width, before_width);
  }
}

absl::Status Show(const std::string& name) {
  COHORT_ASSIGN_OR_RETURN(const Recipe recipe, FindRecipe(name));
  COHORT_ASSIGN_OR_RETURN(const Recipe reference, FindRecipe(kReference));
  COHORT_ASSIGN_OR_RETURN(const v1::RunConfig config, ResolveRecipe(recipe));
  COHORT_ASSIGN_OR_RETURN(const v1::RunConfig grpo, ResolveRecipe(reference));
  PrintComment(recipe.description);
  const std::vector<FieldDifference> differences = DifferingFields(grpo, config);
  if (!differences.empty()) PrintDifferences(differences, name);
  std::cout << PrintConfig(config);
  return absl::OkStatus();
}

}  // namespace

int RunRecipes() {
  const std::vector<Recipe> recipes = Recipes();
  size_t width = 0;
  for (const Recipe& recipe : recipes) width = std::max(width, recipe.name.size());
  for (const Recipe& recipe : recipes) {
    std::cout << recipe.name << std::string(width + 2 - recipe.name.size(), ' ') << recipe.title
              << "\n";
  }
  return 0;
}

int RunRecipesShow(const std::string& name) {
  const absl::Status status = Show(name);
  return status.ok() ? 0 : Fail("recipes show", status);
}

}  // namespace cohort

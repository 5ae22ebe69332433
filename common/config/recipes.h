// The recipes: one configuration file per method of algorithms.md 14.2, in recipes/ and inside
// every program that links this, so that `-c NAME` works wherever the program is installed.
// No state, thread-safe.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cohort/v1/config.pb.h"

namespace cohort {

struct Recipe {
  std::string name;         // the file's name without .yaml
  std::string title;        // one line: the method's name and where it comes from
  std::string description;  // the comment at the file's head, without the comment signs
  std::string yaml;         // the whole file
};

// In alphabetical order.
std::vector<Recipe> Recipes();

// The one that is called so, or sft/NAME of recipes/sft, which Recipes leaves out: what base models
// are made with. NotFound, with the names there are.
absl::StatusOr<Recipe> FindRecipe(absl::string_view name);

// The recipe as it would run, validated.
absl::StatusOr<v1::RunConfig> ResolveRecipe(const Recipe& recipe);

// Fields whose values differ, sorted by name; an empty text where one of the two has no such field.
// The run's name and folder do not count.
struct FieldDifference {
  std::string field;
  std::string before;
  std::string after;
};
std::vector<FieldDifference> DifferingFields(const v1::RunConfig& before,
                                             const v1::RunConfig& after);

}  // namespace cohort

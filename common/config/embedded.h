// Texts of files that are inside every program that links this: recipes/*.yaml, recipes/sft/*.yaml
// and studies/*.yaml, made by embed_texts.cmake. In alphabetical order; name: without .yaml.
#pragma once

#include <cstddef>

namespace cohort::internal {

struct EmbeddedText {
  const char* name;
  const char* text;
};

extern const EmbeddedText kRecipes[];
extern const size_t kRecipesCount;
extern const EmbeddedText kSftRecipes[];
extern const size_t kSftRecipesCount;
extern const EmbeddedText kStudies[];
extern const size_t kStudiesCount;

}  // namespace cohort::internal

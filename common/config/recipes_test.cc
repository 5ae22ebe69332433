#include "common/config/recipes.h"

#include <cstdlib>
#include <filesystem>
#include <set>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/config/config.h"

namespace cohort {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> Names() {
  std::vector<std::string> names;
  for (const Recipe& recipe : Recipes()) names.push_back(recipe.name);
  return names;
}

class RecipeTest : public testing::TestWithParam<std::string> {
 protected:
  const Recipe recipe_ = *FindRecipe(GetParam());
};

TEST_P(RecipeTest, IsValidAndWithoutWarnings) {
  COHORT_ASSERT_OK_AND_ASSIGN(const v1::RunConfig config, ResolveRecipe(recipe_));
  EXPECT_EQ(config.run().name(), GetParam());
  EXPECT_THAT(ConfigWarnings(config), IsEmpty());
}

// Its source, what it is, when to use it; and a title that fits on a line.
TEST_P(RecipeTest, SaysWhatItIsAndWhenToUseIt) {
  EXPECT_GT(recipe_.title.size(), 3);
  EXPECT_LT(recipe_.title.size(), 90) << recipe_.title;
  EXPECT_TRUE(absl::StrContains(recipe_.description, "Use it") || GetParam() == "quickstart");
  EXPECT_TRUE(absl::StrContains(recipe_.description, "algorithms.md") ||
              GetParam() == "quickstart");
  for (const absl::string_view line : absl::StrSplit(recipe_.yaml, '\n'))
    EXPECT_LE(line.size(), 110u);
}

INSTANTIATE_TEST_SUITE_P(All, RecipeTest, testing::ValuesIn(Names()),
                         [](const auto& recipe) { return recipe.param; });

TEST(RecipesTest, AreThoseOfTheFolder) {
  std::set<std::string> files;
  const std::string folder = absl::StrCat(std::getenv("COHORT_SOURCE_DIR"), "/recipes");
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".yaml") files.insert(entry.path().stem());
  }
  if (files.empty()) GTEST_SKIP() << "no recipes in " << folder;
  const std::vector<std::string> names = Names();
  EXPECT_EQ(files, std::set<std::string>(names.begin(), names.end()));
  for (const Recipe& recipe : Recipes()) {
    EXPECT_EQ(*ReadFile(absl::StrCat(folder, "/", recipe.name, ".yaml")), recipe.yaml);
  }
}

TEST(RecipesTest, ANameStandsForItsFile) {
  COHORT_ASSERT_OK_AND_ASSIGN(const v1::RunConfig config,
                              LoadResolvedConfig("dr_grpo", {"run.steps=3"}));
  EXPECT_EQ(config.run().name(), "dr_grpo");
  EXPECT_EQ(config.run().steps(), 3);
  EXPECT_THAT(LoadConfig("no_such_recipe"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no_such")));
  EXPECT_THAT(FindRecipe("grop"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("dr_grpo, ")));
}

TEST(RecipesTest, TheTitleIsTheMethodAndItsPaper) {
  EXPECT_EQ(FindRecipe("gspo")->title,
            "GSPO, Group Sequence Policy Optimization (arXiv 2507.18071)");
}

MATCHER_P3(Differs, field, before, after, "") {
  return arg.field == field && arg.before == before && arg.after == after;
}

TEST(RecipesTest, DrGrpoDiffersFromGrpoInItsTwoTermsAndNoMoreThanThat) {
  const v1::RunConfig grpo = *ResolveRecipe(*FindRecipe("grpo"));
  const v1::RunConfig dr_grpo = *ResolveRecipe(*FindRecipe("dr_grpo"));
  const std::vector<FieldDifference> found = DifferingFields(grpo, dr_grpo);
  EXPECT_THAT(found, Contains(Differs("algorithm.adv.scale.group_std", "{}", "")));
  EXPECT_THAT(found, Contains(Differs("algorithm.adv.scale.none", "", "{}")));
  EXPECT_THAT(found, Contains(Differs("algorithm.agg.mode", "seq_mean_token_mean",
                                      "seq_mean_token_sum_const")));
  EXPECT_THAT(found, Contains(Differs("algorithm.kl.loss.coef", "0.04", "")));
  for (const FieldDifference& difference : found) {
    EXPECT_THAT(difference.field, testing::AnyOf(HasSubstr("algorithm."), HasSubstr("optimizer.")));
  }
  EXPECT_THAT(DifferingFields(grpo, grpo), IsEmpty());
}

}  // namespace
}  // namespace cohort

#include "common/config/recipes.h"

#include "absl/strings/str_split.h"
#include "common/base/status_matchers.h"
#include "common/config/config.h"
#include "google/protobuf/util/message_differencer.h"
#include "services/cli/commands.h"

namespace cohort {
namespace {

using testing::HasSubstr;

std::string Output(const std::function<int()>& command, int expected) {
  testing::internal::CaptureStdout();
  EXPECT_EQ(command(), expected);
  return testing::internal::GetCapturedStdout();
}

TEST(RecipesCommandTest, ListsEveryRecipeOnALineOfItsOwn) {
  const std::string text = Output(RunRecipes, 0);
  EXPECT_THAT(text, HasSubstr("\ngspo"));
  EXPECT_THAT(text, HasSubstr("  GSPO, Group Sequence Policy Optimization (arXiv 2507.18071)\n"));
  const std::vector<std::string> lines = absl::StrSplit(text, '\n', absl::SkipEmpty());
  EXPECT_EQ(lines.size(), Recipes().size());
  for (const std::string& line : lines) EXPECT_LT(line.size(), 120u) << line;
}

TEST(RecipesCommandTest, ShowsTheDescriptionAndTheDifferences) {
  const std::string text = Output([] { return RunRecipesShow("dapo"); }, 0);
  EXPECT_THAT(text, HasSubstr("# DAPO, Decoupled Clip"));
  EXPECT_THAT(text, HasSubstr("# Differs from grpo in:"));
  EXPECT_THAT(text, testing::ContainsRegex("algorithm.trust.clip.high +0.2 +0.28"));
}

TEST(RecipesCommandTest, WhatIsShownIsTheRecipe) {
  for (const Recipe& recipe : Recipes()) {
    const std::string text = Output([&] { return RunRecipesShow(recipe.name); }, 0);
    COHORT_ASSERT_OK_AND_ASSIGN(const v1::RunConfig config, ParseConfig(text, recipe.name));
    EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(config, *ResolveRecipe(recipe)))
        << recipe.name;
  }
}

TEST(RecipesCommandTest, AnUnknownNameFailsWithTheNamesThereAre) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(RunRecipesShow("gropo"), 1);
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              testing::AllOf(HasSubstr("cohort recipes show: "), HasSubstr("dr_grpo")));
}

}  // namespace
}  // namespace cohort

// studies/recipes.yaml, which tests/slow runs: a claim of every recipe, and the same claim of the
// same training without one part of it.
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_matchers.h"
#include "common/config/config.h"
#include "common/config/recipes.h"
#include "common/config/studies.h"

namespace cohort {
namespace {

using testing::IsEmpty;
using testing::Not;

std::vector<std::string> Names() {
  std::vector<std::string> names;
  for (const Recipe& recipe : Recipes()) names.push_back(recipe.name);
  return names;
}

class RecipeStudyTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    COHORT_ASSERT_OK_AND_ASSIGN(const NamedStudy named, FindStudy("recipes"));
    study_ = named.study;
    with_ = FindArm(study_, GetParam());
    without_ = FindArm(study_, absl::StrCat(GetParam(), "-without"));
    ASSERT_NE(with_, nullptr);
    ASSERT_NE(without_, nullptr);
  }

  std::vector<std::string> Settings(const v1::StudyArm& arm) const {
    std::vector<std::string> settings = OverridesOf(study_, arm);
    for (std::string& setting : settings) {
      setting = ReplaceReferences(setting, [](const StudyReference&) { return "x"; });
    }
    settings.push_back("model.path=m");
    return settings;
  }

  v1::Study study_;
  const v1::StudyArm* with_ = nullptr;
  const v1::StudyArm* without_ = nullptr;
};

TEST_P(RecipeStudyTest, ATermIsTakenOutByFurtherSettingsAlone) {
  EXPECT_EQ(with_->recipe(), GetParam());
  EXPECT_EQ(without_->recipe(), GetParam());
  EXPECT_EQ(with_->from(), without_->from());
  const std::vector<std::string> with(with_->set().begin(), with_->set().end());
  std::vector<std::string> without(without_->set().begin(), without_->set().end());
  ASSERT_GT(without.size(), with.size());
  without.resize(with.size());
  EXPECT_EQ(with, without);
}

TEST_P(RecipeStudyTest, ATermThatIsTakenOutWasThere) {
  const std::vector<std::string> with = Settings(*with_), without = Settings(*without_);
  COHORT_ASSERT_OK_AND_ASSIGN(const v1::RunConfig before, LoadResolvedConfig(GetParam(), with));
  COHORT_ASSERT_OK_AND_ASSIGN(const v1::RunConfig after, LoadResolvedConfig(GetParam(), without));
  EXPECT_THAT(DifferingFields(before, after), Not(IsEmpty()));
}

TEST_P(RecipeStudyTest, TheSameInequalityIsAskedOfBoth) {
  const v1::StudyClaim* claim = FindClaim(study_, GetParam());
  const v1::StudyClaim* other = FindClaim(study_, absl::StrCat(GetParam(), "/without"));
  ASSERT_NE(claim, nullptr);
  ASSERT_NE(other, nullptr);
  EXPECT_THAT(claim->literature(), Not(IsEmpty()));
  EXPECT_THAT(claim->expected(), Not(IsEmpty()));
  v1::StudyClaim moved = *claim;
  for (v1::StudyTerm& term : *moved.mutable_terms()) {
    EXPECT_NE(term.arm(), without_->name()) << "moved, it would be compared with itself";
    if (term.arm() == with_->name()) term.set_arm(without_->name());
  }
  moved.set_name(other->name());
  moved.set_expected(other->expected());
  moved.clear_literature();
  moved.clear_note();
  EXPECT_EQ(moved.SerializeAsString(), other->SerializeAsString());
}

// Else the verdict is there before anything is trained.
TEST_P(RecipeStudyTest, NeitherClaimComparesANumberWithItself) {
  for (const std::string& name : {GetParam(), absl::StrCat(GetParam(), "/without")}) {
    const v1::StudyClaim* claim = FindClaim(study_, name);
    ASSERT_NE(claim, nullptr);
    std::set<std::pair<std::string, std::string>> numbers;
    for (const v1::StudyTerm& term : claim->terms()) {
      EXPECT_TRUE(numbers.emplace(term.arm(), term.metric()).second) << name << ": " << term.arm();
    }
  }
}

// Runs of one seed and one configuration are the same run.
TEST_P(RecipeStudyTest, AnArmThatBothAreComparedWithIsNeitherOfThem) {
  const v1::StudyClaim* claim = FindClaim(study_, GetParam());
  ASSERT_NE(claim, nullptr);
  for (const v1::StudyTerm& term : claim->terms()) {
    const v1::StudyArm* fixed = FindArm(study_, term.arm());
    ASSERT_NE(fixed, nullptr);
    if (fixed->name() == with_->name() || !fixed->has_recipe()) continue;
    COHORT_ASSERT_OK_AND_ASSIGN(const v1::RunConfig other,
                                LoadResolvedConfig(fixed->recipe(), Settings(*fixed)));
    for (const v1::StudyArm* own : {with_, without_}) {
      COHORT_ASSERT_OK_AND_ASSIGN(const v1::RunConfig config,
                                  LoadResolvedConfig(GetParam(), Settings(*own)));
      EXPECT_TRUE(own->from() != fixed->from() || !DifferingFields(config, other).empty())
          << fixed->name() << " is " << own->name();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, RecipeStudyTest, testing::ValuesIn(Names()),
                         [](const auto& recipe) { return recipe.param; });

// NAME and NAME/without; NAME/accuracy where a method must keep it.
TEST(RecipeStudy, EveryClaimIsOfARecipe) {
  COHORT_ASSERT_OK_AND_ASSIGN(const NamedStudy named, FindStudy("recipes"));
  const std::vector<std::string> names = Names();
  for (const v1::StudyClaim& claim : named.study.claims()) {
    const size_t slash = claim.name().find('/');
    EXPECT_THAT(names, testing::Contains(claim.name().substr(0, slash)));
    if (slash == std::string::npos) continue;
    EXPECT_THAT(claim.name().substr(slash), testing::AnyOf("/without", "/accuracy"));
  }
}

}  // namespace
}  // namespace cohort

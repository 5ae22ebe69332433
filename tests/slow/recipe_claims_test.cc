// Every recipe trains the M1 model (algorithms.md section 13) and meets its own inequality; the
// same training without the recipe's distinctive term does not. What is trained, what is taken out
// and what is expected stand in studies/recipes.yaml. A quarter of an hour on two cores.
//
// COHORT_CLAIMS_DIR keeps the models and runs in a folder, and a later test goes on from there.
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/config/recipes.h"
#include "common/config/studies.h"
#include "services/cli/study.h"

namespace cohort {
namespace {

constexpr char kStudy[] = "recipes";
constexpr char kWithout[] = "/without";
constexpr char kAccuracy[] = "/accuracy";

std::vector<std::string> Names() {
  std::vector<std::string> names;
  for (const Recipe& recipe : Recipes()) names.push_back(recipe.name);
  return names;
}

// Recipes whose claim would be worth nothing if it cost accuracy.
std::vector<std::string> NamesWithAccuracy() {
  std::vector<std::string> names = Names();
  const auto study = FindStudy(kStudy);
  std::erase_if(names, [&](const std::string& name) {
    return !study.ok() || FindClaim(study->study, absl::StrCat(name, kAccuracy)) == nullptr;
  });
  return names;
}

class RecipeClaims : public testing::TestWithParam<std::string> {
 protected:
  static void SetUpTestSuite() { folder_ = new TemporaryFolder; }
  static void TearDownTestSuite() { delete folder_; }

  // One claim, with all that it needs; the base model is made by the first.
  static absl::StatusOr<ClaimResult> Judge(const std::string& claim) {
    COHORT_ASSIGN_OR_RETURN(const NamedStudy study, FindStudy(kStudy));
    const char* bin = std::getenv("COHORT_BIN_DIR");
    const char* keep = std::getenv("COHORT_CLAIMS_DIR");
    StudyRunOptions options;
    options.out = keep == nullptr ? folder_->path() : keep;
    options.seeds = {1};
    options.claims = {claim};
    options.cohort = absl::StrCat(bin == nullptr ? "." : bin, "/cohort");
    options.report = false;
    COHORT_ASSIGN_OR_RETURN(const StudyOutcome outcome, RunStudy(study, options));
    if (!outcome.failed.empty()) {
      return absl::InternalError(absl::StrJoin(outcome.failed, "; "));
    }
    const ClaimResult* result = outcome.Claim(claim);
    if (result == nullptr) return absl::InternalError(absl::StrCat("no result of ", claim));
    std::cout << claim << ": " << result->mean << ", " << VerdictText(result->verdict) << std::endl;
    return *result;
  }

  static inline TemporaryFolder* folder_ = nullptr;
};

TEST_P(RecipeClaims, MeetsItsInequality) {
  COHORT_ASSERT_OK_AND_ASSIGN(const ClaimResult result, Judge(GetParam()));
  EXPECT_EQ(result.verdict, Verdict::kHolds) << "value " << result.mean;
}

// A value that is missing proves nothing.
TEST_P(RecipeClaims, FailsWithoutItsTerm) {
  COHORT_ASSERT_OK_AND_ASSIGN(const ClaimResult result, Judge(absl::StrCat(GetParam(), kWithout)));
  EXPECT_EQ(result.verdict, Verdict::kFails) << "value " << result.mean;
}

class RecipeCosts : public RecipeClaims {};

TEST_P(RecipeCosts, AreNoAccuracy) {
  COHORT_ASSERT_OK_AND_ASSIGN(const ClaimResult result, Judge(absl::StrCat(GetParam(), kAccuracy)));
  EXPECT_EQ(result.verdict, Verdict::kHolds) << "value " << result.mean;
}

INSTANTIATE_TEST_SUITE_P(All, RecipeClaims, testing::ValuesIn(Names()),
                         [](const auto& recipe) { return recipe.param; });
INSTANTIATE_TEST_SUITE_P(All, RecipeCosts, testing::ValuesIn(NamesWithAccuracy()),
                         [](const auto& recipe) { return recipe.param; });

}  // namespace
}  // namespace cohort

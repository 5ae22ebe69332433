// docs/rewards.md against the code: its table of sources, and its examples.
#include <gtest/gtest.h>

#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/base/reward_sources.h"
#include "common/base/status_matchers.h"
#include "common/rewards/verifier.h"

namespace cohort {
namespace {

std::string Documentation() {
  const char* root = std::getenv("COHORT_SOURCE_DIR");
  return *ReadFile(absl::StrCat(root == nullptr ? "." : root, "/docs/rewards.md"));
}

const char* KindName(RewardKind kind) {
  constexpr const char* kNames[] = {
      "the data source's", "rule",  "form",   "chance", "label", "vote", "graded",
      "service",           "model", "process"};
  return kNames[static_cast<size_t>(kind)];
}

std::string Cell(absl::string_view text) { return text.empty() ? "-" : std::string(text); }

TEST(RewardsDocumentTest, ListsEverySource) {
  const std::string document = Documentation();
  for (const RewardSourceRow& row : kRewardSources) {
    const std::string line =
        absl::StrCat("| `", row.name, "` | ", KindName(row.kind), " | ", Cell(row.columns), " | ",
                     Cell(row.options), " | ", Cell(row.needs), " |\n");
    EXPECT_TRUE(absl::StrContains(document, line)) << "expected in docs/rewards.md: " << line;
  }
}

const char* Verdict(Outcome outcome) {
  constexpr const char* kNames[] = {"correct", "wrong", "unparsable", "value", "unscorable"};
  return kNames[static_cast<size_t>(outcome)];
}

std::string Code(absl::string_view cell) {
  cell = absl::StripAsciiWhitespace(cell);
  absl::ConsumePrefix(&cell, "`");
  absl::ConsumeSuffix(&cell, "`");
  return absl::StrReplaceAll(cell, {{"\u23ce", "\n"}});
}

TEST(RewardsDocumentTest, ExamplesAreJudgedAsTheySay) {
  int examples = 0;
  for (const absl::string_view line : absl::StrSplit(Documentation(), '\n')) {
    const std::vector<std::string> cells = absl::StrSplit(line, '|');
    if (cells.size() != 6 || !absl::StartsWith(cells[2], " `{")) continue;
    COHORT_ASSERT_OK_AND_ASSIGN(const auto verifier, MakeVerifier(Code(cells[1]), {}));
    RewardInput input;
    COHORT_ASSERT_OK_AND_ASSIGN(input.prompt, MakeRewardPrompt(Code(cells[2]), "", 1));
    input.completion = Code(cells[3]);
    EXPECT_EQ(Verdict(verifier->Verify(input).outcome),
              std::string(absl::StripAsciiWhitespace(cells[4])))
        << line;
    ++examples;
  }
  EXPECT_GE(examples, 40);
}

}  // namespace
}  // namespace cohort

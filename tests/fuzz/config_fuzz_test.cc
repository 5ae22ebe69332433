// Runs the fuzz target over the recipes and small inputs with mutations; a longer campaign links it
// with libFuzzer.
#include "tests/fuzz/config_fuzz.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/rng.h"
#include "common/base/status_matchers.h"
#include "tests/fuzz/campaign.h"

namespace cohort {
namespace {

const char* const kSnippets[] = {"{",
                                 "}",
                                 "[",
                                 "]",
                                 ": ",
                                 "\n",
                                 "\n  ",
                                 "- ",
                                 "&a ",
                                 "*a",
                                 "!",
                                 "|",
                                 ">",
                                 "'",
                                 "\"",
                                 "#",
                                 "---\n",
                                 "<<: ",
                                 "? ",
                                 "\t",
                                 "0x",
                                 ".",
                                 "null",
                                 "~",
                                 "-1",
                                 "1e99",
                                 "\xff",
                                 "\xef\xbb\xbf",
                                 "none",
                                 "clip",
                                 "%",
                                 ",",
                                 "task",
                                 "@",
                                 "[[[[",
                                 "{{{{",
                                 "9223372036854775807",
                                 "trust: ",
                                 "sources: ",
                                 "\x01"};

// The further kinds are a snippet, and a piece of the text itself.
std::string MutateText(std::string bytes, CounterRng* rng) {
  return MutateWith(2, std::move(bytes), rng, [rng](uint64_t kind, size_t at, std::string* out) {
    if (kind == 0) {
      out->insert(at, kSnippets[rng->Below(std::size(kSnippets))]);
    } else {
      out->insert(at, out->substr(rng->Below(out->size()), rng->Below(40)));
    }
  });
}

TEST(ConfigFuzzTest, NoMutationOfARecipeCrashesTheLoader) {
  for (const char* name : {"quickstart", "dapo"}) {
    COHORT_ASSERT_OK_AND_ASSIGN(
        std::string text,
        ReadFile(absl::StrCat(std::getenv("COHORT_SOURCE_DIR"), "/recipes/", name, ".yaml")));
    Campaign(&FuzzConfig, text, 1500, /*seed=*/1, &MutateText);
  }
}

TEST(ConfigFuzzTest, NoSmallInputCrashesTheLoader) {
  const std::vector<std::string> inputs = {
      "algorithm: {trust: {clip: {low: 0.1}}, offpolicy: {none: , neg_seq_mask: {}}}",
      "data: {sources: [a, {path: b.jsonl}]}\nrollout: {stop: ['\\n', \"\\x01\"]}",
      std::string("run: {seed: 1}\0data.sources[0].weight=2", 39),
      std::string("\0algorithm.reward.shaping=[dast, {truncated: mask}]", 51),
  };
  for (const std::string& input : inputs)
    Campaign(&FuzzConfig, input, 3000, /*seed=*/2, &MutateText);
}

TEST(ConfigFuzzTest, DeepNestingAndManyAliasesAreRefused) {
  Feed(&FuzzConfig, std::string(200000, '['));
  Feed(&FuzzConfig, std::string(200000, '{'));
  std::string aliases = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string before = absl::StrCat("*a", i - 1, ", ");
    absl::StrAppend(&aliases, "a", i, ": &a", i, " [", before, before, before, before, before,
                    "x]\n");
  }
  Feed(&FuzzConfig, aliases);
  Feed(&FuzzConfig, absl::StrCat(aliases, "rollout: {stop: *a11}\n"));
}

}  // namespace
}  // namespace cohort

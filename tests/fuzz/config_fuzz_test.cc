// Runs the fuzz target over the recipes and small inputs with mutations; a longer campaign links it
// with libFuzzer.
#include "tests/fuzz/config_fuzz.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
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

std::string MutateText(std::string bytes, CounterRng* rng) {
  const uint64_t edits = 1 + rng->Below(4);
  for (uint64_t i = 0; i < edits && !bytes.empty(); ++i) {
    const size_t at = rng->Below(bytes.size());
    switch (rng->Below(5)) {
      case 0:
        bytes[at] = static_cast<char>(rng->Below(256));
        break;
      case 1:
        bytes.erase(at, rng->Below(16));
        break;
      case 2:
        bytes.insert(at, kSnippets[rng->Below(std::size(kSnippets))]);
        break;
      case 3:
        bytes.insert(at, bytes.substr(rng->Below(bytes.size()), rng->Below(40)));
        break;
      default:
        bytes.resize(at);
    }
  }
  return bytes;
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

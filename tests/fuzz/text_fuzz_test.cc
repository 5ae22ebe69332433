// The fuzz entry points of text, tasks and rewards over a small corpus with seeded mutations.
#include "tests/fuzz/text_fuzz.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/base/file.h"
#include "common/base/rng.h"
#include "common/base/status_matchers.h"
#include "common/text/tiny_tokenizer.h"

namespace cohort {
namespace {

using FuzzTarget = int (*)(const uint8_t*, size_t);

// Flips, removes, repeats and splices a few pieces.
std::string Mutate(std::string text, const std::string& other, CounterRng* rng) {
  const uint64_t edits = 1 + rng->Below(4);
  for (uint64_t i = 0; i < edits && !text.empty(); ++i) {
    const size_t at = rng->Below(text.size());
    const size_t length = 1 + rng->Below(16);
    switch (rng->Below(5)) {
      case 0:
        text[at] = static_cast<char>(rng->Below(256));
        break;
      case 1:
        text.erase(at, length);
        break;
      case 2:
        text.insert(at, text.substr(at, length));
        break;
      case 3:
        text.insert(at, other.substr(other.empty() ? 0 : rng->Below(other.size()), length));
        break;
      default:
        text.insert(at, std::string(length, "{}[]()\\\"$%,.-9\xC3"[rng->Below(16)]));
    }
  }
  return text;
}

void RunCorpus(FuzzTarget target, const std::vector<std::string>& corpus, int rounds) {
  for (const std::string& seed : corpus) {
    EXPECT_EQ(target(reinterpret_cast<const uint8_t*>(seed.data()), seed.size()), 0);
  }
  for (int round = 0; round < rounds; ++round) {
    CounterRng rng(99, static_cast<uint64_t>(round));
    const std::string text =
        Mutate(corpus[rng.Below(corpus.size())], corpus[rng.Below(corpus.size())], &rng);
    ASSERT_EQ(target(reinterpret_cast<const uint8_t*>(text.data()), text.size()), 0) << round;
  }
}

const std::vector<std::string>& Answers() {
  static const auto* const kAnswers =
      new std::vector<std::string>{"Answer: $\\frac{3}{4}$",
                                   "#### -1,234.50",
                                   "\\boxed{\\left( 3, \\frac{\\pi}{2} \\right)}",
                                   "1\\frac{4}{5}",
                                   "11,\\! 111,\\! 111",
                                   "\\{1\\pm\\sqrt{5},-2\\}",
                                   "(0,9) \\cup (9,36)",
                                   "\\begin{pmatrix} -1/3 \\\\ 2/3 \\end{pmatrix}",
                                   "x \\in [-2,7]",
                                   "6.72 \\times 10^{-5}",
                                   "\\text{(C)}",
                                   "5.4 \\text{ cents}",
                                   "2^{100}%",
                                   "36 km/h \\text{ meters per second}^2",
                                   "\\$18.50 \\mathrm{m\\,s^{-1}}",
                                   "<answer>(c)</answer> The answer is **B**.",
                                   "```python\nprint(1)\n``` \\input{x}",
                                   "**Answer:** 2 h 15 min, 31^\\circ\\text{C}",
                                   "4 \u00d7 7 \u2212 \\frac{8}{2} = 24",
                                   "At first A. The correct option is not B but C - 7.",
                                   "It is $-2.6 \\times 10^{3}$, or 1 1/2 cm^2 (CO2).",
                                   "\\fbox{7} \\framebox[2cm]{8} \\boxed 9 \\{",
                                   "na\u00efve \u2212 5\u00b0"};
  return *kAnswers;
}

TEST(TextFuzzTest, ExtractionTakesAnyBytes) { RunCorpus(FuzzExtraction, Answers(), 20000); }

TEST(TextFuzzTest, ComparisonTakesAnyBytes) { RunCorpus(FuzzAnswer, Answers(), 20000); }

TEST(TextFuzzTest, VerifiersTakeAnyBytes) {
  std::vector<std::string> corpus;
  for (const std::string& answer : Answers()) {
    corpus.push_back(
        R"({"answer": ["7", 2.5, "5 cm", "[a-"], "numbers": [3, 8], "choices": ["7", "x"]})" +
        std::string(1, '\0') + answer);
  }
  RunCorpus(FuzzVerifiers, corpus, 5000);
}

TEST(TextFuzzTest, GroupsTakeAnyBytes) {
  std::vector<std::string> corpus;
  const std::vector<std::string>& answers = Answers();
  for (size_t i = 0; i < answers.size(); ++i) {
    std::string group;
    for (size_t row = 0; row < 4; ++row) {
      group += answers[(i + row / 2) % answers.size()] + std::string(1, '\0');
    }
    corpus.push_back(group);
  }
  RunCorpus(FuzzGroups, corpus, 3000);
}

TEST(TextFuzzTest, PromptFilesTakeAnyBytes) {
  RunCorpus(FuzzJsonlPrompts,
            {"{\"prompt\": \"p\", \"answer\": 4}\n{\"question\": \"q\", \"answer\": \"#### 5\"}\n",
             "{\"messages\": [{\"role\": \"user\", \"content\": \"u\"}], \"answer\": [\"a\"]}\n"},
            1000);
}

TEST(TextFuzzTest, ChatTemplatesTakeAnyBytes) {
  RunCorpus(
      FuzzChatTemplate,
      {"{% for m in messages %}{{ m['role'] + m.content | trim }}{% endfor %}",
       "{%- set ns = namespace(n=0) -%}{% if ns.n == 0 %}{{ raise_exception('x') }}{% endif %}",
       "{{ strftime_now('%d %b') }}{{ messages | tojson(indent=2) }}"},
      400);
}

TEST(TextFuzzTest, TokenizerFilesTakeAnyBytes) {
  TemporaryFolder folder;
  COHORT_ASSERT_OK(WriteTinyTokenizer(folder.path()));
  COHORT_ASSERT_OK_AND_ASSIGN(const std::string json, ReadFile(folder.path() + "/tokenizer.json"));
  RunCorpus(FuzzTokenizerJson, {json}, 300);
}

}  // namespace
}  // namespace cohort

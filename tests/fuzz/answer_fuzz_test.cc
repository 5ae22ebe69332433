#include "tests/fuzz/answer_fuzz.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/base/rng.h"
#include "common/rewards/answer.h"
#include "common/rewards/hostile_answers.h"

namespace cohort {
namespace {

const uint8_t* Bytes(const std::string& text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

std::string RandomBytes(CounterRng* rng, size_t size) {
  std::string text;
  for (size_t i = 0; i < size; ++i) text += static_cast<char>(rng->Below(256));
  return text;
}

// Pieces of LaTeX in any order, and now and then a byte that belongs nowhere.
std::string RandomPieces(CounterRng* rng) {
  static const std::vector<std::string> kPieces = {"1",
                                                   "23",
                                                   "0.5",
                                                   "x",
                                                   "y_1",
                                                   "\\pi ",
                                                   "+",
                                                   "-",
                                                   "=",
                                                   "<",
                                                   "\\le ",
                                                   ",",
                                                   ";",
                                                   ":",
                                                   "(",
                                                   ")",
                                                   "[",
                                                   "]",
                                                   "{",
                                                   "}",
                                                   "\\{",
                                                   "\\}",
                                                   "^",
                                                   "_",
                                                   "\\frac",
                                                   "\\sqrt",
                                                   "\\text{",
                                                   " and ",
                                                   " or ",
                                                   "cm",
                                                   "\\cup ",
                                                   "\\pm ",
                                                   "\\left",
                                                   "\\right",
                                                   "\\,",
                                                   "\\\\",
                                                   "&",
                                                   "!",
                                                   "|",
                                                   "\\sin ",
                                                   "\\log",
                                                   "\\binom",
                                                   "%",
                                                   "\\circ ",
                                                   "$",
                                                   "\\begin{pmatrix}",
                                                   "\\end{pmatrix}",
                                                   "\\pmod",
                                                   "−",
                                                   "½",
                                                   "（",
                                                   "\\overline",
                                                   "\\boxed{",
                                                   "\\mathbf{",
                                                   "million",
                                                   "p.m.",
                                                   "\\infty ",
                                                   "\\in ",
                                                   "\\emptyset ",
                                                   "e",
                                                   "i",
                                                   "\\cdot "};
  std::string text;
  const uint64_t count = 1 + rng->Below(24);
  for (uint64_t i = 0; i < count; ++i) {
    text += rng->Below(40) == 0 ? std::string(1, static_cast<char>(rng->Below(256)))
                                : kPieces[rng->Below(kPieces.size())];
  }
  return text;
}

TEST(AnswerFuzzTest, EqualityIsLawfulForAnyPieces) {
  for (uint64_t round = 0; round < 20'000; ++round) {
    CounterRng rng(7, round);
    const std::string pair = RandomPieces(&rng) + std::string(1, '\0') + RandomPieces(&rng);
    ASSERT_EQ(FuzzAnswerPair(Bytes(pair), pair.size()), 0) << round;
  }
}

TEST(AnswerFuzzTest, EveryVerifierTakesAnyPieces) {
  for (uint64_t round = 0; round < 300; ++round) {
    CounterRng rng(8, round);
    const std::string text = RandomPieces(&rng);
    ASSERT_EQ(FuzzAnswerForms(Bytes(text), text.size()), 0) << round;
  }
}

TEST(AnswerFuzzTest, EqualityIsLawfulForFormulas) {
  for (uint64_t round = 0; round < 4'000; ++round) {
    CounterRng rng(9, round);
    const std::string bytes = RandomBytes(&rng, 1 + rng.Below(60));
    ASSERT_EQ(FuzzFormula(Bytes(bytes), bytes.size()), 0) << round;
  }
}

TEST(AnswerFuzzTest, NoFormulaTakesLong) {
  for (uint64_t round = 0; round < 6'000; ++round) {
    CounterRng rng(10, round);
    const std::string bytes = RandomBytes(&rng, 1 + rng.Below(90));
    const std::string answer = DescribedAnswer(Bytes(bytes), bytes.size());
    ExpectQuick(answer.substr(0, 200), [&] { CanonicalAnswer(answer); });
  }
  EXPECT_LT(PeakMiB(), 1024) << "MiB of memory";
}

}  // namespace
}  // namespace cohort

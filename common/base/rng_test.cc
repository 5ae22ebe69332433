#include "common/base/rng.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace cohort {
namespace {

TEST(PhiloxTest, MatchesPublishedKnownAnswers) {
  // Random123's kat_vectors for philox4x32-10.
  EXPECT_EQ(Philox(0, 0, 0),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox(~0ull, ~0ull, ~0ull),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(CounterRngTest, BelowIsUniform) {
  CounterRng rng(7);
  std::vector<int> counts(10);
  constexpr int kDraws = 100000;
  for (int i = 0; i < kDraws; ++i) ++counts[rng.Below(10)];
  for (int count : counts) EXPECT_NEAR(count, kDraws / 10.0, 5 * std::sqrt(kDraws * 0.09));
}

TEST(CounterRngTest, SameKeySameStream) {
  CounterRng a(1, 2), b(1, 2), c(1, 3);
  const uint64_t first = a.Next64();
  EXPECT_EQ(first, b.Next64());
  EXPECT_NE(first, c.Next64());
}

}  // namespace
}  // namespace cohort

#include "common/rl/metrics.h"

#include <cmath>
#include <map>

#include "common/base/rng.h"
#include "common/base/status_matchers.h"

namespace cohort {
namespace {

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

TEST(EdgeCaseMoreThanTheSamples, PassAtKIsRefused) {
  EXPECT_THAT(PassAtK(4, 2, 5), StatusIs(kInvalid, testing::HasSubstr("k 5")));
  EXPECT_THAT(PassAtK(4, 5, 1), StatusIs(kInvalid, testing::HasSubstr("5 of 4")));
  EXPECT_THAT(PassAtK(4, 2, 0), StatusIs(kInvalid, testing::HasSubstr("k 0")));
}

TEST(PassAtK, IsExactAtTheEnds) {
  EXPECT_EQ(*PassAtK(4, 2, 3), 1.0);
  EXPECT_EQ(*PassAtK(10, 0, 10), 0.0);
  EXPECT_NEAR(*PassAtK(1024, 1, 256), 0.25, 1e-12);
}

// All subsets of size k, ties shared.
double BruteForceMajority(const std::vector<Answer>& answers, const std::string& gold, int k) {
  double sum = 0, subsets = 0;
  for (unsigned bits = 0; bits < (1u << answers.size()); ++bits) {
    if (__builtin_popcount(bits) != k) continue;
    subsets += 1;
    std::map<std::string, int> votes;
    int most = 0;
    for (size_t i = 0; i < answers.size(); ++i) {
      if ((bits >> i & 1u) && answers[i]) most = std::max(most, ++votes[*answers[i]]);
    }
    double winners = 0;
    for (const auto& [answer, count] : votes) winners += count == most ? 1 : 0;
    if (most > 0 && votes.count(gold) && votes[gold] == most) sum += 1 / winners;
  }
  return sum / subsets;
}

TEST(MajorityAtK, AgreesWithEnumerationOfAllSubsets) {
  const std::vector<std::string> pool = {"a", "b", "c"};
  for (uint64_t seed = 0; seed < 10; ++seed) {
    CounterRng rng(seed);
    std::vector<Answer> answers;
    for (int i = 0; i < 9; ++i) {
      const uint64_t pick = rng.Below(4);
      answers.push_back(pick == 3 ? Answer() : Answer(pool[pick]));
    }
    for (int k = 1; k <= 9; ++k) {
      COHORT_ASSERT_OK_AND_ASSIGN(const double exact, MajorityAtK(answers, "a", k));
      EXPECT_NEAR(exact, BruteForceMajority(answers, "a", k), 1e-12) << "k " << k;
    }
  }
}

TEST(EdgeCaseMoreThanTheSamples, MajorityAtKIsRefused) {
  EXPECT_THAT(MajorityAtK(std::vector<Answer>{"a"}, "a", 2), StatusIs(kInvalid, testing::_));
}

TEST(MajorityAtK, AThousandSamplesStayFinite) {
  const std::string wrong = "b", right = "a";
  std::vector<Answer> answers;
  for (int i = 0; i < 1024; ++i) answers.push_back(i < 300 ? wrong : right);
  COHORT_ASSERT_OK_AND_ASSIGN(const double p, MajorityAtK(answers, "a", 64));
  EXPECT_GT(p, 0.99);
  EXPECT_LE(p, 1 + 1e-9);
}

TEST(MajorityCorrect, NoVotesIsWrong) {
  EXPECT_EQ(MajorityCorrect(std::vector<Answer>{std::nullopt, ""}, ""), 0);
}

TEST(Moments, AgreeWithTheTwoPassFormulas) {
  CounterRng rng(3);
  std::vector<double> x;
  MomentAccumulator moments(/*drop_zeros=*/true);
  for (int i = 0; i < 1000; ++i) {
    x.push_back(100 + std::exp(rng.Uniform()));
    moments.Add(x.back());
  }
  moments.Add(0);
  moments.Add(std::nan(""));
  moments.Add(HUGE_VAL);
  double mean = 0, m2 = 0, m3 = 0;
  for (double v : x) mean += v / 1000;
  for (double v : x) m2 += (v - mean) * (v - mean) / 1000, m3 += std::pow(v - mean, 3) / 1000;
  EXPECT_EQ(moments.count(), 1000);
  EXPECT_NEAR(moments.mean(), mean, 1e-9);
  EXPECT_NEAR(moments.std(), std::sqrt(m2), 1e-9);
  EXPECT_NEAR(moments.skew(), m3 / std::pow(m2, 1.5), 1e-6);
}

TEST(TopShareMean, IsOfTheHighestValues) {
  EXPECT_EQ(TopShareMean({0, 5, 1, 3, 2, 0, 0, 0, 0, 0}, 0.2), 4);
  EXPECT_EQ(TopShareMean({2, 1}, 0.2), 2) << "at least one";
  EXPECT_EQ(TopShareMean({2, 1}, 1), 1.5);
  EXPECT_EQ(TopShareMean({}, 0.2), 0);
}

}  // namespace
}  // namespace cohort

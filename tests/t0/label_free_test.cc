// algorithms.md 13, "TTRL", "EMPO", "RENT", "EM-RL", "EM-INF": rewards without labels move a model
// to what it already believes most, and no further.
#include <algorithm>
#include <cmath>

#include "common/base/status_matchers.h"
#include "common/rl/em_inf.h"
#include "tests/t0/enumeration.h"
#include "tests/t0/statistics.h"
#include "tests/t0/tabular_world.h"

namespace cohort::t0 {
namespace {

constexpr uint64_t kSeeds = 200;

// The text leaves the world open. Here: 20 prompts of 10 answers, Gaussian logits of deviation 1.2,
// the right one 1.5 up: pass@1 0.27, greedy 0.43, majority of 64 0.42 (the text's own: 0.28, 0.43,
// 0.38). 60 steps on every prompt, 16 rows each (TTRL votes with 32 and trains on 16). maj@64 is
// one vote of 64 samples per prompt.
constexpr size_t kPrompts = 20;

TabularPolicy Base(CounterRng* rng) { return RandomBase(kPrompts, 10, 1.2, 1.5, rng); }

struct Change {
  double base = 0, greedy = 0, majority = 0;  // pass@1, greedy and maj@64 before training
  double after = 0, greedy_after = 0;
  double wrong_before = 0, wrong_after = 0;  // pass@1 on prompts whose greedy answer is wrong
};

double PassAt1On(const TabularPolicy& policy, const std::vector<size_t>& prompts) {
  double sum = 0;
  for (size_t q : prompts) sum += policy.Probabilities(q)[0];
  return prompts.empty() ? 0 : sum / static_cast<double>(prompts.size());
}

// From a stream of its own: training sees the same samples with and without it.
double MajorityAt64(const TabularPolicy& policy, uint64_t seed) {
  CounterRng rng(seed, 64);
  std::vector<Sampled> rows = SampleGroups(policy, AllPrompts(policy.logits.size()), 64, &rng);
  double right = 0;
  ForEachGroup(absl::MakeSpan(rows), [&](absl::Span<Sampled> group) {
    std::vector<Answer> answers;
    for (const Sampled& row : group) answers.emplace_back(std::to_string(row.answer));
    right += MajorityVote(answers).label == "0" ? 1 : 0;
  });
  return right / static_cast<double>(policy.logits.size());
}

TrainOptions Options(AdvantageBaseline baseline, AdvantageScale scale) {
  TrainOptions options;
  options.spec = Grpo();
  options.spec.advantage.baseline = baseline;
  options.spec.advantage.scale = scale;
  options.lr = static_cast<double>(kPrompts);  // 1 per prompt: the loss is a mean over all rows
  return options;
}

TrainOptions GrpoOptions() {
  return Options(AdvantageBaseline::kGroupMean, AdvantageScale::kGroupStd);
}

// Each group votes; its first half is trained on.
std::vector<Sampled> VoteAndKeepHalf(std::vector<Sampled> rows) {
  RewardMajority(absl::MakeSpan(rows));
  std::vector<Sampled> kept;
  ForEachGroup(absl::MakeSpan(rows), [&](absl::Span<Sampled> group) {
    kept.insert(kept.end(), group.begin(), group.begin() + static_cast<int64_t>(group.size()) / 2);
  });
  return kept;
}

using TrainFn = std::function<void(CounterRng*, TabularPolicy*)>;

void TrainTtrl(CounterRng* rng, TabularPolicy* policy) {
  for (int step = 0; step < 60; ++step) {
    const std::vector<Sampled> rows =
        VoteAndKeepHalf(SampleGroups(*policy, AllPrompts(kPrompts), 32, rng));
    Learn(GrpoOptions(), rows, policy);
  }
}

TrainFn With(TrainOptions options, Rewarder rewarder) {
  return [=](CounterRng* rng, TabularPolicy* policy) {
    for (int step = 0; step < 60; ++step) {
      TrainStep(options, rewarder, AllPrompts(policy->logits.size()), rng, policy);
    }
  };
}

Change MeanChange(const TrainFn& train) {
  std::vector<double> base, greedy, majority, after, greedy_after, wrong_before, wrong_after;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    CounterRng rng(seed);
    TabularPolicy policy = Base(&rng);
    std::vector<size_t> wrong;
    for (size_t q = 0; q < kPrompts; ++q) {
      if (policy.Greedy(q) != 0) wrong.push_back(q);
    }
    base.push_back(policy.PassAt1()), greedy.push_back(policy.GreedyAccuracy());
    majority.push_back(MajorityAt64(policy, seed));
    wrong_before.push_back(PassAt1On(policy, wrong));
    train(&rng, &policy);
    after.push_back(policy.PassAt1()), greedy_after.push_back(policy.GreedyAccuracy());
    wrong_after.push_back(PassAt1On(policy, wrong));
  }
  return {Mean(base),         Mean(greedy),       Mean(majority),   Mean(after),
          Mean(greedy_after), Mean(wrong_before), Mean(wrong_after)};
}

void ExpectClimbsToGreedyOrMajority(const Change& change, const char* name) {
  EXPECT_GT(change.majority, change.base + 0.08) << "votes know more than samples";
  EXPECT_GT(change.after, change.base + 0.08) << name;
  EXPECT_LT(change.after, std::max(change.greedy, change.majority) + 0.02) << name;
  EXPECT_LT(change.wrong_after, change.wrong_before - 0.05) << name;
}

TEST(T0LabelFree, MajorityVoteClimbsToTheGreedyLevelAndWrongMajoritiesGoDown) {
  const Change change = MeanChange(TrainTtrl);
  ExpectClimbsToGreedyOrMajority(change, "ttrl");
  EXPECT_NEAR(change.after, std::max(change.greedy, change.majority), 0.04);
}

TEST(T0LabelFree, SemanticFrequencyDoesTheSame) {
  ExpectClimbsToGreedyOrMajority(MeanChange(With(GrpoOptions(), RewardSemanticFrequency)), "empo");
}

TEST(T0LabelFree, SequenceLogprobDoesTheSame) {
  ExpectClimbsToGreedyOrMajority(MeanChange(With(GrpoOptions(), RewardLogprob)), "rent");
}

TEST(T0LabelFree, TrueLabelsGoFarBeyondTheGreedyLevel) {
  const Change change = MeanChange(With(GrpoOptions(), RewardRightAnswers));
  EXPECT_GT(change.after, 0.9);
  EXPECT_GT(change.after, change.greedy + 0.3);
}

double SemanticEntropy(const TabularPolicy& policy, CounterRng* rng) {
  std::vector<Sampled> rows = SampleGroups(policy, AllPrompts(kPrompts), 16, rng);
  double sum = 0;
  ForEachGroup(absl::MakeSpan(rows), [&](absl::Span<Sampled> group) {
    std::vector<Answer> answers;
    for (const Sampled& row : group) answers.emplace_back(std::to_string(row.answer));
    sum += ClusterAnswers(answers).entropy;
  });
  return sum / static_cast<double>(kPrompts);
}

TEST(T0LabelFree, SemanticEntropyFallsMonotonicallyUnderItsReward) {
  std::vector<std::vector<double>> entropy(5);  // at step 0, 10, 20, 30, 40
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    CounterRng rng(seed);
    TabularPolicy policy = Base(&rng);
    for (size_t part = 0; part < entropy.size(); ++part) {
      entropy[part].push_back(SemanticEntropy(policy, &rng));
      for (int step = 0; step < 10; ++step) {
        TrainStep(GrpoOptions(), RewardSemanticFrequency, AllPrompts(kPrompts), &rng, &policy);
      }
    }
  }
  for (size_t part = 1; part < entropy.size(); ++part) {
    EXPECT_LT(Mean(entropy[part]), 0.95 * Mean(entropy[part - 1])) << part;
  }
}

// --- confidence ---------------------------------------------------------------------------------

TEST(T0Confidence, ItsCorrelationWithCorrectnessPredictsTheGain) {
  std::vector<double> correlation, gain;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    CounterRng rng(seed);
    TabularPolicy policy = Base(&rng);
    std::vector<double> logprob, right;
    for (const Sampled& row : SampleGroups(policy, AllPrompts(kPrompts), 64, &rng)) {
      logprob.push_back(row.logprob), right.push_back(row.answer == 0 ? 1 : 0);
    }
    correlation.push_back(Correlation(logprob, right));
    const double before = policy.PassAt1();
    With(GrpoOptions(), RewardLogprob)(&rng, &policy);
    gain.push_back(policy.PassAt1() - before);
  }
  EXPECT_GT(Mean(correlation), 0.05);
  EXPECT_GT(Correlation(correlation, gain), 0.4);
}

TEST(T0Confidence, ASaturatedSetDoesNotImprove) {
  std::vector<double> gain;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    CounterRng rng(seed);
    TabularPolicy policy = RandomBase(kPrompts, 10, 0.5, 7, &rng);
    const double before = policy.PassAt1();
    With(GrpoOptions(), RewardLogprob)(&rng, &policy);
    gain.push_back(policy.PassAt1() - before);
  }
  EXPECT_NEAR(Mean(gain), 0, 0.015);
}

// Leave-one-out with the log-prob as reward: the expected update is minus the entropy's gradient,
// p_j (log p_j + H), exactly.
TEST(T0Confidence, SequenceLogprobWithLeaveOneOutIsTheGradientOfTheEntropy) {
  const std::vector<double> logits{0.3, -0.4, 1.1, 0.0};
  const std::vector<double> p = Softmax(logits);
  std::vector<double> reward, expected;
  for (double x : p) {
    reward.push_back(std::log(x));
    expected.push_back(x * (std::log(x) + EntropyOf(p)));
  }
  const AlgorithmSpec spec = PolicyGradient(AdvantageBaseline::kLeaveOneOut, AdvantageScale::kNone,
                                            Aggregation::kSeqMeanTokenSum);
  for (int n : {2, 4}) {
    const UpdateMoments update = ExpectedUpdate(spec, SoftmaxOutcomes(logits, reward), n);
    for (size_t j = 0; j < p.size(); ++j) EXPECT_NEAR(update.mean[j], expected[j], 1e-10);
  }
}

TEST(T0Confidence, MinimisingEntropyMovesSamplingToGreedyAndLeavesGreedyAlone) {
  const Change change = MeanChange(
      With(Options(AdvantageBaseline::kLeaveOneOut, AdvantageScale::kNone), RewardLogprob));
  EXPECT_NEAR(change.after, change.greedy, 0.05);
  EXPECT_NEAR(change.greedy_after, change.greedy, 0.02);
}

TEST(T0Confidence, ABaseWhoseGreedyAnswersAreNoBetterThanItsSamplesDoesNotGain) {
  std::vector<double> gain;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    CounterRng rng(seed);
    // Probability 0.3 for the right answer everywhere, greedy on three prompts in ten.
    TabularPolicy policy;
    for (size_t q = 0; q < kPrompts; ++q) {
      const double rival = q % 10 < 3 ? 0.2 : 0.4;
      std::vector<double> p(10, (0.7 - rival) / 8);
      p[0] = 0.3, p[1] = rival;
      for (double& x : p) x = std::log(x);
      policy.logits.push_back(p);
    }
    With(Options(AdvantageBaseline::kLeaveOneOut, AdvantageScale::kNone), RewardLogprob)(&rng,
                                                                                         &policy);
    gain.push_back(policy.PassAt1() - 0.3);
  }
  EXPECT_LT(Mean(gain), 0.02);
}

// EM-INF at decoding (section 7.7): no weight changes, temperature 0.1 after the sharpening.
TEST(T0Confidence, SharpenedLogitsSampleAsWellAsGreedy) {
  std::vector<double> sharpened, greedy;
  const EmInfOptions options;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    CounterRng rng(seed);
    const TabularPolicy policy = Base(&rng);
    double sum = 0;
    for (const std::vector<double>& logits : policy.logits) {
      EmInfResult result = MinimizeEntropy(logits, options);
      EXPECT_TRUE(result.entropy_after <= options.threshold || result.steps_taken == options.steps);
      for (double& z : result.logits) z /= 0.1;
      sum += Softmax(result.logits)[0];
    }
    sharpened.push_back(sum / static_cast<double>(kPrompts));
    greedy.push_back(policy.GreedyAccuracy());
  }
  EXPECT_NEAR(Mean(sharpened), Mean(greedy), 0.03);
}

}  // namespace
}  // namespace cohort::t0

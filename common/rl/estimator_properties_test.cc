// What holds for every estimator of algorithms.md section 3, over random batches with ragged
// groups, masked tokens and unscorable rows: every baseline x scale x level that makes sense
// together.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/rng.h"
#include "common/base/status_matchers.h"
#include "common/rl/advantage.h"
#include "common/rl/algorithm_names.h"

namespace cohort {
namespace {

constexpr uint64_t kSeeds = 10;

// Rows that own what their spans point to.
struct OwnedRow {
  int64_t group = 0;
  double reward = 0, greedy = 0;
  bool scorable = true;
  std::vector<uint8_t> mask;
  std::vector<double> token_reward, value, process;
};
using Batch = std::vector<OwnedRow>;

Batch RandomBatch(uint64_t seed) {
  CounterRng rng(seed);
  Batch batch;
  for (int64_t group = 0; group < 6; ++group) {
    const double greedy = rng.Uniform();
    const int64_t n = rng.Between(2, 6);
    for (int64_t i = 0; i < n; ++i) {
      OwnedRow row;
      row.group = group;
      row.reward = rng.Uniform();
      row.greedy = greedy;
      row.scorable = rng.Below(8) != 0;
      for (int64_t t = rng.Between(1, 5); t > 0; --t) {
        row.mask.push_back(rng.Below(4) != 0);
        row.token_reward.push_back(rng.Uniform() - 0.5);
        row.value.push_back(rng.Uniform());
        row.process.push_back(rng.Uniform() - 0.5);
      }
      batch.push_back(std::move(row));
    }
  }
  return batch;
}

// [rows][tokens]; masked tokens 0.
using Result = std::vector<std::vector<double>>;

Result Compute(const AdvantageSpec& spec, const Batch& batch) {
  std::vector<AdvantageRow> rows;
  for (const OwnedRow& owned : batch) {
    AdvantageRow row;
    row.group = owned.group, row.reward = owned.reward, row.scorable = owned.scorable;
    row.mask = owned.mask, row.greedy_reward = owned.greedy;
    if (spec.level == AdvantageLevel::kReturns) row.token_reward = owned.token_reward;
    if (spec.baseline == AdvantageBaseline::kCriticGae) row.value = owned.value;
    if (spec.baseline == AdvantageBaseline::kPrimeLoo) row.process = owned.process;
    rows.push_back(row);
  }
  const absl::StatusOr<Advantages> a = ComputeAdvantages(spec, rows);
  EXPECT_THAT(a, IsOk());
  Result out;
  for (size_t i = 0; i < batch.size(); ++i) {
    out.emplace_back();
    for (size_t t = 0; t < batch[i].mask.size(); ++t) {
      out.back().push_back(batch[i].mask[t] ? a->At(i, t) : 0);
    }
  }
  return out;
}

std::string Name(const AdvantageSpec& spec) {
  return absl::StrCat(NameOf(spec.baseline), " / ", NameOf(spec.scale), " / ", NameOf(spec.level));
}

bool ByToken(AdvantageBaseline baseline) {
  return baseline == AdvantageBaseline::kCriticGae || baseline == AdvantageBaseline::kPrimeLoo;
}

bool Centred(const AdvantageSpec& spec) {
  return spec.baseline != AdvantageBaseline::kNone &&
         spec.baseline != AdvantageBaseline::kCriticGae &&
         spec.baseline != AdvantageBaseline::kGreedy;
}

std::vector<AdvantageSpec> Estimators() {
  std::vector<AdvantageSpec> out;
  for (AdvantageBaseline baseline :
       {AdvantageBaseline::kNone, AdvantageBaseline::kGroupMean, AdvantageBaseline::kLeaveOneOut,
        AdvantageBaseline::kLengthWeighted, AdvantageBaseline::kGreedy,
        AdvantageBaseline::kCriticGae, AdvantageBaseline::kSecondBest,
        AdvantageBaseline::kPrimeLoo}) {
    for (AdvantageScale scale :
         {AdvantageScale::kNone, AdvantageScale::kGroupStd, AdvantageScale::kBatchRewardStd,
          AdvantageScale::kTokenWhiten, AdvantageScale::kValidFraction}) {
      for (AdvantageLevel level : {AdvantageLevel::kSequence, AdvantageLevel::kReturns}) {
        if (ByToken(baseline) && level == AdvantageLevel::kSequence) continue;
        AdvantageSpec spec;
        spec.baseline = baseline, spec.scale = scale, spec.level = level;
        spec.eps = 0, spec.whiten_eps = 1e-30;
        if (scale == AdvantageScale::kGroupStd && !Centred(spec)) continue;  // refused (14.3)
        out.push_back(spec);
      }
    }
  }
  return out;
}

void ForAll(const std::function<void(const AdvantageSpec&, const Batch&)>& check) {
  for (const AdvantageSpec& spec : Estimators()) {
    SCOPED_TRACE(Name(spec));
    for (uint64_t seed = 0; seed < kSeeds; ++seed) check(spec, RandomBatch(seed));
  }
}

void ExpectNear(const Result& got, const Result& expected, double tol = 1e-9) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(got[i].size(), expected[i].size());
    for (size_t t = 0; t < got[i].size(); ++t) {
      ASSERT_NEAR(got[i][t], expected[i][t], tol * std::max(1.0, std::abs(expected[i][t])))
          << "row " << i << " token " << t;
    }
  }
}

TEST(EstimatorProperties, AConstantOnAllRewardsChangesNothingWhereSomethingIsSubtracted) {
  ForAll([](const AdvantageSpec& spec, const Batch& batch) {
    const bool whitened = spec.scale == AdvantageScale::kTokenWhiten;
    if (spec.baseline == AdvantageBaseline::kCriticGae)
      return;  // its values would have to move too
    if (spec.baseline == AdvantageBaseline::kNone && !whitened) return;
    // The scale divides the raw reward at level returns, and the greedy reward comes after it.
    if (spec.baseline == AdvantageBaseline::kGreedy && spec.level == AdvantageLevel::kReturns &&
        (spec.scale == AdvantageScale::kBatchRewardStd ||
         spec.scale == AdvantageScale::kValidFraction)) {
      return;
    }
    Batch moved = batch;
    for (OwnedRow& row : moved) row.reward += 7, row.greedy += 7;
    ExpectNear(Compute(spec, moved), Compute(spec, batch), 1e-8);
  });
}

TEST(EstimatorProperties, AConstantPerGroupChangesNothingWhereGroupsAreCompared) {
  ForAll([](const AdvantageSpec& spec, const Batch& batch) {
    if (!Centred(spec) || spec.scale == AdvantageScale::kBatchRewardStd) return;
    Batch moved = batch;
    for (OwnedRow& row : moved) row.reward += 3 * static_cast<double>(row.group);
    ExpectNear(Compute(spec, moved), Compute(spec, batch), 1e-8);
  });
}

TEST(EstimatorProperties, TheScaleOfAllRewardsIsPassedOnOrDividedOut) {
  ForAll([](const AdvantageSpec& spec, const Batch& batch) {
    const bool divided =
        spec.scale == AdvantageScale::kGroupStd || spec.scale == AdvantageScale::kBatchRewardStd;
    if (divided && spec.level == AdvantageLevel::kReturns)
      return;  // token rewards stay as they are
    Batch scaled = batch;
    for (OwnedRow& row : scaled) {
      row.reward *= 100, row.greedy *= 100;
      for (double& x : row.token_reward) x *= 100;
      for (double& x : row.value) x *= 100;
      for (double& x : row.process) x *= 100;
    }
    Result expected = Compute(spec, batch);
    if (!divided && spec.scale != AdvantageScale::kTokenWhiten) {
      for (std::vector<double>& row : expected) {
        for (double& x : row) x *= 100;
      }
    }
    ExpectNear(Compute(spec, scaled), expected);
  });
}

TEST(EstimatorProperties, TheOrderOfTheRowsDoesNotMatter) {
  ForAll([](const AdvantageSpec& spec, const Batch& batch) {
    std::vector<size_t> order(batch.size());
    std::iota(order.begin(), order.end(), size_t{0});
    CounterRng rng(5);
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.Below(i)]);
    Batch shuffled;
    Result expected;
    const Result before = Compute(spec, batch);
    for (size_t i : order) shuffled.push_back(batch[i]), expected.push_back(before[i]);
    ExpectNear(Compute(spec, shuffled), expected);
  });
}

TEST(EstimatorProperties, AGroupOfEqualRewardsIsExactlyZeroWhereGroupsAreCompared) {
  ForAll([](const AdvantageSpec& spec, const Batch& batch) {
    if (!Centred(spec) || spec.scale == AdvantageScale::kTokenWhiten) return;
    if (spec.level == AdvantageLevel::kReturns) return;  // token rewards and process rewards remain
    for (double value : {0.1, 0.9, 1.0 / 3, 1e30}) {
      Batch equal = batch;
      for (OwnedRow& row : equal) row.reward = row.group == 2 ? value : row.reward;
      const Result result = Compute(spec, equal);
      for (size_t i = 0; i < equal.size(); ++i) {
        if (equal[i].group != 2) continue;
        for (double x : result[i]) ASSERT_EQ(x, 0);
      }
    }
  });
}

TEST(EstimatorProperties, UnscorableRowsMightAsWellNotBeThere) {
  ForAll([](const AdvantageSpec& spec, const Batch& batch) {
    const Result all = Compute(spec, batch);
    Batch scorable;
    Result expected;
    for (size_t i = 0; i < batch.size(); ++i) {
      if (batch[i].scorable) {
        scorable.push_back(batch[i]), expected.push_back(all[i]);
      } else {
        for (double x : all[i]) ASSERT_EQ(x, 0);
      }
    }
    ExpectNear(Compute(spec, scorable), expected);
  });
}

TEST(EstimatorProperties, JunkBehindTheMaskChangesNothing) {
  ForAll([](const AdvantageSpec& spec, const Batch& batch) {
    const Result before = Compute(spec, batch);
    for (double junk : {std::numeric_limits<double>::quiet_NaN(), 1e30, -HUGE_VAL}) {
      Batch spoiled = batch;
      for (OwnedRow& row : spoiled) {
        if (!row.scorable) row.reward = junk;
        for (size_t t = 0; t < row.mask.size(); ++t) {
          if (row.mask[t] && row.scorable) continue;
          row.token_reward[t] = row.value[t] = row.process[t] = junk;
        }
      }
      ASSERT_EQ(Compute(spec, spoiled), before);
    }
  });
}

TEST(EstimatorProperties, ComparedRowsAddUpToZero) {
  ForAll([](const AdvantageSpec& spec, const Batch& batch) {
    if (spec.level != AdvantageLevel::kSequence || spec.scale == AdvantageScale::kTokenWhiten)
      return;
    if (spec.baseline != AdvantageBaseline::kGroupMean &&
        spec.baseline != AdvantageBaseline::kLeaveOneOut) {
      return;
    }
    Batch full = batch;  // one valid token each, so that it shows the row's advantage
    for (OwnedRow& row : full) row.mask.assign(row.mask.size(), 1);
    const Result result = Compute(spec, full);
    for (int64_t group = 0; group < 6; ++group) {
      double sum = 0;
      for (size_t i = 0; i < full.size(); ++i) sum += full[i].group == group ? result[i][0] : 0;
      ASSERT_NEAR(sum, 0, 1e-9);
    }
  });
}

}  // namespace
}  // namespace cohort

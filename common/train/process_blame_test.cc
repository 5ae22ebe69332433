// algorithms.md 13, PRIME: a process model that learned from outcomes alone lowers its reward from
// the first wrong step on. A scratchpad is here a row of digits, each the one before it plus the
// prompt's stride; in wrong rows one step slips and the rest follows from it.
#include <numeric>

#include "common/base/rng.h"
#include "common/train/process_model.h"
#include "common/train/train_runs.h"

namespace cohort {
namespace {

constexpr int kDigits = 10;
constexpr int kSteps = 8;
constexpr int32_t kFirstDigit = 4;  // token of digit 0

struct Scratchpad {
  Row row;
  int slip = kSteps;  // the first wrong step; kSteps: none
};

Scratchpad Write(int first, int stride, bool right, CounterRng* rng) {
  Scratchpad pad;
  if (!right) pad.slip = 2 + static_cast<int>(rng->Below(kSteps - 3));
  int digit = first;
  for (int step = 0; step < kSteps; ++step) {
    digit += stride;
    if (step == pad.slip) digit += 1 + static_cast<int>(rng->Below(kDigits - 1));
    digit %= kDigits;
    pad.row.tokens.push_back(kFirstDigit + digit);
  }
  pad.row.logprobs.assign(kSteps, -1);
  pad.row.mask.assign(kSteps, 1);
  pad.row.versions.assign(kSteps, 0);
  pad.row.reward = right ? 1 : 0;
  pad.row.rewards = {right ? 1.0f : 0.0f};
  return pad;
}

Group Ask(int first, int stride) {
  Group group;
  group.reward_names = {"rule_math"};
  group.prompt = {1, kFirstDigit + first, kFirstDigit + kDigits + stride};
  return group;
}

std::vector<Group> Batch(CounterRng* rng) {
  std::vector<Group> groups;
  for (int g = 0; g < 8; ++g) {
    const int first = static_cast<int>(rng->Below(kDigits));
    const int stride = 1 + static_cast<int>(rng->Below(2));
    groups.push_back(Ask(first, stride));
    for (int r = 0; r < 4; ++r) groups.back().rows.push_back(Write(first, stride, r < 2, rng).row);
  }
  return groups;
}

double MeanOf(const std::vector<double>& values, int begin, int end) {
  return std::accumulate(values.begin() + begin, values.begin() + end, 0.0) / (end - begin);
}

// Share of fresh wrong rows whose mean reward from the slip on is below that of the steps before.
double BlamedShare(const CausalLm& model, const CausalLm& reference) {
  CounterRng rng(77);
  int blamed = 0;
  constexpr int kRows = 100;
  for (int i = 0; i < kRows; ++i) {
    const int first = static_cast<int>(rng.Below(kDigits));
    const int stride = 1 + static_cast<int>(rng.Below(2));
    const Group group = Ask(first, stride);
    const Scratchpad wrong = Write(first, stride, false, &rng);
    std::vector<double> reward = NaiveLogprobs(model, group, wrong.row);
    const std::vector<double> start = NaiveLogprobs(reference, group, wrong.row);
    for (size_t t = 0; t < reward.size(); ++t) reward[t] -= start[t];
    blamed += MeanOf(reward, wrong.slip, kSteps) < MeanOf(reward, 0, wrong.slip) ? 1 : 0;
  }
  return static_cast<double>(blamed) / kRows;
}

TEST(ProcessModel, LearnsFromOutcomesAloneWhichStepWasWrong) {
  AlgorithmSpec spec;
  ProcessModelOptions options;
  options.update.lr.lr = 5e-3;
  options.update.max_grad_norm = 10;
  options.update.adamw.weight_decay = 0;
  const auto model = TinyTrainModel(at::kFloat);
  const auto reference = TinyTrainModel(at::kFloat, false);
  const auto local = MakeLocalCollective();
  ProcessModel process(options, model.get(), reference.get(), local.get());
  EXPECT_EQ(BlamedShare(*model, *reference), 0) << "at its start every reward is 0";
  CounterRng rng(9);
  double sorted = 0.5;  // share of rows whose outcome it tells, over the last batches or so
  for (int step = 0; step < 300 && sorted < 0.95; ++step) {
    const std::vector<Group> groups = Batch(&rng);
    COHORT_ASSERT_OK_AND_ASSIGN(TrainBatch batch, PrepareBatch(groups, spec, step));
    COHORT_ASSERT_OK_AND_ASSIGN(const ProcessReport report,
                                process.Judge(PassOptions(), {}, &batch));
    sorted += (report.accuracy - sorted) / 10;
  }
  EXPECT_GE(sorted, 0.95);
  EXPECT_GT(BlamedShare(*model, *reference), 0.8);
}

}  // namespace
}  // namespace cohort

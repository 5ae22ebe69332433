// A tiny model must learn: sampling by plain forward passes, training by the same step that a run
// makes.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "common/base/rng.h"
#include "common/base/status_matchers.h"
#include "common/train/train_testing.h"

namespace cohort {
namespace {

constexpr int64_t kVocab = 16;
constexpr int kResponse = 3;  // tokens

// Samples one row token by token, each from a forward pass over everything so far.
Row SampleRow(const CausalLm& model, const Group& group, uint64_t row_index) {
  const c10::NoGradGuard no_grad;
  std::vector<int64_t> tokens(group.prompt.begin(), group.prompt.end());
  Row row;
  for (int t = 0; t < kResponse; ++t) {
    const auto length = static_cast<int64_t>(tokens.size());
    PackedAttention attention({{0, length, -1, 0}});
    const at::Tensor hidden =
        model.Forward(at::tensor(tokens, at::kLong), at::arange(length, at::kLong), attention);
    const at::Tensor logprob =
        at::log_softmax(model.Logits(hidden[length - 1]).to(at::kDouble), -1);
    const double* p = logprob.const_data_ptr<double>();
    double left = UniformOpen(group.id, row_index, static_cast<uint64_t>(t));
    int32_t token = 0;
    while (token + 1 < kVocab && (left -= std::exp(p[token])) > 0) ++token;
    tokens.push_back(token);
    row.tokens.push_back(token);
    row.logprobs.push_back(static_cast<float>(p[token]));
    row.mask.push_back(1);
    row.versions.push_back(0);
  }
  return row;
}

// Right when every token repeats the prompt's last one: partial credit per token.
double Reward(const Group& group, const Row& row) {
  double right = 0;
  for (int32_t token : row.tokens) right += token == group.prompt.back() ? 1 : 0;
  return right / kResponse;
}

std::vector<Group> SampleBatch(const CausalLm& model, uint64_t step) {
  std::vector<Group> groups;
  for (uint64_t g = 0; g < 4; ++g) {
    Group group;
    group.ordinal = step * 4 + g;
    group.id = MakeGroupId(3, group.ordinal, Purpose::kTrain);
    group.prompt = {1, static_cast<int32_t>(4 + group.ordinal % 4)};
    group.reward_names = {"rule_math"};
    for (uint64_t r = 0; r < 8; ++r) {
      Row row = SampleRow(model, group, r);
      row.reward = Reward(group, row);
      row.rewards = {static_cast<float>(row.reward)};
      group.rows.push_back(std::move(row));
    }
    groups.push_back(std::move(group));
  }
  return groups;
}

TEST(Learning, ATinyModelLearnsToRepeatItsPrompt) {
  auto model = TinyTrainModel(at::kFloat, true, kVocab);
  TrainerOptions options = TinyOptions();
  options.algorithm.offpolicy.kind = OffPolicy::kBypass;
  options.adamw.eps = 1e-8;
  options.lr.lr = 5e-3;
  const auto local = MakeLocalCollective();
  Trainer trainer(options, model.get(), nullptr, local.get());
  double first = 0, last = 0;
  const int steps = 80;
  for (int step = 0; step < steps; ++step) {
    const std::vector<Group> groups = SampleBatch(*model, static_cast<uint64_t>(step));
    COHORT_ASSERT_OK_AND_ASSIGN(const StepReport report, trainer.Step(groups, step));
    EXPECT_LT(report.mismatch.max_log_difference, 1e-4);
    if (step < 5) first += report.reward_mean / 5;
    if (step >= steps - 5) last += report.reward_mean / 5;
  }
  EXPECT_LT(first, 0.3);
  EXPECT_GT(last, 0.9);
}

}  // namespace
}  // namespace cohort

// Small models and hand-made groups for the tests of this folder.
#pragma once

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/rng.h"
#include "common/model/causal_lm.h"
#include "common/model/packed_attention.h"
#include "common/rl/group.h"
#include "common/train/trainer.h"

namespace cohort {

inline ModelConfig TinyTrainConfig(int64_t vocab = 31) {
  ModelConfig config;
  config.model_type = "llama";
  config.vocab_size = vocab;
  config.hidden_size = 16;
  config.intermediate_size = 32;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 4;
  config.max_position_embeddings = 256;
  config.tie_word_embeddings = true;
  config.initializer_range = 0.2;
  config.eos_token_ids = {2};
  return config;
}

inline std::unique_ptr<CausalLm> TinyTrainModel(at::ScalarType dtype, bool trainable = true,
                                                int64_t vocab = 31) {
  CausalLmOptions options;
  options.dtype = dtype;
  options.trainable = trainable;
  auto model = CausalLm::Random(TinyTrainConfig(vocab), options, 11);
  TORCH_CHECK(model.ok(), model.status().ToString());
  return *std::move(model);
}

// `groups` prompts of different lengths with `rows` responses each: lengths, tokens, log-probs and
// 0/1 rewards are seeded; every group has mixed rewards.
inline std::vector<Group> MakeGroups(int groups, int rows, int64_t vocab = 31, uint64_t seed = 5) {
  CounterRng rng(seed);
  const auto token = [&] { return static_cast<int32_t>(3 + rng.Below(uint64_t(vocab) - 3)); };
  std::vector<Group> out;
  for (int g = 0; g < groups; ++g) {
    Group group;
    group.ordinal = static_cast<uint64_t>(g);
    group.id = MakeGroupId(seed, group.ordinal, Purpose::kTrain);
    group.reward_names = {"rule_math"};
    for (int64_t i = rng.Between(3, 9); i > 0; --i) group.prompt.push_back(token());
    for (int r = 0; r < rows; ++r) {
      Row row;
      for (int64_t i = rng.Between(1, 8); i > 0; --i) row.tokens.push_back(token());
      for (size_t i = 0; i < row.tokens.size(); ++i) {
        row.logprobs.push_back(static_cast<float>(-3.0 - rng.Uniform()));
        row.mask.push_back(1);
        row.versions.push_back(0);
      }
      row.reward = r == 0 ? 1 : r == 1 ? 0 : static_cast<double>(rng.Below(2));
      row.rewards = {static_cast<float>(row.reward)};
      group.rows.push_back(std::move(row));
    }
    out.push_back(std::move(group));
  }
  return out;
}

// The model's own log-prob of every response token by one plain forward pass per row.
inline std::vector<double> NaiveLogprobs(const CausalLm& model, const Group& group,
                                         const Row& row) {
  const c10::NoGradGuard no_grad;
  std::vector<int64_t> tokens(group.prompt.begin(), group.prompt.end());
  tokens.insert(tokens.end(), row.tokens.begin(), row.tokens.end());
  const auto length = static_cast<int64_t>(tokens.size());
  PackedAttention attention({{0, length, -1, 0}});
  const at::Tensor hidden =
      model.Forward(at::tensor(tokens, at::kLong), at::arange(length, at::kLong), attention);
  const at::Tensor all = at::log_softmax(model.Logits(hidden).to(at::kDouble), -1);
  std::vector<double> out;
  for (size_t t = 0; t < row.tokens.size(); ++t) {
    const auto at_row = static_cast<int64_t>(group.prompt.size() + t) - 1;
    out.push_back(all[at_row][row.tokens[t]].item<double>());
  }
  return out;
}

inline double RelativeDifference(const at::Tensor& a, const at::Tensor& b) {
  const double norm = b.to(at::kDouble).norm().item<double>();
  return (a.to(at::kDouble) - b.to(at::kDouble)).norm().item<double>() / std::max(norm, 1e-30);
}

// The largest over all parameters.
inline double WeightDifference(const CausalLm& a, const CausalLm& b) {
  const c10::NoGradGuard no_grad;
  double worst = 0;
  for (size_t i = 0; i < a.StorageParameters().size(); ++i) {
    worst = std::max(worst, RelativeDifference(a.StorageParameters()[i].tensor,
                                               b.StorageParameters()[i].tensor));
  }
  return worst;
}

inline TrainerOptions TinyOptions() {
  TrainerOptions options;
  options.algorithm.agg.mode = Aggregation::kTokenMean;
  options.algorithm.trust.clip = ClipSpec{};
  options.lr.lr = 1e-2;
  options.adamw.eps = 1e-3;  // so that a tiny gradient's rounding is not blown up to a whole step
  return options;
}

}  // namespace cohort

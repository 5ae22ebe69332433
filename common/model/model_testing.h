// Small models and packed batches for the tests of this folder.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>
#include <vector>

#include "common/model/causal_lm.h"
#include "common/model/packed_attention.h"

namespace cohort {

// One small configuration per architecture feature: "llama", "llama3", "mistral", "qwen2", "qwen3".
inline ModelConfig TinyConfig(const std::string& name) {
  ModelConfig config;
  config.model_type = name == "llama3" ? "llama" : name;
  config.vocab_size = 61;
  config.hidden_size = 24;
  config.intermediate_size = 40;
  config.num_layers = 3;
  config.num_heads = 4;
  config.num_kv_heads = name == "mistral" ? 4 : 2;
  config.head_dim = name == "qwen3" ? 8 : 6;
  config.max_position_embeddings = 512;
  config.rms_norm_eps = 1e-5;
  config.initializer_range = 0.15;
  config.tie_word_embeddings = name == "llama" || name == "qwen2";
  config.qkv_bias = name == "qwen2";
  config.qk_norm = name == "qwen3";
  config.eos_token_ids = {2};
  if (name == "llama3") {
    config.rope_scaling = {RopeScaling::Kind::kLlama3, 8.0, 1.0, 4.0, 64};
    config.qkv_bias = config.output_bias = true;
  }
  return config;
}

inline const std::vector<std::string>& TinyNames() {
  static const std::vector<std::string> names = {"llama", "llama3", "mistral", "qwen2", "qwen3"};
  return names;
}

// Random weights everywhere, norms and biases included. Aborts the test when it cannot.
inline std::unique_ptr<CausalLm> TinyModel(const std::string& name, const CausalLmOptions& options,
                                           uint64_t seed = 7) {
  auto model = CausalLm::Random(TinyConfig(name), options, seed);
  TORCH_CHECK(model.ok(), model.status().ToString());
  at::manual_seed(static_cast<uint64_t>(seed));
  for (const NamedTensor& parameter : (*model)->NamedParameters()) {
    if (parameter.tensor.dim() > 1) continue;
    parameter.tensor.add_(at::randn(parameter.tensor.sizes(), at::kDouble), 0.2);
  }
  return *std::move(model);
}

// Tokens laid out for Forward, with the sequence each one belongs to spelled out.
struct PackedBatch {
  std::vector<int64_t> tokens;
  std::vector<int64_t> positions;
  std::vector<Segment> segments;

  at::Tensor TokenTensor() const { return at::tensor(tokens, at::kLong); }
  at::Tensor PositionTensor() const { return at::tensor(positions, at::kLong); }
};

// A tree of segments: segment i has `lengths[i]` seeded tokens and continues the first
// `parent_tokens[i]` tokens of `parents[i]` (-1: none).
inline PackedBatch MakeTree(const std::vector<int64_t>& lengths, const std::vector<int>& parents,
                            const std::vector<int64_t>& parent_tokens, int64_t vocab) {
  PackedBatch batch;
  std::vector<int64_t> start(lengths.size(), 0);
  uint64_t state = 12345;
  for (size_t i = 0; i < lengths.size(); ++i) {
    if (parents[i] >= 0) start[i] = start[static_cast<size_t>(parents[i])] + parent_tokens[i];
    batch.segments.push_back({static_cast<int64_t>(batch.tokens.size()), lengths[i], parents[i],
                              parents[i] >= 0 ? parent_tokens[i] : 0});
    for (int64_t t = 0; t < lengths[i]; ++t) {
      state = state * 6364136223846793005ULL + 1442695040888963407ULL;
      batch.tokens.push_back(static_cast<int64_t>((state >> 33) % static_cast<uint64_t>(vocab)));
      batch.positions.push_back(start[i] + t);
    }
  }
  return batch;
}

// The same sequences without sharing: every segment with its whole history in front. `own[j]` is
// the place in the naive row of packed token j.
inline PackedBatch Unshare(const PackedBatch& packed, std::vector<int64_t>& own) {
  PackedBatch naive;
  own.clear();
  for (const Segment& segment : packed.segments) {
    std::vector<int64_t> history;  // packed indices before the segment, in order
    for (const Segment* s = &segment; s->parent >= 0;) {
      const Segment& parent = packed.segments[static_cast<size_t>(s->parent)];
      std::vector<int64_t> part;
      for (int64_t t = 0; t < s->parent_tokens; ++t) part.push_back(parent.begin + t);
      history.insert(history.begin(), part.begin(), part.end());
      s = &parent;
    }
    const auto before = static_cast<int64_t>(history.size());
    for (int64_t t = 0; t < segment.length; ++t) history.push_back(segment.begin + t);
    const auto begin = static_cast<int64_t>(naive.tokens.size());
    naive.segments.push_back({begin, static_cast<int64_t>(history.size()), -1, 0});
    for (size_t i = 0; i < history.size(); ++i) {
      naive.tokens.push_back(packed.tokens[static_cast<size_t>(history[i])]);
      naive.positions.push_back(static_cast<int64_t>(i));
      if (static_cast<int64_t>(i) >= before) own.push_back(begin + static_cast<int64_t>(i));
    }
  }
  return naive;
}

}  // namespace cohort

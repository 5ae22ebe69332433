// Small random models and reference computations for the tests of this folder.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "common/generate/engine.h"
#include "common/model/causal_lm.h"

namespace cohort {

ModelConfig TinyConfig();  // 2 layers, 4 heads on 2 key/value heads, 97 tokens, context of 64

// Weights wide enough that its distributions are far from uniform.
std::unique_ptr<CausalLm> TinyModel(at::ScalarType dtype = at::kFloat, uint64_t seed = 1);

// Logits of every position of `tokens` by one plain forward pass: [tokens, vocab].
at::Tensor FullLogits(const CausalLm& model, const std::vector<int32_t>& tokens);

// Log-probability at `temperature` of every token of `row` after `prompt`, by one forward pass.
std::vector<float> FullLogprobs(const CausalLm& model, const std::vector<int32_t>& prompt,
                                const std::vector<int32_t>& row, double temperature);

// `rows` rows of `max_new_tokens`, temperature 1, after a prompt derived from the id.
GroupRequest MakeRequest(GroupId id, int rows, int max_new_tokens, float temperature = 1.0f);

// Steps until nothing is left; groups in the order in which they finished.
std::vector<FinishedGroup> RunToEnd(GroupGenerator& engine);

// Submits `requests`, runs, and returns the groups in the order of the requests.
std::vector<Group> Generate(const CausalLm& model, const EngineOptions& options,
                            const std::vector<GroupRequest>& requests);

}  // namespace cohort

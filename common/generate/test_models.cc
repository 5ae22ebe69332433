#include "common/generate/test_models.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "common/base/log.h"
#include "common/model/packed_attention.h"

namespace cohort {

ModelConfig TinyConfig() {
  ModelConfig config;
  config.model_type = "llama";
  config.vocab_size = 97;
  config.hidden_size = 64;
  config.intermediate_size = 96;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 16;
  config.max_position_embeddings = 64;
  config.tie_word_embeddings = false;
  config.initializer_range = 0.3;
  config.eos_token_ids = {2};
  return config;
}

std::unique_ptr<CausalLm> TinyModel(at::ScalarType dtype, uint64_t seed) {
  CausalLmOptions options;
  options.dtype = dtype;
  auto model = CausalLm::Random(TinyConfig(), options, seed);
  COHORT_CHECK(model.ok()) << model.status();
  return *std::move(model);
}

at::Tensor FullLogits(const CausalLm& model, const std::vector<int32_t>& tokens) {
  const c10::AutoGradMode no_grad(false);
  const auto n = static_cast<int64_t>(tokens.size());
  PackedAttention attention({{0, n}});
  const at::Tensor hidden = model.Forward(at::tensor(tokens, at::kInt).to(at::kLong),
                                          at::arange(n, at::kLong), attention);
  return model.Logits(hidden);
}

std::vector<float> FullLogprobs(const CausalLm& model, const std::vector<int32_t>& prompt,
                                const std::vector<int32_t>& row, double temperature) {
  std::vector<int32_t> all = prompt;
  all.insert(all.end(), row.begin(), row.end());
  const at::Tensor logits = FullLogits(model, all).to(at::kDouble) / temperature;
  const at::Tensor logprobs = at::log_softmax(logits, -1);
  std::vector<float> result;
  for (size_t i = 0; i < row.size(); ++i) {
    const auto position = static_cast<int64_t>(prompt.size() + i) - 1;
    result.push_back(logprobs[position][row[i]].item<float>());
  }
  return result;
}

GroupRequest MakeRequest(GroupId id, int rows, int max_new_tokens, float temperature) {
  GroupRequest request;
  request.id = id;
  request.ordinal = id;
  for (uint64_t i = 0; i < 5 + id % 7; ++i) {
    request.prompt.push_back(static_cast<int32_t>(3 + (id * 31 + i * 17) % 90));
  }
  SamplePlan plan;
  plan.temperature = temperature;
  plan.max_new_tokens = max_new_tokens;
  request.plans.assign(static_cast<size_t>(rows), plan);
  return request;
}

std::vector<FinishedGroup> RunToEnd(GroupGenerator& engine) {
  std::vector<FinishedGroup> finished;
  for (int step = 0; step < 10000 && !engine.idle(); ++step) {
    StepResult result = engine.Step();
    for (FinishedGroup& group : result.finished) finished.push_back(std::move(group));
  }
  COHORT_CHECK(engine.idle()) << "the engine does not come to an end";
  return finished;
}

std::vector<Group> Generate(const CausalLm& model, const EngineOptions& options,
                            const std::vector<GroupRequest>& requests) {
  auto engine = GroupGenerator::Create(&model, options);
  COHORT_CHECK(engine.ok()) << engine.status();
  for (const GroupRequest& request : requests) {
    const absl::Status status = (*engine)->Submit(request);
    COHORT_CHECK(status.ok()) << status;
  }
  const std::vector<FinishedGroup> finished = RunToEnd(**engine);
  std::vector<Group> groups;
  for (const GroupRequest& request : requests) {
    for (const FinishedGroup& group : finished) {
      if (group.id != request.id) continue;
      COHORT_CHECK(group.status.ok()) << group.status;
      groups.push_back(group.group);
    }
  }
  return groups;
}

}  // namespace cohort

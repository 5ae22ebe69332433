// What the sampler says of a token is what the learner computes for it: the generator's cache and
// the learner's packed, shared-prefix forward pass are two layouts of one model.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "common/base/status_matchers.h"
#include "common/generate/test_models.h"
#include "common/model/packed_attention.h"
#include "common/objective/token_scores.h"

namespace cohort {
namespace {

// The prompt once, its rows as segments that continue it.
struct PackedGroup {
  std::vector<Segment> segments;
  std::vector<int64_t> tokens, positions, predicting, targets;

  explicit PackedGroup(const Group& group) {
    const auto prompt = static_cast<int64_t>(group.prompt.size());
    AddSegment(group.prompt, -1, 0);
    for (const Row& row : group.rows) {
      const auto begin = static_cast<int64_t>(tokens.size());
      AddSegment(row.tokens, 0, prompt);
      for (size_t i = 0; i < row.tokens.size(); ++i) {
        predicting.push_back(i == 0 ? prompt - 1 : begin + static_cast<int64_t>(i) - 1);
        targets.push_back(row.tokens[i]);
      }
    }
  }

  void AddSegment(const std::vector<int32_t>& ids, int parent, int64_t parent_tokens) {
    const auto length = static_cast<int64_t>(ids.size());
    segments.push_back({static_cast<int64_t>(tokens.size()), length, parent, parent_tokens});
    tokens.insert(tokens.end(), ids.begin(), ids.end());
    for (int64_t i = 0; i < length; ++i) positions.push_back(parent_tokens + i);
  }
};

// Largest |sampler - learner| over the group's tokens, nats.
double LargestDifference(const CausalLm& model, const Group& group) {
  const c10::AutoGradMode no_grad(false);
  const PackedGroup packed(group);
  PackedAttention attention(packed.segments);
  const at::Tensor hidden = model.Forward(at::tensor(packed.tokens, at::kLong),
                                          at::tensor(packed.positions, at::kLong), attention);
  TokenScoreOptions options;
  options.temperature = double{group.temperature};
  const at::Tensor learner =
      ScoreTokens(hidden.index_select(0, at::tensor(packed.predicting, at::kLong)),
                  model.head_weight(), at::tensor(packed.targets, at::kLong), options)
          .logprob;
  std::vector<float> sampler;
  for (const Row& row : group.rows) {
    sampler.insert(sampler.end(), row.logprobs.begin(), row.logprobs.end());
  }
  return (learner.to(at::kDouble) - at::tensor(sampler, at::kFloat).to(at::kDouble))
      .abs()
      .max()
      .item<double>();
}

TEST(OnPolicyLogprobsTest, SamplerAndLearnerAgreeOnEveryTokenOfManyGroups) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const auto model = TinyModel(dtype);
    std::vector<GroupRequest> requests;
    for (GroupId id = 1; id <= 8; ++id) {
      requests.push_back(MakeRequest(id, 6, 10 + 5 * static_cast<int>(id), 0.9f));
    }
    EngineOptions options;
    options.max_rows = 20;
    for (const Group& group : Generate(*model, options, requests)) {
      EXPECT_LE(LargestDifference(*model, group), 1e-4) << "group " << group.id;
    }
  }
}

TEST(OnPolicyLogprobsTest, SamplerAndLearnerAgreeOnTheRealModel) {
  const char* source = std::getenv("COHORT_SOURCE_DIR");
  const std::string folder =
      std::string(source != nullptr ? source : ".") + "/models/smollm2-135m-instruct";
  if (!std::filesystem::exists(folder + "/model.safetensors")) {
    GTEST_SKIP() << folder << " is missing: scripts/setup-model smollm2 makes it";
  }
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    CausalLmOptions model_options;
    model_options.dtype = dtype;
    COHORT_ASSERT_OK_AND_ASSIGN(const auto model, CausalLm::Load(folder, model_options));
    GroupRequest request = MakeRequest(5, 6, 24);
    for (int32_t& token : request.prompt) token *= 97;
    const Group group = Generate(*model, {}, {request})[0];
    const double largest = LargestDifference(*model, group);
    std::printf("%s: largest difference %.2e nats\n", c10::toString(dtype), largest);
    // With bf16 every product rounds; that it does so in both layouts is what corrections are for.
    EXPECT_LE(largest, dtype == at::kFloat ? 1e-4 : 0.5);
  }
}

}  // namespace
}  // namespace cohort

#include "common/model/causal_lm.h"

#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/model/model_testing.h"
#include "common/tensor/safetensors.h"

namespace cohort {
namespace {

using testing::AllOf;
using testing::HasSubstr;

PackedBatch Group() { return MakeTree({5, 3, 4}, {-1, 0, 0}, {0, 5, 5}, 61); }

at::Tensor Loss(const CausalLm& model, const PackedBatch& batch) {
  PackedAttention attention(batch.segments);
  const at::Tensor hidden = model.Forward(batch.TokenTensor(), batch.PositionTensor(), attention);
  return at::log_softmax(model.Logits(hidden), -1).select(1, 7).sum();
}

class CausalLmTest : public testing::TestWithParam<std::string> {
 protected:
  TemporaryFolder folder_;
};

TEST_P(CausalLmTest, GradientsMatchFiniteDifferences) {
  const auto model = TinyModel(GetParam(), {at::kCPU, at::kDouble, /*trainable=*/true});
  const PackedBatch batch = Group();
  std::vector<at::Tensor> parameters;
  for (const auto& parameter : model->StorageParameters()) parameters.push_back(parameter.tensor);
  const auto grads = torch::autograd::grad({Loss(*model, batch)}, parameters);
  const at::AutoGradMode no_grad(false);
  constexpr double kStep = 1e-5;
  at::manual_seed(5);
  for (size_t i = 0; i < parameters.size(); ++i) {
    const at::Tensor direction = at::randn_like(parameters[i]);
    parameters[i].add_(direction, kStep);
    const double above = Loss(*model, batch).item<double>();
    parameters[i].sub_(direction, 2 * kStep);
    const double below = Loss(*model, batch).item<double>();
    parameters[i].add_(direction, kStep);
    const double expected = (above - below) / (2 * kStep);
    const double found = (grads[i] * direction).sum().item<double>();
    EXPECT_NEAR(found, expected, 1e-6 * (1 + std::abs(expected)))
        << model->StorageParameters()[i].name;
  }
}

TEST_P(CausalLmTest, SavedModelLoadsBitwiseAlsoFromShards) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const auto model = TinyModel(GetParam(), {at::kCPU, dtype});
    COHORT_ASSERT_OK(model->Save(folder_.path(), dtype == at::kFloat ? 4096 : 1 << 30));
    COHORT_ASSERT_OK_AND_ASSIGN(const auto again,
                                CausalLm::Load(folder_.path(), {at::kCPU, dtype}));
    const auto before = model->NamedParameters(), after = again->NamedParameters();
    ASSERT_EQ(before.size(), after.size());
    for (size_t i = 0; i < before.size(); ++i) {
      EXPECT_EQ(before[i].name, after[i].name);
      EXPECT_TRUE(at::equal(before[i].tensor, after[i].tensor)) << before[i].name;
    }
    EXPECT_TRUE(at::equal(Loss(*model, Group()), Loss(*again, Group())));
    EXPECT_EQ(again->config().eos_token_ids, model->config().eos_token_ids);
  }
}

TEST_P(CausalLmTest, CopyFromMakesModelsEqual) {
  const auto model = TinyModel(GetParam(), {}, 1);
  const auto other = TinyModel(GetParam(), {}, 2);
  EXPECT_FALSE(at::equal(Loss(*model, Group()), Loss(*other, Group())));
  COHORT_ASSERT_OK(other->CopyFrom(model->NamedParameters()));
  EXPECT_TRUE(at::equal(Loss(*model, Group()), Loss(*other, Group())));
}

INSTANTIATE_TEST_SUITE_P(Architectures, CausalLmTest, testing::ValuesIn(TinyNames()),
                         [](const auto& tested) { return tested.param; });

TEST(CausalLmFailureTest, CopyFromNamesWhatDoesNotFit) {
  const auto model = TinyModel("llama", {});
  auto named = model->NamedParameters();
  const NamedTensor last = named.back();
  named.pop_back();
  EXPECT_THAT(model->CopyFrom(named),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(last.name)));
  named.push_back({last.name, at::zeros({3})});
  EXPECT_THAT(model->CopyFrom(named),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr(last.name), HasSubstr("found [3]"))));
  named.push_back({last.name, last.tensor});
  EXPECT_THAT(model->CopyFrom(named),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("given twice")));
}

TEST(CausalLmFailureTest, ForwardRefusesTokensThatDoNotFit) {
  const auto model = TinyModel("llama", {});
  PackedAttention attention({{0, 2, -1, 0}});
  const at::Tensor good = at::tensor({1, 2}, at::kLong);
  const at::Tensor beyond = at::tensor({1, 61}, at::kLong);
  EXPECT_THROW(model->Forward(beyond, good, attention), c10::Error);
  EXPECT_THROW(model->Forward(good, at::tensor({1}, at::kLong), attention), c10::Error);
  EXPECT_THROW(model->Forward(good.to(at::kInt), good, attention), c10::Error);
}

TEST(CausalLmFailureTest, WeightsThatDoNotFitTheConfigurationAreNamed) {
  const TemporaryFolder folder;
  const auto model = TinyModel("qwen2", {});
  COHORT_ASSERT_OK(model->Save(folder.path()));
  auto named = model->NamedParameters();
  named[3].tensor = named[3].tensor.narrow(0, 0, 1);
  COHORT_ASSERT_OK(WriteWeightsFolder(folder.path(), named, 1 << 30));
  EXPECT_THAT(CausalLm::Load(folder.path(), {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr(named[3].name), HasSubstr("expected shape"))));
  named.erase(named.begin() + 3);
  COHORT_ASSERT_OK(WriteWeightsFolder(folder.path(), named, 1 << 30));
  EXPECT_THAT(CausalLm::Load(folder.path(), {}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("is in none")));
  named = model->NamedParameters();
  named.push_back({"model.layers.0.self_attn.q_norm.weight", at::zeros({6})});
  COHORT_ASSERT_OK(WriteWeightsFolder(folder.path(), named, 1 << 30));
  EXPECT_THAT(CausalLm::Load(folder.path(), {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("q_norm")));
  EXPECT_THAT(CausalLm::Load(folder.path() + "/none", {}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("config.json")));
}

TEST(ModelConfigTest, UnknownFieldsSurviveSavingAndRopeIsReadInBothSpellings) {
  const std::string text = R"({"model_type":"llama","vocab_size":9,"hidden_size":8,
    "intermediate_size":4,"num_hidden_layers":1,"num_attention_heads":2,"something_new":[1],
    "rope_parameters":{"rope_theta":5e5,"rope_type":"llama3","factor":32.0,"low_freq_factor":1.0,
    "high_freq_factor":4.0,"original_max_position_embeddings":8192},"eos_token_id":[3,4]})";
  COHORT_ASSERT_OK_AND_ASSIGN(const ModelConfig config, ParseModelConfig(text, "c"));
  EXPECT_EQ(config.rope_theta, 5e5);
  EXPECT_EQ(config.rope_scaling.kind, RopeScaling::Kind::kLlama3);
  EXPECT_EQ(config.rope_scaling.factor, 32.0);
  EXPECT_EQ(config.num_kv_heads, 2);
  EXPECT_EQ(config.eos_token_ids, (std::vector<int64_t>{3, 4}));
  const auto saved = nlohmann::json::parse(ModelConfigJson(config, "bfloat16"));
  EXPECT_EQ(saved["something_new"][0], 1);
  EXPECT_EQ(saved["dtype"], "bfloat16");
}

TEST(ModelConfigTest, UnsupportedOrContradictingOptionsAreNamed) {
  const std::pair<const char*, const char*> changes[] = {
      {R"({"model_type":"gpt2"})", "gpt2"},
      {R"({"hidden_act":"gelu"})", "hidden_act"},
      {R"({"mlp_bias":true})", "mlp_bias"},
      {R"({"rope_scaling":{"rope_type":"yarn","factor":4}})", "yarn"},
      {R"({"num_key_value_heads":3})", "not a multiple"},
      {R"({"head_dim":3})", "even"},
      {R"({"vocab_size":"many"})", "vocab_size"},
      {R"({"vocab_size":-4})", "vocab_size"},
      {R"({"hidden_size":null})", "hidden_size is missing"},
      {R"({"num_hidden_layers":99999999999999999999})", "num_hidden_layers"}};
  for (const auto& [change, message] : changes) {
    nlohmann::json config = {{"model_type", "llama"},   {"vocab_size", 9},
                             {"hidden_size", 8},        {"intermediate_size", 4},
                             {"num_hidden_layers", 1},  {"num_attention_heads", 4},
                             {"num_key_value_heads", 2}};
    config.update(nlohmann::json::parse(change));
    const auto parsed = ParseModelConfig(config.dump(), "FOLDER/config.json");
    ASSERT_FALSE(parsed.ok()) << change;
    EXPECT_THAT(std::string(parsed.status().message()),
                AllOf(HasSubstr("FOLDER/config.json"), HasSubstr(message)));
  }
  EXPECT_FALSE(ParseModelConfig("[", "c").ok());
}

TEST(ModelConfigTest, ASlidingWindowLimitsTheContext) {
  const std::string text = R"({"model_type":"mistral","vocab_size":9,"hidden_size":8,
    "intermediate_size":4,"num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":2,
    "max_position_embeddings":100,"sliding_window":32})";
  COHORT_ASSERT_OK_AND_ASSIGN(const ModelConfig config, ParseModelConfig(text, "c"));
  EXPECT_EQ(config.max_position_embeddings, 32);
}

}  // namespace
}  // namespace cohort

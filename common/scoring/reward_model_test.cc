#include "common/scoring/reward_model.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gmock/gmock.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/model/packed_attention.h"

namespace cohort {
namespace {

using testing::HasSubstr;

ModelConfig ClassifierConfig() {
  ModelConfig config;
  config.model_type = "llama";
  config.vocab_size = 31;
  config.hidden_size = 16;
  config.intermediate_size = 32;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 4;
  config.max_position_embeddings = 32;
  config.initializer_range = 0.3;
  config.pad_token_id = 2;
  config.num_labels = 1;
  return config;
}

class RewardModelTest : public testing::Test {
 protected:
  void SetUp() override {
    Save(ClassifierConfig());
    COHORT_ASSERT_OK(WriteFileAtomic(folder_.path() + "/tokenizer.json", "{\"a\": 1}"));
    options_.path = options_.policy_path = folder_.path();
  }

  void Save(const ModelConfig& config) {
    COHORT_ASSERT_OK_AND_ASSIGN(model_, CausalLm::Random(config, {}, 5));
    COHORT_ASSERT_OK(model_->Save(folder_.path()));
  }

  static std::vector<RewardInput> Inputs(std::vector<std::vector<int32_t>> responses) {
    auto prompt = std::make_shared<RewardPrompt>();
    prompt->ids = {3, 9, 4, 11};
    std::vector<RewardInput> inputs;
    for (std::vector<int32_t>& response : responses) {
      RewardInput input;
      input.prompt = prompt;
      input.response_ids = std::move(response);
      inputs.push_back(std::move(input));
    }
    return inputs;
  }

  // One plain forward pass over the whole sequence.
  double Plain(const RewardInput& input, int64_t pooled) const {
    const c10::NoGradGuard no_grad;
    std::vector<int64_t> tokens(input.prompt->ids.begin(), input.prompt->ids.end());
    tokens.insert(tokens.end(), input.response_ids.begin(), input.response_ids.end());
    const auto length = static_cast<int64_t>(tokens.size());
    PackedAttention attention({{0, length, -1, 0}});
    const at::Tensor hidden =
        model_->Forward(at::tensor(tokens, at::kLong), at::arange(length, at::kLong), attention);
    return model_->Logits(hidden)[pooled][0].item<double>();
  }

  TemporaryFolder folder_;
  std::unique_ptr<CausalLm> model_;
  RewardModelOptions options_;
};

TEST_F(RewardModelTest, ScoresTheLastTokenThatIsNotPadding) {
  // The last row is padding only: the state is that of the prompt's last token.
  const auto inputs = Inputs({{5, 6, 7}, {8}, {12, 2}, {13, 2, 2}, {2, 2}});
  const std::vector<int64_t> pooled = {6, 4, 4, 4, 3};
  for (int64_t budget : {8192, 8, 1}) {
    options_.tokens_per_pass = budget;
    COHORT_ASSERT_OK_AND_ASSIGN(const auto scorer, RewardModel::Load(options_));
    const std::vector<RewardVerdict> verdicts = scorer->Score(inputs);
    for (size_t i = 0; i < inputs.size(); ++i) {
      EXPECT_EQ(verdicts[i].outcome, Outcome::kValue) << verdicts[i].note;
      EXPECT_NEAR(verdicts[i].value, Plain(inputs[i], pooled[i]), 1e-5) << i;
    }
  }
}

TEST_F(RewardModelTest, WithoutAPadTokenTheLastOneCounts) {
  ModelConfig config = ClassifierConfig();
  config.pad_token_id = -1;
  Save(config);
  COHORT_ASSERT_OK_AND_ASSIGN(const auto scorer, RewardModel::Load(options_));
  const auto inputs = Inputs({{12, 2}});
  EXPECT_NEAR(scorer->Score(inputs)[0].value, Plain(inputs[0], 5), 1e-5);
}

TEST_F(RewardModelTest, WhatItCannotScoreInTimeOrAtAllIsUnscorable) {
  COHORT_ASSERT_OK_AND_ASSIGN(const auto scorer, RewardModel::Load(options_));
  const auto verdicts = scorer->Score(Inputs({{5}, {}, std::vector<int32_t>(40, 7), {99}}));
  EXPECT_STREQ(verdicts[1].cause, cause::kMissing);
  EXPECT_STREQ(verdicts[2].cause, cause::kDeclined);
  EXPECT_STREQ(verdicts[3].cause, cause::kCrash);  // no such token; its pass fails as a whole
  EXPECT_THAT(verdicts[2].note, HasSubstr("44 tokens"));
  options_.timeout = absl::ZeroDuration();
  COHORT_ASSERT_OK_AND_ASSIGN(const auto late, RewardModel::Load(options_));
  const auto missed = late->Score(Inputs({{5}}));
  EXPECT_EQ(missed[0].outcome, Outcome::kUnscorable);
  EXPECT_STREQ(missed[0].cause, cause::kTimeout);
}

TEST_F(RewardModelTest, AnotherTokenizerOrAnotherKindOfModelIsRefused) {
  TemporaryFolder other;
  COHORT_ASSERT_OK(WriteFileAtomic(other.path() + "/tokenizer.json", "{\"b\": 1}"));
  options_.policy_path = other.path();
  EXPECT_THAT(RewardModel::Load(options_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tokenizer.json")));
  options_.policy_path = folder_.path();
  ModelConfig config = ClassifierConfig();
  config.num_labels = 2;
  Save(config);
  EXPECT_THAT(RewardModel::Load(options_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("one label, found 2")));
  config.num_labels = 0;
  Save(config);
  EXPECT_THAT(RewardModel::Load(options_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("found a language model")));
}

TEST_F(RewardModelTest, IsAComponentOfARewardSet) {
  COHORT_ASSERT_OK_AND_ASSIGN(const auto scorer, RewardModel::Load(options_));
  RewardComponent component;
  component.name = "reward_model";
  component.weight = 0.5;
  component.scorer = scorer;
  COHORT_ASSERT_OK_AND_ASSIGN(const auto set, RewardSet::Create({component}, 1));
  const auto inputs = Inputs({{5, 6, 7}, {}});
  const std::vector<RowReward> rows = set->Score(inputs);
  EXPECT_NEAR(rows[0].total, 0.5 * Plain(inputs[0], 6), 1e-5);
  EXPECT_FALSE(rows[0].judged);
  EXPECT_TRUE(rows[1].unscorable);
}

}  // namespace
}  // namespace cohort

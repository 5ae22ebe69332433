// Reward models against what transformers' ...ForSequenceClassification computes for the same
// weights (README.md beside this file).
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/scoring/reward_model.h"

namespace cohort {
namespace {

using nlohmann::json;

std::string SourceDir() {
  const char* folder = std::getenv("COHORT_SOURCE_DIR");
  return folder != nullptr ? folder : ".";
}

class RewardGoldenTest : public testing::TestWithParam<std::string> {
 protected:
  // The tiny model with the golden file's score head, saved as a classifier.
  void SetUp() override {
    COHORT_ASSERT_OK_AND_ASSIGN(
        const std::string text,
        ReadFile(absl::StrCat(SourceDir(), "/tests/golden/data/reward_", GetParam(), ".json")));
    golden_ = json::parse(text);
    const std::string policy = folder_.path() + "/policy";
    std::string command =
        absl::StrCat("python3 ", SourceDir(), "/tools/make_tiny_model --out ", policy);
    for (const json& argument : golden_["make_tiny_model"]) {
      absl::StrAppend(&command, " ", argument.get<std::string>());
    }
    ASSERT_EQ(std::system((command + " > /dev/null").c_str()), 0) << command;
    SetPadToken(policy);
    CausalLmOptions options;
    options.head = ModelHead::kNewScore;
    COHORT_ASSERT_OK_AND_ASSIGN(const auto model, CausalLm::Load(policy, options));
    const auto score = golden_["score"].get<std::vector<double>>();
    model->head_weight().detach().copy_(at::tensor(score, at::kDouble).unsqueeze(0));
    options_.path = folder_.path() + "/reward";
    options_.policy_path = policy;
    COHORT_ASSERT_OK(MakeFolders(options_.path));
    COHORT_ASSERT_OK(model->Save(options_.path));
  }

  void SetPadToken(const std::string& folder) const {
    COHORT_ASSERT_OK_AND_ASSIGN(const std::string text, ReadFile(folder + "/config.json"));
    json config = json::parse(text);
    config["pad_token_id"] = golden_["pad_token_id"];
    COHORT_ASSERT_OK(WriteFileAtomic(folder + "/config.json", config.dump()));
  }

  TemporaryFolder folder_;
  json golden_;
  RewardModelOptions options_;
};

TEST_P(RewardGoldenTest, RewardsAgreeWithTransformers) {
  COHORT_ASSERT_OK_AND_ASSIGN(const auto model, RewardModel::Load(options_));
  for (const json& sample : golden_["cases"]) {
    const auto tokens = sample["tokens"].get<std::vector<int32_t>>();
    auto prompt = std::make_shared<RewardPrompt>();
    prompt->ids = {tokens.begin(), tokens.begin() + 2};
    RewardInput input;
    input.prompt = prompt;
    input.response_ids = {tokens.begin() + 2, tokens.end()};
    const std::vector<RewardVerdict> verdicts = model->Score({input, input});
    for (const RewardVerdict& verdict : verdicts) {
      EXPECT_EQ(verdict.outcome, Outcome::kValue) << verdict.note;
      EXPECT_NEAR(verdict.value, sample["reward"].get<double>(), 1e-4);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Architectures, RewardGoldenTest, testing::Values("llama_untied", "qwen2"),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace cohort

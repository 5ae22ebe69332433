// CausalLm against what transformers computes for the same folder (README.md beside this file).
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/status_matchers.h"
#include "common/model/causal_lm.h"
#include "common/model/packed_attention.h"

namespace cohort {
namespace {

using nlohmann::json;

constexpr double kTolerance = 1e-4;     // nats and logits, fp32
constexpr double kTopTwoMargin = 1e-3;  // below it, greedy tokens may differ

std::string SourceDir() {
  const char* folder = std::getenv("COHORT_SOURCE_DIR");
  return folder != nullptr ? folder : ".";
}

json ReadGolden(const std::string& name) {
  const auto text = ReadFile(SourceDir() + "/tests/golden/data/" + name + ".json");
  EXPECT_THAT(text, IsOk());
  return text.ok() ? json::parse(*text) : json();
}

// The references hold for these weights only.
void ExpectSameWeights(const std::string& folder, const json& golden) {
  const std::string path = folder + "/model.safetensors";
  const auto weights = ReadFile(path);
  ASSERT_THAT(weights, IsOk());
  ASSERT_EQ(Sha256Hex(*weights), golden["weights_sha256"].get<std::string>())
      << path << " is not the model that make_golden.py saw: make the golden files anew";
}

// Hidden states of one sequence.
at::Tensor Hidden(const CausalLm& model, const std::vector<int64_t>& tokens) {
  const c10::InferenceMode no_graph;
  const auto n = static_cast<int64_t>(tokens.size());
  PackedAttention attention({{0, n, -1, 0}});
  return model.Forward(at::tensor(tokens, at::kLong), at::arange(n, at::kLong), attention);
}

// [i] = log p(tokens[i + 1] | tokens[0..i]), and the logits after the last token.
std::pair<at::Tensor, at::Tensor> Score(const CausalLm& model, const std::vector<int64_t>& tokens) {
  const at::Tensor logits = model.Logits(Hidden(model, tokens));
  const auto n = static_cast<int64_t>(tokens.size());
  const at::Tensor targets = at::tensor(tokens, at::kLong).narrow(0, 1, n - 1).unsqueeze(1);
  const at::Tensor all = at::log_softmax(logits.narrow(0, 0, n - 1), -1);
  return {all.gather(1, targets).squeeze(1), logits[n - 1]};
}

double MaxDifference(const at::Tensor& found, const std::vector<double>& expected) {
  return (found.to(at::kDouble) - at::tensor(expected, at::kDouble)).abs().max().item<double>();
}

double LogprobDifference(const at::Tensor& found, const json& golden) {
  std::vector<double> expected;  // the first entry is null
  for (size_t i = 1; i < golden.size(); ++i) expected.push_back(golden[i].get<double>());
  return MaxDifference(found, expected);
}

// Greedy tokens equal the reference's up to a position where its two best logits nearly tie.
void ExpectGreedy(const CausalLm& model, const json& golden) {
  auto sequence = golden["prompt"].get<std::vector<int64_t>>();
  const auto expected = golden["tokens"].get<std::vector<int64_t>>();
  for (size_t i = 0; i < expected.size(); ++i) {
    const at::Tensor hidden = Hidden(model, sequence);
    const auto last = hidden.narrow(0, hidden.size(0) - 1, 1);
    const auto token = model.Logits(last).argmax().item<int64_t>();
    if (token != expected[i]) {
      const auto margin = golden["margins"][i].get<double>();
      std::printf("greedy token %zu differs where the reference's margin is %.2e\n", i, margin);
      EXPECT_LT(margin, kTopTwoMargin) << "token " << i;
      return;
    }
    sequence.push_back(token);
  }
}

class TinyGoldenTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    golden_ = ReadGolden("tiny_" + GetParam());
    std::string command =
        "python3 '" + SourceDir() + "/tools/make_tiny_model' --out '" + folder_.path() + "/model'";
    for (const json& argument : golden_["make_tiny_model"]) {
      command += " '" + argument.get<std::string>() + "'";
    }
    ASSERT_EQ(std::system((command + " > /dev/null").c_str()), 0) << command;
    ExpectSameWeights(model_folder(), golden_);
  }
  std::string model_folder() const { return folder_.path() + "/model"; }

  TemporaryFolder folder_;
  json golden_;
};

TEST_P(TinyGoldenTest, LogprobsAndLogitsAgreeWithTransformers) {
  COHORT_ASSERT_OK_AND_ASSIGN(const auto model, CausalLm::Load(model_folder(), {}));
  for (const json& sample : golden_["cases"]) {
    const auto [logprobs, last] = Score(*model, sample["tokens"].get<std::vector<int64_t>>());
    EXPECT_LE(LogprobDifference(logprobs, sample["logprobs"]), kTolerance);
    EXPECT_LE(MaxDifference(last, sample["last_logits"].get<std::vector<double>>()), kTolerance);
  }
}

TEST_P(TinyGoldenTest, GreedyContinuationsAgreeWithTransformers) {
  COHORT_ASSERT_OK_AND_ASSIGN(const auto model, CausalLm::Load(model_folder(), {}));
  for (const json& sample : golden_["greedy"]) ExpectGreedy(*model, sample);
}

TEST_P(TinyGoldenTest, SavedCheckpointHoldsTheSameBytes) {
  COHORT_ASSERT_OK_AND_ASSIGN(const auto model, CausalLm::Load(model_folder(), {}));
  const std::string copy = folder_.path() + "/copy";
  COHORT_ASSERT_OK(MakeFolders(copy));
  COHORT_ASSERT_OK(model->Save(copy));
  COHORT_ASSERT_OK_AND_ASSIGN(const auto again, CausalLm::Load(copy, {}));
  const auto before = model->NamedParameters(), after = again->NamedParameters();
  ASSERT_EQ(before.size(), after.size());
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_TRUE(at::equal(before[i].tensor, after[i].tensor)) << before[i].name;
  }
}

INSTANTIATE_TEST_SUITE_P(Architectures, TinyGoldenTest,
                         testing::Values("llama_tied", "llama_untied", "llama3", "mistral", "qwen2",
                                         "qwen3"),
                         [](const auto& tested) { return tested.param; });

class SmolGoldenTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string folder = SourceDir() + "/models/smollm2-135m-instruct";
    if (!std::filesystem::exists(folder + "/model.safetensors")) {
      GTEST_SKIP() << folder << " is missing: run scripts/setup-model smollm2";
    }
    golden_ = ReadGolden("smollm2");
    ExpectSameWeights(folder, golden_);
    if (HasFatalFailure()) return;
    COHORT_ASSERT_OK_AND_ASSIGN(model_, CausalLm::Load(folder, {}));
  }
  json golden_;
  std::unique_ptr<CausalLm> model_;
};

TEST_F(SmolGoldenTest, LogprobsAgreeWithTransformers) {
  double worst = 0;
  for (const json& sample : golden_["logprobs"]) {
    const auto logprobs = Score(*model_, sample["tokens"].get<std::vector<int64_t>>()).first;
    worst = std::max(worst, LogprobDifference(logprobs, sample["logprobs"]));
  }
  std::printf("largest log-prob difference: %.2e nats\n", worst);
  EXPECT_LE(worst, kTolerance);
}

// The reference's own continuation in one pass: every token is the best one given those before.
TEST_F(SmolGoldenTest, GreedyTokensAgreeWithTransformers) {
  for (const json& sample : golden_["greedy"]) {
    auto sequence = sample["prompt"].get<std::vector<int64_t>>();
    const auto expected = sample["tokens"].get<std::vector<int64_t>>();
    const auto first = static_cast<int64_t>(sequence.size()) - 1;
    sequence.insert(sequence.end(), expected.begin(), expected.end() - 1);
    const at::Tensor hidden = Hidden(*model_, sequence);
    const at::Tensor best =
        model_->Logits(hidden.narrow(0, first, hidden.size(0) - first)).argmax(-1);
    for (size_t i = 0; i < expected.size(); ++i) {
      if (best[static_cast<int64_t>(i)].item<int64_t>() == expected[i]) continue;
      const auto margin = sample["margins"][i].get<double>();
      std::printf("greedy token %zu differs where the reference's margin is %.2e\n", i, margin);
      EXPECT_LT(margin, kTopTwoMargin) << "token " << i;
    }
  }
}

}  // namespace
}  // namespace cohort

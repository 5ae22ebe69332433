// The generation engine against greedy runs of transformers (README.md beside this file).
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/generate/engine.h"
#include "common/model/causal_lm.h"

namespace cohort {
namespace {

using nlohmann::json;

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

GroupRequest GreedyRequest(GroupId id, const json& golden) {
  GroupRequest request;
  request.id = id;
  request.prompt = golden["prompt"].get<std::vector<int32_t>>();
  SamplePlan plan;
  plan.temperature = 0;
  plan.max_new_tokens = static_cast<int32_t>(golden["tokens"].size());
  request.plans = {plan};
  return request;
}

// The row's tokens equal the reference's up to a place where its two best logits nearly tie.
void ExpectTokens(const Row& row, const json& golden) {
  const auto expected = golden["tokens"].get<std::vector<int32_t>>();
  ASSERT_EQ(row.tokens.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    if (row.tokens[i] == expected[i]) continue;
    const auto margin = golden["margins"][i].get<double>();
    std::printf("greedy token %zu differs where the reference's margin is %.2e\n", i, margin);
    EXPECT_LT(margin, kTopTwoMargin) << "token " << i;
    return;
  }
}

// All runs of the file decode together, in as few slots as make them wait for each other.
void ExpectGreedyRuns(const std::string& folder, const json& runs) {
  COHORT_ASSERT_OK_AND_ASSIGN(const auto model, CausalLm::Load(folder, {}));
  EngineOptions options;
  options.max_rows = 2;
  options.stop_tokens = std::vector<int32_t>();
  COHORT_ASSERT_OK_AND_ASSIGN(const auto engine, GroupGenerator::Create(model.get(), options));
  for (size_t i = 0; i < runs.size(); ++i) {
    COHORT_ASSERT_OK(engine->Submit(GreedyRequest(i, runs[i])));
  }
  size_t finished = 0;
  while (!engine->idle()) {
    const StepResult step = engine->Step();
    for (const FinishedGroup& group : step.finished) {
      COHORT_ASSERT_OK(group.status);
      ExpectTokens(group.group.rows[0], runs[group.id]);
      ++finished;
    }
  }
  EXPECT_EQ(finished, runs.size());
}

class TinyGenerateGoldenTest : public testing::TestWithParam<const char*> {};

TEST_P(TinyGenerateGoldenTest, GreedyRunsAreThoseOfTheReference) {
  const json golden = ReadGolden(std::string("tiny_") + GetParam());
  const TemporaryFolder folder;
  std::string command =
      "python3 '" + SourceDir() + "/tools/make_tiny_model' --out '" + folder.path() + "/model'";
  for (const json& argument : golden["make_tiny_model"]) {
    command += " '" + argument.get<std::string>() + "'";
  }
  ASSERT_EQ(std::system((command + " > /dev/null").c_str()), 0) << command;
  ExpectGreedyRuns(folder.path() + "/model", golden["greedy"]);
}

INSTANTIATE_TEST_SUITE_P(Architectures, TinyGenerateGoldenTest,
                         testing::Values("llama_tied", "llama_untied", "llama3", "mistral", "qwen2",
                                         "qwen3"),
                         [](const auto& tested) { return std::string(tested.param); });

TEST(GenerateGoldenTest, SmolLm2GreedyRunsAreThoseOfTheReference) {
  const std::string folder = SourceDir() + "/models/smollm2-135m-instruct";
  if (!std::filesystem::exists(folder + "/model.safetensors")) {
    GTEST_SKIP() << folder << " is missing: scripts/setup-model smollm2 makes it";
  }
  ExpectGreedyRuns(folder, ReadGolden("smollm2")["greedy"]);
}

}  // namespace
}  // namespace cohort

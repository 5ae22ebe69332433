// Every recipe trains a tiny random model for two steps: the real learner and a real worker, in one
// process, over loopback sockets. Only model, sizes and the verdicts are the test's: a random model
// answers nothing, so the task's verifier tosses a coin, which every filter and estimator can work
// with.
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/process.h"
#include "common/base/status_matchers.h"
#include "common/config/recipes.h"
#include "services/learner/run.h"
#include "services/rollout/worker.h"

namespace cohort {
namespace {

constexpr absl::Duration kLimit = absl::Seconds(60);

std::vector<std::string> Names() {
  std::vector<std::string> names;
  for (const Recipe& recipe : Recipes()) names.push_back(recipe.name);
  return names;
}

class RecipesTrain : public testing::TestWithParam<std::string> {
 protected:
  static void SetUpTestSuite() {
    models_ = new TemporaryFolder;
    stop_ = new StopSignal;
    const char* source = std::getenv("COHORT_SOURCE_DIR");
    make_ =
        absl::StrCat("python3 ", source == nullptr ? "." : source, "/tools/make_tiny_model --out ",
                     Model(), " --hidden 32 --layers 2 --seed 3 > /dev/null");
    made_ = std::system(make_.c_str()) == 0;
  }
  static void TearDownTestSuite() {
    delete stop_;
    delete models_;
  }

  void SetUp() override {
    if (!made_) GTEST_SKIP() << "cannot run: " << make_;
  }

  static std::string Model() { return models_->path() + "/model"; }

  // What a recipe needs of the world besides.
  static std::vector<std::string> Overrides(const std::string& recipe) {
    std::vector<std::string> overrides = CommonOverrides();
    const auto add = [&](const std::string& setting) { overrides.push_back(setting); };
    const std::set<std::string> read_answers = {"ttrl", "empo", "spurious_incorrect"};
    if (read_answers.contains(recipe)) {
      add("data.sources=[{task: addition-1}]");
      add("rollout.max_new_tokens=24");
    } else if (recipe == "spurious_majority") {
      add(absl::StrCat("data.sources=[{path: ", MajorityFile(), ", reward: rule_last_integer}]"));
      add("rollout.max_new_tokens=24");
    } else if (recipe == "spurious_format") {
      // A random model does not box anything either.
      add("algorithm.reward.sources=[{name: contains, text: e}]");
    } else if (recipe == "thinkprune") {
      add("rollout.length_schedule=[{from_step: 2, max_new_tokens: 4}]");
    } else if (recipe == "limr") {
      add("algorithm.data.select.lim.run=" + HistoryRun());
    } else if (recipe == "one_shot_em" || recipe == "one_shot_rlvr") {
      add("algorithm.data.select.variance_topk.run=" + HistoryRun());
    }
    return overrides;
  }

  // Prompts whose majority answer is 1: a digit that a random model may well end on.
  static std::string MajorityFile() {
    const std::string path = models_->path() + "/majority.jsonl";
    std::ofstream file(path);
    for (int i = 0; i < 32; ++i) {
      file << "{\"prompt\": \"" << i << "+0=\", \"answer\": \"" << i
           << "\", \"majority_answer\": \"1\"}\n";
    }
    return path;
  }

  // The folder of a run whose history selects prompts, made once.
  static std::string HistoryRun() {
    const std::string folder = models_->path() + "/history";
    static const absl::Status trained = Train("grpo", folder);
    EXPECT_THAT(trained, IsOk());
    return folder;
  }

  static std::vector<std::string> CommonOverrides() {
    return {absl::StrCat("model.path=", Model()),
            "model.dtype=fp32",
            "model.device=cpu",
            "run.steps=2",
            "run.seed=7",
            "run.spurious=true",
            "data.sources=[{task: addition-1, reward: random}]",
            "rollout.max_new_tokens=8",
            "rollout.threads=1",
            "learner.threads=1",
            "learner.step_timeout_seconds=50",
            "eval.samples=0",
            "checkpoint.every_steps=0",
            "log.tensorboard=false"};
  }

  // Learner and worker to their ends; the first one that fails.
  static absl::Status Train(const std::string& recipe, const std::string& folder) {
    LearnerArgs learner;
    learner.config_path = recipe;
    learner.overrides = Overrides(recipe);
    learner.out = folder;
    absl::Status learned;
    std::atomic<bool> ended{false};
    std::thread thread([&] {
      learned = RunLearner(learner, stop_);
      ended = true;
    });
    WorkerArgs worker;
    worker.config_path = recipe;
    worker.overrides = Overrides(recipe);
    worker.learner = Address(folder, ended);
    worker.security.secret_file = absl::StrCat(folder, "/secret");
    const absl::Status sampled =
        worker.learner.empty() ? absl::OkStatus() : RunWorker(worker, stop_);
    thread.join();
    return learned.ok() ? sampled : learned;
  }

  static std::string Address(const std::string& folder, const std::atomic<bool>& ended) {
    const absl::Time deadline = absl::Now() + kLimit;
    while (absl::Now() < deadline && !ended) {
      const std::string text = ReadFile(folder + "/address").value_or("");
      if (absl::StrContains(text, '\n')) return text.substr(0, text.find('\n'));
      absl::SleepFor(absl::Milliseconds(5));  // a file is all there is to wait on
    }
    return "";
  }

  std::vector<nlohmann::json> Steps() const {
    std::vector<nlohmann::json> lines;
    const std::string text = ReadFile(folder_.path() + "/metrics.jsonl").value_or("");
    for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
      nlohmann::json step = nlohmann::json::parse(std::string(line), nullptr, false);
      if (step.contains("loss")) lines.push_back(std::move(step));
    }
    return lines;
  }

  TemporaryFolder folder_;
  static inline TemporaryFolder* models_ = nullptr;
  static inline StopSignal* stop_ = nullptr;
  static inline std::string make_;
  static inline bool made_ = false;
};

TEST_P(RecipesTrain, TwoSteps) {
  COHORT_ASSERT_OK_AND_ASSIGN(const Recipe recipe, FindRecipe(GetParam()));
  COHORT_ASSERT_OK_AND_ASSIGN(const v1::RunConfig config, ResolveRecipe(recipe));
  const v1::Objective& objective = config.algorithm().objective();
  COHORT_ASSERT_OK(Train(GetParam(), folder_.path()));
  const std::vector<nlohmann::json> steps = Steps();
  ASSERT_EQ(steps.size(), 2u);
  std::vector<std::string> keys = {"loss", "grad_norm", "response_length/mean"};
  if (objective.has_policy_gradient()) keys.push_back("reward/mean");
  for (const nlohmann::json& step : steps) {
    for (const std::string& key : keys) {
      ASSERT_TRUE(step.contains(key)) << key;
      EXPECT_TRUE(std::isfinite(step[key].get<double>())) << key;
    }
  }
  const bool learned =
      steps[0]["grad_norm"].get<double>() + steps[1]["grad_norm"].get<double>() > 0;
  const bool changed = steps[0]["weights/hash"] != steps[1]["weights/hash"];
  // EM-INF changes what is sampled and no weight.
  EXPECT_EQ(learned, !objective.has_inference_entropy());
  EXPECT_EQ(changed, !objective.has_inference_entropy());
}

INSTANTIATE_TEST_SUITE_P(All, RecipesTrain, testing::ValuesIn(Names()),
                         [](const auto& recipe) { return recipe.param; });

}  // namespace
}  // namespace cohort

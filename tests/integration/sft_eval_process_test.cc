// `cohort sft`, `cohort eval` and `cohort report` as real processes on a tiny model: ranks,
// workers, interruption and what they leave.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/exit_code.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"

namespace cohort {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

class SftEvalProcess : public testing::Test {
 protected:
  void SetUp() override {
    cohort_ = Variable("COHORT_BIN_DIR") + "/cohort";
    const std::string source = Variable("COHORT_SOURCE_DIR");
    if (source.empty() || access(cohort_.c_str(), X_OK) != 0) {
      GTEST_SKIP() << "needs COHORT_SOURCE_DIR and cohort in COHORT_BIN_DIR";
    }
    const std::string make =
        absl::StrCat("python3 ", source, "/tools/make_tiny_model --out ", Path("model"),
                     " --hidden 32 --layers 2 --seed 3 > /dev/null");
    if (std::system(make.c_str()) != 0) GTEST_SKIP() << "cannot run: " << make;
  }

  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }
  std::string Read(const std::string& name) const { return ReadFile(Path(name)).value_or(""); }

  // The exit code; output and errors together are in log_.
  int Cohort(const std::string& arguments) {
    const std::string command =
        absl::StrCat("timeout 120 ", cohort_, " ", arguments, " > ", Path("log"), " 2>&1");
    const int status = std::system(command.c_str());
    log_ = Read("log");
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  int Sft(int steps, const std::string& out, const std::string& extra = "") {
    COHORT_EXPECT_OK(WriteFileAtomic(
        Path("sft.yaml"),
        absl::StrCat("run: {seed: 7, steps: ", steps, "}\nmodel: {path: ", Path("model"),
                     ", dtype: fp32, device: cpu}\ndata: {task: column-addition-2}\n",
                     "rollout: {max_new_tokens: 8}\n",
                     "learner: {prompts_per_step: 8, threads: 1, step_timeout_seconds: 60}\n",
                     "optimizer: {lr: 1e-3}\ncheckpoint: {every_steps: 0, keep_last: 1}\n",
                     "eval: {samples: 1, sources: [{task: column-addition-2, prompts: 4}]}\n")));
    return Cohort(absl::StrCat("sft -c ", Path("sft.yaml"), " --out ", Path(out), " ", extra));
  }

  int Eval(const std::string& out, const std::string& extra = "",
           const std::string& model = "model") {
    return Cohort(absl::StrCat("eval --model ", Path(model),
                               " --task addition-2 --prompts 6 --samples 4 --max-new-tokens 6 "
                               "--dtype fp32 --device cpu --threads 1 --out ",
                               Path(out), " ", extra));
  }

  // What was sampled, problem by problem; log-probs depend on the batch by rounding.
  std::vector<std::string> Said(const std::string& results) const {
    std::vector<std::string> said;
    const std::string text = Read(results);
    for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipWhitespace())) {
      const json entry = json::parse(line, nullptr, false);
      if (!entry.contains("ids")) continue;
      said.push_back(absl::StrCat(entry["index"].dump(), entry["ids"].dump(),
                                  entry["correct"].dump(), entry["answers"].dump()));
    }
    return said;
  }

  // The values of a key in a run's metrics, in order.
  std::vector<double> Metric(const std::string& run, const std::string& key) const {
    std::vector<double> values;
    const std::string text = Read(run + "/metrics.jsonl");
    for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipWhitespace())) {
      const json entry = json::parse(line, nullptr, false);
      if (entry.contains(key)) values.push_back(entry[key]);
    }
    return values;
  }

  TemporaryFolder folder_;
  std::string cohort_, log_;
};

TEST_F(SftEvalProcess, AResumedRunEndsWithTheWeightsOfTheWholeOne) {
  ASSERT_EQ(Sft(4, "whole"), 0) << log_;
  ASSERT_EQ(Sft(2, "parts"), 0) << log_;
  ASSERT_EQ(Sft(4, "parts", "--resume"), 0) << log_;
  const std::string weights = "/checkpoints/step-00000004/model.safetensors";
  EXPECT_NE(Read("whole" + weights), "");
  EXPECT_EQ(Read("whole" + weights), Read("parts" + weights));
  EXPECT_EQ(Metric("whole", "loss"), Metric("parts", "loss"));
  const json summary = json::parse(Read("parts/summary.json"), nullptr, false);
  EXPECT_EQ(summary["steps"], 4);
  EXPECT_TRUE(summary["heldout_accuracy_after"].is_number());
  EXPECT_THAT(log_, HasSubstr("step-00000004"));
}

TEST_F(SftEvalProcess, AutoStartsContinuesAndEndsAtOnceWhereTheRunIsComplete) {
  ASSERT_EQ(Sft(2, "parts", "--resume=auto"), kExitDone) << log_;
  EXPECT_EQ(Metric("parts", "loss").size(), 2U);
  ASSERT_EQ(Sft(3, "parts", "--resume=auto --set learner.ranks=2"), kExitDone) << log_;
  EXPECT_EQ(Metric("parts", "loss").size(), 3U);
  ASSERT_EQ(Sft(3, "parts", "--resume=auto"), kExitDone) << log_;
  EXPECT_THAT(log_, HasSubstr("the run was complete already"));
  EXPECT_EQ(Sft(3, "parts", "--resume=auto --set run.seed=8"), kExitBadSetup);
  EXPECT_THAT(log_, HasSubstr("run.seed"));
  EXPECT_EQ(Sft(3, "other", "--resume"), kExitBadSetup);
  EXPECT_THAT(log_, HasSubstr("no run in"));
  EXPECT_EQ(Sft(3, "parts", "--resume=no"), kExitBadSetup);
}

TEST_F(SftEvalProcess, TwoRanksTrainWhatOneTrains) {
  ASSERT_EQ(Sft(3, "one"), 0) << log_;
  ASSERT_EQ(Sft(3, "two", "--set learner.ranks=2"), 0) << log_;
  const std::vector<double> one = Metric("one", "loss"), two = Metric("two", "loss");
  ASSERT_EQ(one.size(), 3u);
  ASSERT_EQ(two.size(), 3u);
  for (size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(one[i], two[i], 1e-4);
}

TEST_F(SftEvalProcess, APromptWithoutAResponseEndsTheRunWithItsName) {
  COHORT_ASSERT_OK(WriteFileAtomic(Path("bare.jsonl"), "{\"prompt\":\"x\",\"answer\":\"1\"}\n"));
  EXPECT_EQ(Sft(2, "bare", "--set data.path=" + Path("bare.jsonl")), kExitBadSetup);
  EXPECT_THAT(log_, AllOf(HasSubstr("cohort sft:"), HasSubstr("`response`")));
}

TEST_F(SftEvalProcess, WorkersAndInterruptionsDoNotChangeAnEvaluation) {
  ASSERT_EQ(Eval("one.json"), 0) << log_;
  const std::string whole = Read("one.jsonl");
  ASSERT_EQ(Eval("two.json", "--workers 2"), 0) << log_;
  EXPECT_EQ(Said("two.jsonl"), Said("one.jsonl"));
  // As a process that was killed leaves it: some problems and half a line.
  COHORT_ASSERT_OK(WriteFileAtomic(Path("two.jsonl"), whole.substr(0, whole.size() * 2 / 3)));
  ASSERT_EQ(Eval("two.json", "--resume"), 0) << log_;
  EXPECT_EQ(Said("two.jsonl").size(), 6u);
  EXPECT_THAT(log_, HasSubstr("of 6 problems are there already"));
  json one = json::parse(Read("one.json")), two = json::parse(Read("two.json"));
  for (const char* key : {"pass_at_k", "avg_at_k", "maj_at_k", "accuracy", "per_problem"}) {
    EXPECT_EQ(one[key], two[key]) << key;
  }
  EXPECT_EQ(one["pass_at_k"].size(), 3u) << "k = 1, 2, 4";
  EXPECT_EQ(Eval("two.json", "--resume --seed 5"), 1);
  EXPECT_THAT(log_, HasSubstr("seed was 0 and is 5"));
}

TEST_F(SftEvalProcess, EmInfSharpensWhatIsEvaluatedWhoeverSamples) {
  ASSERT_EQ(Eval("plain.json"), 0) << log_;
  const std::string em_inf = "--em-inf --em-inf-steps 20 --em-inf-lr 1 --em-inf-threshold 0.05";
  ASSERT_EQ(Eval("one.json", em_inf), 0) << log_;
  ASSERT_EQ(Eval("two.json", em_inf + " --workers 2"), 0) << log_;
  EXPECT_EQ(Said("two.jsonl"), Said("one.jsonl"));
  const json plain = json::parse(Read("plain.json")), sharp = json::parse(Read("one.json"));
  EXPECT_LT(sharp["mean_entropy"].get<double>(), plain["mean_entropy"].get<double>() / 2);
  EXPECT_EQ(sharp["em_inf"]["steps"], 20);
  EXPECT_TRUE(plain["em_inf"].is_null());
  EXPECT_EQ(Eval("one.json", "--resume"), 1);
  EXPECT_THAT(log_, HasSubstr("em_inf was {"));
}

TEST_F(SftEvalProcess, KAboveTheSamplesIsRefused) {
  EXPECT_EQ(Eval("one.json", "--k 1,8"), 1);
  EXPECT_THAT(log_, HasSubstr("--k 8: expected 1 <= k <= --samples (4)"));
}

TEST_F(SftEvalProcess, AReportComparesThemWithForwardPassesOfTheirModels) {
  ASSERT_EQ(Sft(3, "run"), 0) << log_;
  ASSERT_EQ(Eval("base.json"), 0) << log_;
  ASSERT_EQ(Eval("run/eval.json", "", "run/checkpoints/step-00000003"), 0) << log_;
  const std::string report =
      absl::StrCat("report --run base=", Path("base.json"), " --run sft=", Path("run"),
                   " --dtype fp32 --device cpu --out ", Path("r.html"), " --json ", Path("r.json"));
  ASSERT_EQ(Cohort(report), 0) << log_;
  const json numbers = json::parse(Read("r.json"), nullptr, false);
  for (const char* part : {"base_perplexity", "logits", "early_answer"}) {
    EXPECT_EQ(numbers[part].size(), 2u) << part;
  }
  EXPECT_GT(numbers["training"][0]["series"]["sft_loss"].size(), 2u);
  EXPECT_THAT(Read("r.html"),
              AllOf(HasSubstr("pass@k"), HasSubstr("Answering early"), Not(HasSubstr("<script"))));
  const std::string first = Read("r.json");
  ASSERT_EQ(Cohort(report), 0) << log_;
  EXPECT_THAT(log_, Not(HasSubstr("computing with"))) << "what was computed is kept";
  EXPECT_EQ(Read("r.json"), first);
}

}  // namespace
}  // namespace cohort

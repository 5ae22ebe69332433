// algorithms.md 13, L1: after training with l1_exact the length of a response is the one that its
// prompt asks for. The M1 model of the recipe study has never read a request; this one has read
// them in supervised examples and not learned to keep to them.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/rng.h"
#include "common/base/status_matchers.h"

namespace cohort {
namespace {

using nlohmann::json;

constexpr int kShortest = 8, kLongest = 32;  // tokens that a prompt may ask for

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// Sums of two digits, the column gone through one to four times and up to five semicolons more, so
// that any length can be met; a request for that length in three of five examples, for any length
// in the others.
std::string Examples() {
  CounterRng rng(1);
  std::string lines;
  for (int i = 0; i < 4000; ++i) {
    const int64_t a = rng.Between(0, 9), b = rng.Between(0, 9);
    std::string solution;
    const std::string column = absl::StrCat(a, "+", b, "=", a + b, ";");
    for (int64_t pass = rng.Between(1, 4); pass > 0; --pass) solution += column;
    absl::StrAppend(&solution, std::string(rng.Below(6), ';'), a + b);
    auto tokens = static_cast<int64_t>(solution.size()) + 1;
    if (rng.Uniform() < 0.4) tokens = rng.Between(kShortest, kLongest);
    const json line = {{"prompt", absl::StrCat(a, "+", b, " Think for ", tokens, " tokens.")},
                       {"response", solution},
                       {"answer", absl::StrCat(a + b)}};
    absl::StrAppend(&lines, line.dump(), "\n");
  }
  return lines;
}

class LengthRequests : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder;
    COHORT_ASSERT_OK(WriteFileAtomic(Path("examples.jsonl"), Examples()));
    const std::string source = Variable("COHORT_SOURCE_DIR");
    ASSERT_TRUE(Run(absl::StrCat("python3 ", source, "/tools/make_tiny_model --out ", Path("tiny"),
                                 " --hidden 128 --layers 6 --heads 4 --seed 1")));
    ASSERT_TRUE(Cohort(absl::StrCat(
        "sft -c ", source, "/recipes/sft/arithmetic.yaml --out ", Path("base"),
        " --set model.path=", Path("tiny"), " --set 'data.sources=[{path: ", Path("examples.jsonl"),
        "}]' --set sft.stop_accuracy=0", " --set run.steps=450 --set eval.samples=0")));
  }
  static void TearDownTestSuite() { delete folder_; }

  static std::string Path(const std::string& name) { return folder_->path() + "/" + name; }

  static bool Run(const std::string& command) {
    const int status = std::system(absl::StrCat(command, " > ", Path("log"), " 2>&1").c_str());
    const bool ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!ok) ADD_FAILURE() << command << "\n" << ReadFile(Path("log")).value_or("");
    return ok;
  }

  static bool Cohort(const std::string& arguments) {
    return Run(absl::StrCat("timeout 1800 ", Variable("COHORT_BIN_DIR"), "/cohort ", arguments,
                            " --set model.dtype=fp32 --set model.device=cpu",
                            " --set checkpoint.every_steps=0 --set log.tensorboard=false"));
  }

  // Lines of metrics.jsonl that say how requests were kept to.
  static std::vector<json> Train(const std::string& name, const std::string& alpha) {
    const bool ok = Cohort(absl::StrCat(
        "train -c l1_exact --out ", Path(name), " --set model.path=$(ls -d ", Path("base"),
        "/checkpoints/*/ | tail -n 1) --set data.task=column-addition-1",
        " --set rollout.max_new_tokens=40 --set rollout.workers=1 --set rollout.threads=1",
        " --set learner.threads=1 --set learner.prompts_per_step=16 --set run.steps=80",
        " --set optimizer.lr=3e-4 --set eval.samples=0 --set 'algorithm.reward.shaping=[{l1_exact:",
        " {alpha: ", alpha, ", min_tokens: ", kShortest, ", max_tokens: ", kLongest, "}}]'"));
    std::vector<json> lines;
    if (!ok) return lines;
    const std::string text = ReadFile(Path(name) + "/metrics.jsonl").value_or("");
    for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipWhitespace())) {
      json entry = json::parse(line, nullptr, false);
      if (entry.contains("length_request/relative_error")) lines.push_back(std::move(entry));
    }
    EXPECT_GE(lines.size(), 80u);
    return lines;
  }

  // Mean over the last `steps` of them.
  static double Last(const std::vector<json>& lines, const char* key, size_t steps = 8) {
    double sum = 0;
    for (size_t i = lines.size() - std::min(steps, lines.size()); i < lines.size(); ++i) {
      sum += lines[i].at(key).get<double>() / static_cast<double>(steps);
    }
    std::cout << key << " " << sum << std::endl;
    return sum;
  }

  static inline TemporaryFolder* folder_ = nullptr;
};

constexpr char kCorrelation[] = "length_request/correlation";
constexpr char kError[] = "length_request/relative_error";

TEST_F(LengthRequests, AreKeptToAfterTraining) {
  const std::vector<json> lines = Train("with", "0.1");
  ASSERT_FALSE(lines.empty());
  // One batch says 0.4 to 0.7.
  EXPECT_LT(lines[0].at(kCorrelation).get<double>(), 0.8) << "nothing is left to learn";
  EXPECT_GT(Last(lines, kCorrelation), 0.9);
  EXPECT_LT(Last(lines, kError), 0.1);
  EXPECT_GT(Last(lines, "accuracy/mean"), 0.9);
}

TEST_F(LengthRequests, AreNotWithoutTheLengthTerm) {
  const std::vector<json> lines = Train("without", "1e-9");
  ASSERT_FALSE(lines.empty());
  EXPECT_LT(Last(lines, kCorrelation), 0.7);
  EXPECT_GT(Last(lines, kError), 0.2);
}

}  // namespace
}  // namespace cohort

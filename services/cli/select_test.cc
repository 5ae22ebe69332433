#include <fstream>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/tasks/prompt_source.h"
#include "common/text/tiny_tokenizer.h"
#include "services/cli/commands.h"

namespace cohort {
namespace {

using testing::HasSubstr;

class SelectTest : public testing::Test {
 protected:
  SelectTest() {
    EXPECT_TRUE(WriteTinyTokenizer(Path("")).ok());
    tokenizer_ = *Tokenizer::Load(Path(""));
    std::ofstream(Path("config.yaml"))
        << "model: {path: " << Path("") << "}\ndata: {sources: [{path: " << Path("pool.jsonl")
        << "}], chat_template: true}\n";
    std::ofstream pool(Path("pool.jsonl"));
    for (int i = 0; i < 4; ++i) pool << Line(i) << "\n\n";
  }

  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }
  static std::string Line(int i) {
    return absl::StrCat("{\"prompt\":\"question ", i, "\",\"answer\":\"1\"}");
  }

  // accuracy[epoch][prompt]; below 0: not trained.
  void Train(const std::vector<std::vector<double>>& accuracy) {
    std::ofstream history(Path("groups.jsonl"));
    for (size_t epoch = 0; epoch < accuracy.size(); ++epoch) {
      for (size_t i = 0; i < accuracy[epoch].size(); ++i) {
        if (accuracy[epoch][i] < 0) continue;
        Prompt prompt;
        prompt.messages = {{"user", absl::StrCat("question ", i)}};
        history << "{\"step\":1,\"ordinal\":" << epoch * 4 + i << ",\"prompt\":\""
                << PromptKey(*EncodePrompt(prompt, {}, *tokenizer_))
                << "\",\"accuracy\":" << accuracy[epoch][i] << "}\n";
      }
    }
  }

  int Select(const std::string& method, std::optional<int> k = {},
             std::optional<double> theta = {}) {
    SelectArgs args;
    args.method = method;
    args.run = Path("");
    args.data = Path("pool.jsonl");
    args.out = Path("chosen.jsonl");
    args.k = k;
    args.theta = theta;
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const int exit = RunSelect(args);
    testing::internal::GetCapturedStdout();
    error_ = testing::internal::GetCapturedStderr();
    return exit;
  }
  std::string Chosen() const { return *ReadFile(Path("chosen.jsonl")); }

  TemporaryFolder folder_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::string error_;
};

TEST_F(SelectTest, VarianceWritesTheLineThatChangedMost) {
  Train({{0, 0.5, 1, 0.2}, {0, 0.5, 0, 0.4}});
  EXPECT_EQ(Select("variance"), 0) << error_;
  EXPECT_EQ(Chosen(), Line(2) + "\n");
  EXPECT_EQ(Select("variance", 2), 0) << error_;
  EXPECT_EQ(Chosen(), Line(2) + "\n" + Line(3) + "\n");
}

TEST_F(SelectTest, LimWritesTheLinesThatFollowTheMean) {
  Train({{0.25, 0, 0.5, 0.25}, {0.75, 1, 0.5, -1}, {0.75, 1, 0.5, 0.75}});
  EXPECT_EQ(Select("lim", {}, 0.9), 0) << error_;
  EXPECT_EQ(Chosen(), Line(0) + "\n" + Line(3) + "\n") << "a missing epoch takes the next value";
}

TEST_F(SelectTest, SaysWhatIsMissing) {
  EXPECT_EQ(Select("variance"), 1);
  EXPECT_THAT(error_, HasSubstr("--run needs the folder of a run"));
  std::ofstream(Path("groups.jsonl")) << "{\"ordinal\":1,\"prompt\":\"ab\",\"accuracy\":1}\n";
  EXPECT_EQ(Select("variance"), 1);
  EXPECT_THAT(error_, HasSubstr("none of the 4 prompts"));
  EXPECT_EQ(Select("variance", {}, 0.5), 1);
  EXPECT_THAT(error_, HasSubstr("--theta belongs to lim"));
  std::ofstream(Path("groups.jsonl")) << "{\"ordinal\":1}\n";
  EXPECT_EQ(Select("variance"), 1);
  EXPECT_THAT(error_, HasSubstr("line 1"));
}

}  // namespace
}  // namespace cohort

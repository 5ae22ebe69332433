#include "common/tasks/training_example.h"

#include <algorithm>
#include <fstream>
#include <set>

#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/text/tiny_tokenizer.h"

namespace cohort {
namespace {

using testing::HasSubstr;

class TrainingExampleTest : public testing::Test {
 protected:
  TrainingExampleTest() {
    EXPECT_TRUE(WriteTinyTokenizer(folder_.path()).ok());
    tokenizer_ = *Tokenizer::Load(folder_.path());
  }

  std::string Learned(const TrainingExample& example) const {
    std::vector<int32_t> ids;
    for (size_t i = 0; i < example.tokens.size(); ++i) {
      if (example.mask[i] != 0) ids.push_back(example.tokens[i]);
    }
    return *tokenizer_->Decode(ids, false);
  }
  std::string All(const TrainingExample& example) const {
    std::vector<int32_t> ids = example.prompt;
    ids.insert(ids.end(), example.tokens.begin(), example.tokens.end());
    return *tokenizer_->Decode(ids, false);
  }

  TemporaryFolder folder_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(TrainingExampleTest, LearnsTheSolutionAndItsEndAfterThePromptThatASamplerSees) {
  Prompt prompt;
  prompt.messages = {{"user", "12+34"}};
  prompt.solution = "2+4=6;1+3=4;46";
  COHORT_ASSERT_OK_AND_ASSIGN(const TrainingExample example,
                              EncodeTrainingExample(prompt, {}, *tokenizer_));
  EXPECT_EQ(example.prompt, *EncodePrompt(prompt, {}, *tokenizer_));
  EXPECT_EQ(Learned(example), "2+4=6;1+3=4;46<|im_end|>");
  EXPECT_EQ(example.tokens.back(), kTinyMessageEnd) << "what follows the end is left out";
  EXPECT_EQ(example.mask.size(), example.tokens.size());
}

TEST_F(TrainingExampleTest, LearnsEveryAssistantMessageOfAConversationAndNothingElse) {
  Prompt prompt;
  prompt.messages = {
      {"system", "S"}, {"user", "a"}, {"assistant", "b"}, {"user", "c"}, {"assistant", "d"}};
  COHORT_ASSERT_OK_AND_ASSIGN(const TrainingExample example,
                              EncodeTrainingExample(prompt, {}, *tokenizer_));
  EXPECT_EQ(Learned(example), "b<|im_end|>d<|im_end|>");
  EXPECT_EQ(All(example) + "\n", *tokenizer_->RenderChat(prompt.messages, false));
}

TEST_F(TrainingExampleTest, WithoutATemplateTheResponseFollowsThePromptAndEnds) {
  Prompt prompt;
  prompt.messages = {{"user", "1+1="}};
  prompt.solution = "2";
  PromptFormat format;
  format.chat_template = false;
  COHORT_ASSERT_OK_AND_ASSIGN(const TrainingExample example,
                              EncodeTrainingExample(prompt, format, *tokenizer_));
  ASSERT_EQ(example.tokens.size(), 2u);
  EXPECT_TRUE(tokenizer_->IsEos(example.tokens.back()));
  EXPECT_EQ(example.prompt, *EncodePrompt(prompt, format, *tokenizer_));
}

TEST_F(TrainingExampleTest, APromptWithoutAResponseSaysWhatToGive) {
  Prompt prompt;
  prompt.source = "file";
  prompt.messages = {{"user", "1+1="}};
  EXPECT_THAT(EncodeTrainingExample(prompt, {}, *tokenizer_).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("`response`")));
}

TEST_F(TrainingExampleTest, FilesGiveResponsesUnderAnyOfTheirNames) {
  const std::string path = folder_.path() + "/train.jsonl";
  std::ofstream(path) << R"({"prompt":"p","response":"r"})" << "\n"
                      << R"({"prompt":"p","completion":"c"})" << "\n"
                      << R"({"question":"q","answer":"because #### 1,234"})" << "\n"
                      << R"({"messages":[{"role":"user","content":"u"},)"
                      << R"({"role":"assistant","content":"m"}]})" << "\n";
  SourceOptions options;
  options.path = path;
  COHORT_ASSERT_OK_AND_ASSIGN(const auto source, MakeSource(options));
  const std::vector<std::string> expected = {"r", "c", "because\n#### 1234", "m"};
  for (size_t i = 0; i < expected.size(); ++i) {
    COHORT_ASSERT_OK_AND_ASSIGN(const Prompt prompt, source->At(i, Split::kTrain));
    COHORT_ASSERT_OK_AND_ASSIGN(const TrainingExample example,
                                EncodeTrainingExample(prompt, {}, *tokenizer_));
    EXPECT_EQ(Learned(example), expected[i] + "<|im_end|>");
  }
}

TEST(SolutionTest, ProceduralTasksWriteOutASolutionThatEndsWithTheAnswer) {
  for (const std::string& name : TaskNames()) {
    SourceOptions options;
    options.task = name;
    COHORT_ASSERT_OK_AND_ASSIGN(const auto source, MakeSource(options));
    COHORT_ASSERT_OK_AND_ASSIGN(const Prompt prompt, source->At(3, Split::kTrain));
    EXPECT_NE(prompt.solution, "") << name;
    if (name == "countdown") continue;  // an expression
    EXPECT_THAT(prompt.solution, testing::EndsWith(prompt.answer)) << name;
  }
}

TEST(SolutionTest, ACheckedAdditionGoesThroughItsColumnsOneToFourTimes) {
  SourceOptions options;
  options.task = "checked-addition-2";
  COHORT_ASSERT_OK_AND_ASSIGN(const auto source, MakeSource(options));
  std::set<std::ptrdiff_t> columns;
  for (uint64_t i = 0; i < 100; ++i) {
    const Prompt prompt = *source->At(i, Split::kTrain);
    columns.insert(std::count(prompt.solution.begin(), prompt.solution.end(), ';'));
    EXPECT_EQ(prompt.solution, source->At(i, Split::kTrain)->solution);
  }
  EXPECT_EQ(columns, (std::set<std::ptrdiff_t>{2, 4, 6, 8}));
}

TEST(SolutionTest, ColumnsOfAnAdditionCarry) {
  SourceOptions options;
  options.task = "column-addition-3";
  COHORT_ASSERT_OK_AND_ASSIGN(const auto source, MakeSource(options));
  for (uint64_t i = 0; i < 500; ++i) {
    const Prompt prompt = *source->At(i, Split::kTrain);
    const std::string& question = prompt.messages[0].content;
    const int a = std::stoi(question), b = std::stoi(question.substr(4));
    EXPECT_EQ(prompt.answer, std::to_string(a + b));
    const int carry = (a % 10 + b % 10) / 10;
    const std::string first = std::to_string(a % 10) + "+" + std::to_string(b % 10) + "=" +
                              std::to_string(a % 10 + b % 10) + ";";
    EXPECT_THAT(prompt.solution, testing::StartsWith(first));
    const std::string second =
        std::to_string(a / 10 % 10) + "+" + std::to_string(b / 10 % 10) + (carry > 0 ? "+1=" : "=");
    EXPECT_THAT(prompt.solution.substr(first.size()), testing::StartsWith(second));
  }
}

}  // namespace
}  // namespace cohort

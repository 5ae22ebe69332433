#include "services/learner/prompt_selection.h"

#include <fstream>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/text/tiny_tokenizer.h"

namespace cohort {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class PromptSelectionTest : public testing::Test {
 protected:
  PromptSelectionTest() {
    EXPECT_TRUE(WriteTinyTokenizer(Path("")).ok());
    tokenizer_ = *Tokenizer::Load(Path(""));
  }

  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }

  PromptMixture::Part File(const std::string& name, int rows) const {
    std::ofstream file(Path(name));
    for (int i = 0; i < rows; ++i) {
      file << "{\"prompt\":\"" << name << i << "\",\"answer\":\"" << i << "\"}\n";
    }
    file.close();
    SourceOptions options;
    options.path = Path(name);
    return {*MakeSource(options)};
  }

  PromptMixture::Part Task() const {
    SourceOptions options;
    options.task = "addition-1";
    return {*MakeSource(options)};
  }

  std::string KeyOf(const Prompt& prompt) const {
    return PromptKey(*EncodePrompt(prompt, {}, *tokenizer_));
  }

  // One line of the earlier run's history.
  void Visited(uint64_t ordinal, const Prompt& prompt, double accuracy) const {
    std::ofstream(Path("groups.jsonl"), std::ios::app)
        << "{\"ordinal\":" << ordinal << ",\"prompt\":\"" << KeyOf(prompt)
        << "\",\"accuracy\":" << accuracy << "}\n";
  }
  // accuracy[epoch][row] of a file.
  void Trained(const PromptMixture::Part& part, const std::vector<std::vector<double>>& accuracy) {
    for (size_t epoch = 0; epoch < accuracy.size(); ++epoch) {
      for (size_t i = 0; i < accuracy[epoch].size(); ++i) {
        Visited(epoch * accuracy[epoch].size() + i, *part.source->At(i, part.split),
                accuracy[epoch][i]);
      }
    }
  }

  absl::Status Select(const std::string& select, std::vector<PromptMixture::Part>* parts) const {
    return SelectPrompts(*ParseConfig(absl::StrCat("algorithm: {data: {select: {", select,
                                                   ", run: ", folder_.path(), "}}}}"),
                                      "a.yaml"),
                         {}, *tokenizer_, parts);
  }

  static std::vector<std::string> Answers(const PromptMixture::Part& part) {
    std::vector<std::string> answers;
    for (uint64_t i = 0; i < part.source->Size(part.split); ++i) {
      answers.push_back(part.source->At(i, part.split)->answer);
    }
    return answers;
  }

  TemporaryFolder folder_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(PromptSelectionTest, VarianceKeepsThePromptsWhoseAccuracyChangedMost) {
  std::vector<PromptMixture::Part> parts;
  parts.push_back(File("a", 4));
  Trained(parts[0], {{0, 0.5, 0, 1}, {0.1, 0.5, 1, 1}, {0, 0.5, 0.5, 0}});
  COHORT_ASSERT_OK(Select("variance_topk: {k: 2", &parts));
  ASSERT_EQ(parts.size(), 1u);
  EXPECT_THAT(Answers(parts[0]), ElementsAre("3", "2"));  // deviations 0.47 and 0.41
}

TEST_F(PromptSelectionTest, LimKeepsThePromptsThatFollowTheMeanCurve) {
  std::vector<PromptMixture::Part> parts;
  parts.push_back(File("a", 3));
  Trained(parts[0], {{0.2, 0.25, 1}, {0.6, 0.55, 0.1}, {0.8, 0.85, 0}});
  COHORT_ASSERT_OK(Select("lim: {theta: 0.6", &parts));
  ASSERT_EQ(parts.size(), 1u);
  EXPECT_THAT(Answers(parts[0]), testing::UnorderedElementsAre("0", "1"));
}

TEST_F(PromptSelectionTest, SeveralSourcesAreRankedTogether) {
  std::vector<PromptMixture::Part> parts;
  parts.push_back(File("a", 2));
  parts.push_back(File("b", 3));
  Trained(parts[0], {{0.5, 0.5}, {0.5, 0.6}});
  Trained(parts[1], {{0, 0.5, 0}, {1, 0.5, 0.8}});
  COHORT_ASSERT_OK(Select("variance_topk: {k: 2", &parts));
  ASSERT_EQ(parts.size(), 1u);  // nothing of a
  EXPECT_THAT(Answers(parts[0]), ElementsAre("0", "2"));
  EXPECT_EQ(parts[0].weight, 2);
}

TEST_F(PromptSelectionTest, ATaskWithoutAnEndIsRankedByItsDistinctPrompts) {
  std::vector<PromptMixture::Part> parts;
  parts.push_back(Task());
  const Prompt first = *parts[0].source->At(0, Split::kTrain);
  Prompt other = first;
  for (uint64_t i = 1; KeyOf(other) == KeyOf(first); ++i) {
    other = *parts[0].source->At(i, Split::kTrain);
  }
  for (uint64_t visit = 0; visit < 4; ++visit) {
    Visited(40 * visit, first, 0.5);
    Visited(40 * visit + 1, other, visit % 2 == 0 ? 0 : 1);
  }
  COHORT_ASSERT_OK(Select("variance_topk: {k: 1", &parts));
  ASSERT_EQ(parts[0].source->Size(Split::kTrain), 1u);
  EXPECT_EQ(KeyOf(*parts[0].source->At(0, Split::kTrain)), KeyOf(other));
  EXPECT_THAT(parts[0].source->At(1, Split::kTrain),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("1 chosen")));
}

TEST_F(PromptSelectionTest, AHistoryOfOtherPromptsOrNoneIsAnErrorThatSaysWhatIsNeeded) {
  std::vector<PromptMixture::Part> parts;
  parts.push_back(File("a", 2));
  EXPECT_THAT(Select("variance_topk: {k: 1", &parts),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("`run` needs the folder of a run")));
  Trained(File("b", 2), {{0, 1}, {1, 0}});
  EXPECT_THAT(Select("variance_topk: {k: 1", &parts),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("none of 2 prompts")));
}

TEST_F(PromptSelectionTest, WithoutASelectionNothingChanges) {
  std::vector<PromptMixture::Part> parts;
  parts.push_back(File("a", 2));
  COHORT_ASSERT_OK(SelectPrompts(v1::RunConfig(), {}, *tokenizer_, &parts));
  EXPECT_EQ(Answers(parts[0]).size(), 2u);
}

}  // namespace
}  // namespace cohort

#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/tasks/prompt_source.h"
#include "common/text/tiny_tokenizer.h"

namespace cohort {
namespace {

using nlohmann::json;
using testing::HasSubstr;

SourceOptions Task(const std::string& name, uint64_t seed = 1) {
  SourceOptions options;
  options.task = name;
  options.seed = seed;
  return options;
}

// The numbers of a prompt's text, without their order.
std::multiset<int> Numbers(const Prompt& prompt) {
  std::multiset<int> numbers;
  const std::string& text = prompt.messages[0].content;
  for (size_t i = 0; i < text.size(); ++i) {
    if (!isdigit(text[i])) continue;
    size_t used = 0;
    numbers.insert(std::stoi(text.substr(i), &used));
    i += used;
  }
  return numbers;
}

TEST(ProceduralTest, OneDigitAdditionIsTheTaskOfTheToolchainPage) {
  COHORT_ASSERT_OK_AND_ASSIGN(const auto source, MakeSource(Task("addition-1")));
  EXPECT_EQ(source->Size(Split::kHeldout), 20u);
  EXPECT_EQ(source->Size(Split::kTrain), kEndless);
  EXPECT_EQ(source->reward(), "rule_last_integer");
  std::set<std::multiset<int>> train;
  std::set<std::multiset<int>> heldout;
  for (uint64_t i = 0; i < 2000; ++i) train.insert(Numbers(*source->At(i, Split::kTrain)));
  for (uint64_t i = 0; i < 20; ++i) heldout.insert(Numbers(*source->At(i, Split::kHeldout)));
  EXPECT_EQ(train.size(), 35u);
  EXPECT_EQ(heldout.size(), 20u);
  for (const auto& pair : heldout) EXPECT_FALSE(train.contains(pair));
  COHORT_ASSERT_OK_AND_ASSIGN(const Prompt prompt, source->At(3, Split::kTrain));
  const auto numbers = Numbers(prompt);
  EXPECT_THAT(prompt.messages[0].content,
              testing::MatchesRegex("What is [0-9] \\+ [0-9]\\? Reply with only the number\\."));
  EXPECT_EQ(prompt.answer, absl::StrCat(*numbers.begin() + *numbers.rbegin()));
  EXPECT_EQ(json::parse(prompt.columns_json)["answer"], prompt.answer);
  EXPECT_EQ(source->At(20, Split::kHeldout).status().code(), absl::StatusCode::kOutOfRange);
}

TEST(ProceduralTest, TrainAndHeldoutNeverShareOperands) {
  for (const std::string& name : TaskNames()) {
    COHORT_ASSERT_OK_AND_ASSIGN(const auto source, MakeSource(Task(name)));
    // Words and targets, sorted: the same operands in another order give the same key.
    const auto key = [&](const Prompt& prompt) {
      std::string text = prompt.messages[0].content;
      if (name == "countdown") text = text.substr(0, text.find(" exactly"));
      std::vector<std::string> words = absl::StrSplit(text, absl::ByAnyChar(" ?.,"));
      std::sort(words.begin(), words.end());
      return words;
    };
    std::set<std::vector<std::string>> heldout;
    for (uint64_t i = 0; i < source->Size(Split::kHeldout); ++i) {
      heldout.insert(key(*source->At(i, Split::kHeldout)));
    }
    EXPECT_GE(heldout.size(), 20u) << name;
    for (uint64_t i = 0; i < 1000; ++i) {
      EXPECT_FALSE(heldout.contains(key(*source->At(i, Split::kTrain)))) << name << " " << i;
    }
  }
}

TEST(ProceduralTest, APromptDependsOnSeedAndIndexOnly) {
  for (const std::string& name : TaskNames()) {
    COHORT_ASSERT_OK_AND_ASSIGN(const auto a, MakeSource(Task(name, 7)));
    COHORT_ASSERT_OK_AND_ASSIGN(const auto b, MakeSource(Task(name, 7)));
    COHORT_ASSERT_OK_AND_ASSIGN(const auto other, MakeSource(Task(name, 8)));
    int differ = 0;
    for (uint64_t i : {5u, 1u, 900u, 17u, 3u, 4u}) {
      EXPECT_EQ(a->At(i, Split::kTrain)->messages, b->At(i, Split::kTrain)->messages);
      EXPECT_EQ(a->At(i % 5, Split::kHeldout)->messages,
                other->At(i % 5, Split::kHeldout)->messages);
      differ += a->At(i, Split::kTrain)->messages != other->At(i, Split::kTrain)->messages;
    }
    EXPECT_GT(differ, 0) << name;
  }
}

TEST(ProceduralTest, AWrongAnswerIsWrongAndAlwaysTheSame) {
  for (const std::string& name : TaskNames()) {
    COHORT_ASSERT_OK_AND_ASSIGN(const auto source, MakeSource(Task(name)));
    for (uint64_t i = 0; i < 50; ++i) {
      const json columns = json::parse(source->At(i, Split::kTrain)->columns_json);
      EXPECT_NE(columns["answer"], columns["incorrect_answer"]) << name;
      EXPECT_EQ(columns, json::parse(source->At(i, Split::kTrain)->columns_json));
    }
  }
}

TEST(MixtureTest, APartCanDrawFromTheHeldoutPrompts) {
  std::vector<PromptMixture::Part> parts(1);
  parts[0].source = *MakeSource(Task("addition-1"));
  parts[0].split = Split::kHeldout;
  COHORT_ASSERT_OK_AND_ASSIGN(const auto mixture, PromptMixture::Create(std::move(parts), 5));
  COHORT_ASSERT_OK_AND_ASSIGN(const auto source, MakeSource(Task("addition-1")));
  std::set<std::multiset<int>> heldout, drawn;
  for (uint64_t i = 0; i < 20; ++i) {
    heldout.insert(Numbers(*source->At(i, Split::kHeldout)));
    drawn.insert(Numbers(*mixture->At(i)));
  }
  EXPECT_EQ(drawn, heldout);
}

TEST(ProceduralTest, AnUnknownTaskNamesTheValidOnes) {
  EXPECT_THAT(MakeSource(Task("addition-9")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("unknown task \"addition-9\": the tasks are addition-1, ")));
  EXPECT_THAT(MakeSource({}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("exactly one")));
}

class JsonlTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<PromptSource>> Load(const std::string& content,
                                                     uint64_t heldout_rows = 0) {
    COHORT_RETURN_IF_ERROR(WriteFileAtomic(folder_.path() + "/set.jsonl", content));
    SourceOptions options;
    options.path = folder_.path() + "/set.jsonl";
    options.heldout_rows = heldout_rows;
    return MakeSource(options);
  }
  TemporaryFolder folder_;
};

TEST_F(JsonlTest, HeldOutRowsAreNotTrainedAndEqualPromptsStayTogether) {
  std::string lines;
  for (int i = 0; i < 100; ++i) {
    absl::StrAppend(&lines, "{\"prompt\": \"question ", i % 50, "\", \"answer\": ", i, "}\n");
  }
  COHORT_ASSERT_OK_AND_ASSIGN(const auto source, Load(lines, /*heldout_rows=*/64));
  std::set<std::string> prompts[2];
  for (const Split split : {Split::kTrain, Split::kHeldout}) {
    for (uint64_t i = 0; i < source->Size(split); ++i) {
      prompts[split == Split::kHeldout].insert(source->At(i, split)->messages[0].content);
    }
  }
  EXPECT_EQ(source->Size(Split::kTrain) + source->Size(Split::kHeldout), 100u);
  EXPECT_EQ(source->Size(Split::kHeldout), 10u);  // a tenth
  EXPECT_EQ(prompts[0].size() + prompts[1].size(), 50u);

  COHORT_ASSERT_OK_AND_ASSIGN(const auto whole, Load(lines));
  EXPECT_EQ(whole->Size(Split::kTrain), 100u);
  EXPECT_EQ(whole->Size(Split::kHeldout), 100u);
}

TEST_F(JsonlTest, AFileOfOnePromptKeepsItForTraining) {
  std::string lines;
  for (int i = 0; i < 20; ++i) lines += "{\"prompt\": \"pi\", \"answer\": 3}\n";
  COHORT_ASSERT_OK_AND_ASSIGN(const auto source, Load(lines, /*heldout_rows=*/64));
  EXPECT_EQ(source->Size(Split::kTrain), 20u);
  EXPECT_EQ(source->Size(Split::kHeldout), 0u);
}

TEST_F(JsonlTest, ReadsEveryFormAndKeepsOtherColumns) {
  COHORT_ASSERT_OK_AND_ASSIGN(
      const auto source,
      Load("\xEF\xBB\xBF{\"prompt\": \"2+2\", \"answer\": 4, \"level\": \"easy\"}\r\n\n"
           "{\"messages\": [{\"role\":\"system\",\"content\":\"s\"},"
           "{\"role\":\"user\",\"content\":\"u\"}], \"answer\": [\"a\", \"b\"]}\n"
           "{\"question\": \"Q?\", \"answer\": \"Think.\\n#### 1,234\"}\n"
           "{\"problem\": \"P\", \"solution\": \"so \\\\boxed{7}\"}"));
  EXPECT_EQ(source->Size(Split::kTrain), 4u);
  EXPECT_EQ(source->name(), "set");
  const Prompt plain = *source->At(0, Split::kTrain);
  EXPECT_EQ(plain.messages, (std::vector<ChatMessage>{{"user", "2+2"}}));
  EXPECT_EQ(plain.answer, "4");
  EXPECT_EQ(plain.instruction, "");
  EXPECT_EQ(json::parse(plain.columns_json), json({{"answer", 4}, {"level", "easy"}}));
  const Prompt chat = *source->At(1, Split::kTrain);
  EXPECT_EQ(chat.messages.size(), 2u);
  EXPECT_EQ(chat.answer, "a");
  EXPECT_EQ(json::parse(chat.columns_json)["answer"], json({"a", "b"}));
  const Prompt gsm8k = *source->At(2, Split::kTrain);
  EXPECT_EQ(gsm8k.answer, "1234");
  EXPECT_EQ(gsm8k.reward, "rule_gsm8k");
  EXPECT_THAT(gsm8k.instruction, HasSubstr("####"));
  EXPECT_EQ(json::parse(gsm8k.columns_json)["solution"], "Think.");
  const Prompt math = *source->At(3, Split::kTrain);
  EXPECT_EQ(math.answer, "so \\boxed{7}");
  EXPECT_EQ(math.reward, "rule_math");
}

TEST_F(JsonlTest, ErrorsNameTheFileAndTheLine) {
  const std::string good = "{\"prompt\": \"p\"}\n";
  for (const auto& [line, message] : std::map<std::string, std::string>{
           {"{\"prompt\": ", "set.jsonl line 3: not valid JSON"},
           {"{\"text\": 1}", "set.jsonl line 3: expected a column prompt"},
           {"[1]", "set.jsonl line 3: expected a JSON object"},
           {"{\"prompt\": 5}", "set.jsonl line 3, prompt: expected text"},
           {"{\"messages\": [{\"role\": \"user\"}]}", "line 3, messages: every message needs"},
           {std::string(500, '['), "line 3: JSON nests deeper"}}) {
    EXPECT_THAT(Load(good + "\n" + line + "\n"),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  }
  EXPECT_THAT(Load("\n \n"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no rows")));
  SourceOptions absent;
  absent.path = "/nowhere/x.jsonl";
  EXPECT_THAT(MakeSource(absent),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/x.jsonl")));
}

TEST(JsonlDataTest, RealProblemSetsLoad) {
  const char* root = std::getenv("COHORT_SOURCE_DIR");
  const std::string data = absl::StrCat(root == nullptr ? "." : root, "/../shared/data/");
  for (const auto& [file, count] : std::map<std::string, uint64_t>{{"gsm8k/test.jsonl", 1319},
                                                                   {"math500/test.jsonl", 500},
                                                                   {"aime24/test.jsonl", 30},
                                                                   {"amc23/test.jsonl", 40}}) {
    SourceOptions options;
    options.path = data + file;
    const auto source = MakeSource(options);
    if (absl::IsNotFound(source.status())) GTEST_SKIP() << "no problem sets at " << data;
    COHORT_ASSERT_OK(source);
    EXPECT_EQ((*source)->Size(Split::kHeldout), count) << file;
    EXPECT_EQ((*source)->reward(), file[0] == 'g' ? "rule_gsm8k" : "rule_math");
    EXPECT_FALSE((*source)->At(5, Split::kTrain)->answer.empty());
  }
}

TEST(MixtureTest, SharesFollowTheWeightsAndTurnsAreEven) {
  std::vector<PromptMixture::Part> parts(2);
  parts[0] = {*MakeSource(Task("addition-1")), 3};
  parts[1] = {*MakeSource(Task("sorting")), 1};
  COHORT_ASSERT_OK_AND_ASSIGN(const auto mixture, PromptMixture::Create(std::move(parts), 5));
  for (uint64_t begin : {uint64_t{0}, uint64_t{8000}}) {
    int additions = 0;
    for (uint64_t n = begin; n < begin + 8; ++n) {
      additions += mixture->At(n)->source == "addition-1";
    }
    EXPECT_EQ(additions, 6);
  }
  EXPECT_EQ(mixture->At(77)->ordinal, 77u);
  EXPECT_EQ(mixture->At(77)->messages, mixture->At(77)->messages);
}

TEST(MixtureTest, AFileIsGoneThroughOncePerEpochInChangingOrder) {
  TemporaryFolder folder;
  std::string content;
  for (int i = 0; i < 50; ++i) absl::StrAppend(&content, "{\"prompt\": \"", i, "\"}\n");
  COHORT_ASSERT_OK(WriteFileAtomic(folder.path() + "/f.jsonl", content));
  SourceOptions options;
  options.path = folder.path() + "/f.jsonl";
  std::vector<PromptMixture::Part> parts(1);
  parts[0].source = *MakeSource(options);
  COHORT_ASSERT_OK_AND_ASSIGN(const auto mixture, PromptMixture::Create(std::move(parts), 5));
  std::vector<std::vector<std::string>> epochs(2);
  for (uint64_t n = 0; n < 100; ++n) epochs[n / 50].push_back(mixture->At(n)->messages[0].content);
  EXPECT_NE(epochs[0], epochs[1]);
  for (const auto& epoch : epochs) {
    EXPECT_EQ(std::set<std::string>(epoch.begin(), epoch.end()).size(), 50u);
  }
}

TEST(MixtureTest, WeightsMustBePositive) {
  std::vector<PromptMixture::Part> parts(1);
  parts[0] = {*MakeSource(Task("counting")), 0};
  EXPECT_THAT(PromptMixture::Create(std::move(parts), 1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("counting: weight")));
  EXPECT_FALSE(PromptMixture::Create({}, 1).ok());
}

TEST(PermutedIndexTest, IsAPermutationForEverySize) {
  for (uint64_t size : {1u, 2u, 3u, 7u, 64u, 1000u}) {
    std::set<uint64_t> seen;
    for (uint64_t i = 0; i < size; ++i) seen.insert(PermutedIndex(3, 2, size, i));
    EXPECT_EQ(seen.size(), size);
    EXPECT_LT(*seen.rbegin(), size);
  }
}

TEST(EncodePromptTest, AppliesTemplateSystemPromptAndSuffix) {
  TemporaryFolder folder;
  COHORT_ASSERT_OK(WriteTinyTokenizer(folder.path()));
  COHORT_ASSERT_OK_AND_ASSIGN(const auto tokenizer, Tokenizer::Load(folder.path()));
  Prompt prompt;
  prompt.messages = {{"user", "Hi"}};
  prompt.instruction = " Now.";
  const auto text = [&](const PromptFormat& format) {
    return *tokenizer->Decode(*EncodePrompt(prompt, format, *tokenizer), false);
  };
  EXPECT_EQ(text({}), "<|im_start|>user\nHi Now.<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(text({true, "Be brief.", " Go."}),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi Go.<|im_end|>\n"
            "<|im_start|>assistant\n");
  EXPECT_EQ(text({false, "", ""}), "Hi Now.");
}

}  // namespace
}  // namespace cohort

// Token ids, decoded text and rendered chats against `transformers` (README.md beside this file).
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/status_matchers.h"
#include "common/tasks/prompt_source.h"
#include "common/text/json.h"
#include "common/text/tokenizer.h"

namespace cohort {
namespace {

using nlohmann::json;

std::string SourceDir() {
  const char* folder = std::getenv("COHORT_SOURCE_DIR");
  return folder == nullptr ? "." : folder;
}

json Golden(const std::string& name) {
  const auto value = ReadJsonObject(absl::StrCat(SourceDir(), "/tests/golden/data/", name));
  EXPECT_THAT(value, IsOk());
  return value.ok() ? *value : json::object();
}

void CheckTexts(const Tokenizer& tokenizer, const json& texts) {
  for (const json& entry : texts) {
    const auto text = entry["text"].get<std::string>();
    const auto expected = entry["tokens"].get<std::vector<int32_t>>();
    COHORT_ASSERT_OK_AND_ASSIGN(const auto ids, tokenizer.Encode(text, /*add_special=*/false));
    EXPECT_EQ(ids, expected) << text;
    EXPECT_EQ(*tokenizer.Decode(expected, false), entry["decoded"].get<std::string>());
    EXPECT_EQ(*tokenizer.Decode(expected, true), entry["decoded_skip_special"].get<std::string>());
    IncrementalDecoder decoder(&tokenizer);
    std::string streamed;
    for (const int32_t id : expected) streamed += *decoder.Append(id);
    EXPECT_EQ(streamed + *decoder.Finish(), entry["decoded_skip_special"].get<std::string>());
  }
}

void CheckChats(const Tokenizer& tokenizer, const json& chats) {
  for (const json& entry : chats) {
    const bool generate = entry["add_generation_prompt"].get<bool>();
    COHORT_ASSERT_OK_AND_ASSIGN(const std::string text,
                                tokenizer.RenderChatJson(entry["messages"], generate));
    EXPECT_EQ(text, entry["text"].get<std::string>());
    COHORT_ASSERT_OK_AND_ASSIGN(const auto ids, tokenizer.Encode(text, /*add_special=*/false));
    EXPECT_EQ(ids, entry["tokens"].get<std::vector<int32_t>>()) << text;
  }
}

// "COUNT:HEX16", as the golden files write a list of ids.
std::string Digest(const std::vector<int32_t>& ids) {
  std::string bytes;
  for (const int32_t id : ids) {
    for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(id >> shift);
  }
  return absl::StrCat(ids.size(), ":", Sha256Hex(bytes).substr(0, 16));
}

TEST(TextGoldenTest, TheTinyTokenizerAgreesWithTransformers) {
  TemporaryFolder folder;
  const json golden = Golden("tiny_tokens.json");
  std::string command = absl::StrCat("python3 '", SourceDir(), "/tools/make_tiny_model' --out '",
                                     folder.path(), "/model'");
  for (const json& argument : golden["make_tiny_model"]) {
    absl::StrAppend(&command, " '", argument.get<std::string>(), "'");
  }
  if (std::system((command + " > /dev/null 2>&1").c_str()) != 0) {
    GTEST_SKIP() << "tools/make_tiny_model does not run here: " << command;
  }
  COHORT_ASSERT_OK_AND_ASSIGN(const auto tokenizer, Tokenizer::Load(folder.path() + "/model"));
  CheckTexts(*tokenizer, golden["texts"]);
  CheckChats(*tokenizer, golden["chat"]);
}

class SmolLm2GoldenTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string folder = SourceDir() + "/models/smollm2-135m-instruct";
    auto loaded = Tokenizer::Load(folder);
    if (absl::IsNotFound(loaded.status())) {
      GTEST_SKIP() << "no model at " << folder << ": run scripts/setup-model smollm2";
    }
    COHORT_ASSERT_OK(loaded);
    tokenizer_ = *std::move(loaded);
    golden_ = Golden("smollm2_tokens.json");
  }
  std::unique_ptr<Tokenizer> tokenizer_;
  json golden_;
};

TEST_F(SmolLm2GoldenTest, TextsAgree) { CheckTexts(*tokenizer_, golden_["texts"]); }

TEST_F(SmolLm2GoldenTest, ChatsAgree) { CheckChats(*tokenizer_, golden_["chat"]); }

TEST_F(SmolLm2GoldenTest, AThousandGsm8kQuestionsAgree) {
  SourceOptions options;
  options.path = SourceDir() + "/../shared/data/gsm8k/test.jsonl";
  const auto source = MakeSource(options);
  if (absl::IsNotFound(source.status())) GTEST_SKIP() << "no problem set at " << options.path;
  COHORT_ASSERT_OK(source);
  const json& digests = golden_["gsm8k"]["digests"];
  ASSERT_EQ(digests.size(), 1000u);
  for (uint64_t i = 0; i < digests.size(); ++i) {
    COHORT_ASSERT_OK_AND_ASSIGN(const Prompt prompt, (*source)->At(i, Split::kHeldout));
    COHORT_ASSERT_OK_AND_ASSIGN(const auto ids,
                                tokenizer_->Encode(prompt.messages[0].content, false));
    ASSERT_EQ(Digest(ids), digests[i].get<std::string>()) << "question " << i;
  }
}

}  // namespace
}  // namespace cohort

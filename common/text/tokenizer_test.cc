#include "common/text/tokenizer.h"

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <thread>

#include "common/base/file.h"
#include "common/base/rng.h"
#include "common/base/status_matchers.h"
#include "common/text/tiny_tokenizer.h"

namespace cohort {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class TokenizerTest : public testing::Test {
 protected:
  void SetUp() override {
    COHORT_ASSERT_OK(WriteTinyTokenizer(folder_.path()));
    COHORT_ASSERT_OK_AND_ASSIGN(tokenizer_, Tokenizer::Load(folder_.path()));
  }
  void Write(const std::string& name, const std::string& content) {
    COHORT_ASSERT_OK(WriteFileAtomic(folder_.path() + "/" + name, content));
  }
  // The rendering of a template over `messages`, or the error.
  absl::StatusOr<std::string> Render(const std::string& jinja, bool generate = true) {
    Write("chat_template.jinja", jinja);
    COHORT_ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Load(folder_.path()));
    const ChatMessage messages[] = {{"user", " <b>Hi</b> "}, {"assistant", "No\n"}};
    return tokenizer->RenderChat(messages, generate, absl::FromUnixSeconds(1709210096));
  }

  TemporaryFolder folder_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(TokenizerTest, DecodeUndoesEncodeForAnyText) {
  for (const std::string& text :
       {std::string("the cat 12 naïve 日本語 🎉\n"), std::string(), std::string("a\0b", 3)}) {
    COHORT_ASSERT_OK_AND_ASSIGN(const auto ids, tokenizer_->Encode(text, true));
    COHORT_ASSERT_OK_AND_ASSIGN(const std::string back, tokenizer_->Decode(ids, true));
    EXPECT_EQ(back, text);
  }
}

TEST_F(TokenizerTest, MergesAndSpecialTokensAreApplied) {
  COHORT_ASSERT_OK_AND_ASSIGN(const auto ids, tokenizer_->Encode("<|im_end|>the", false));
  EXPECT_THAT(ids, ElementsAre(kTinyMessageEnd, tokenizer_->TokenToId("the")));
  COHORT_ASSERT_OK_AND_ASSIGN(const std::string all, tokenizer_->Decode(ids, false));
  EXPECT_EQ(all, "<|im_end|>the");
  COHORT_ASSERT_OK_AND_ASSIGN(const std::string plain, tokenizer_->Decode(ids, true));
  EXPECT_EQ(plain, "the");
}

TEST_F(TokenizerTest, StopIdsComeFromEveryFileThatNamesOne) {
  EXPECT_THAT(tokenizer_->eos_ids(), ElementsAre(kTinyEndOfText, kTinyMessageEnd));
  EXPECT_EQ(tokenizer_->pad_id(), kTinyEndOfText);
  Write("config.json", R"({"eos_token_id": 17})");
  Write("generation_config.json", R"({"eos_token_id": null})");
  COHORT_ASSERT_OK_AND_ASSIGN(const auto other, Tokenizer::Load(folder_.path()));
  EXPECT_THAT(other->eos_ids(), ElementsAre(kTinyMessageEnd, 17));
  EXPECT_TRUE(other->IsEos(17));
  EXPECT_FALSE(other->IsEos(16));
}

TEST_F(TokenizerTest, AChatIsRenderedAndEncodedWithItsSpecialTokens) {
  const ChatMessage messages[] = {{"user", "Hi"}};
  COHORT_ASSERT_OK_AND_ASSIGN(const std::string text, tokenizer_->RenderChat(messages, true));
  EXPECT_EQ(text, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  COHORT_ASSERT_OK_AND_ASSIGN(const auto ids, tokenizer_->EncodeChat(messages, false));
  EXPECT_EQ(ids.front(), kTinyMessageStart);
}

TEST_F(TokenizerTest, TemplatesBehaveAsInTransformers) {
  EXPECT_THAT(*Render("{% for m in messages %}\n  {% if loop.first %}\n{{ m.content.strip() }}\n"
                      "  {% endif %}\n{% endfor %}\n"),
              "<b>Hi</b>\n");  // trim_blocks, lstrip_blocks, Python methods, no trailing newline
  EXPECT_EQ(*Render("{{ messages[0] | tojson }}"),
            "{\"content\": \" <b>Hi</b> \", \"role\": \"user\"}");
  EXPECT_EQ(*Render("{{ [1, 2.0, none] | tojson(indent=1) }}"), "[\n 1,\n 2.0,\n null\n]");
  EXPECT_EQ(*Render("{{ eos_token }}{{ bos_token is defined }}{{ tools }}"), "<|im_end|>FalseNone");
  EXPECT_EQ(*Render("{{ strftime_now('%d %b %Y %A') }}"), "29 Feb 2024 Thursday");
  EXPECT_EQ(*Render("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}"
                    "{% endfor %}{{ ns.n }}{{ 'x' if messages[0]['role'] == 'user' }}"),
            "2x");
  EXPECT_EQ(*Render("{% for m in messages %}{%- generation -%} {{ m.role }}{% endgeneration %}"
                    "{% break %}{% endfor %}"),
            "user");
}

TEST_F(TokenizerTest, ATemplateMayRefuseTheMessages) {
  EXPECT_THAT(Render("{{ raise_exception('roles must alternate') }}"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("roles must alternate")));
}

TEST_F(TokenizerTest, HostileTemplatesAreErrors) {
  for (const std::string& jinja :
       {std::string("{% for"), std::string("{{ messages | nofilter }}"),
        std::string("{% for i in range(9999) %}{% for j in range(9999) %}{% for k in range(9999) "
                    "%}{% endfor %}{% endfor %}{% endfor %}"),
        "{{ " + std::string(50000, '(') + " }}", std::string(2 << 20, 'x'),
        std::string("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"),
        std::string("\xff{{ 1 }}")}) {
    EXPECT_THAT(Render(jinja), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("template")))
        << jinja.substr(0, 40);
  }
}

TEST_F(TokenizerTest, HostileTokenizerFilesAreErrorsThatNameTheFile) {
  for (const std::string& content :
       {std::string(), std::string("{}"), std::string("[1]"), std::string(1'000'000, '['),
        std::string("{\"model\": {\"type\": \"BPE\", \"vocab\": 7, \"merges\": []}}"),
        std::string("\xff\xfe")}) {
    Write("tokenizer.json", content);
    EXPECT_THAT(Tokenizer::Load(folder_.path()),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tokenizer.json")));
  }
  EXPECT_THAT(Tokenizer::Load(folder_.path() + "/nowhere"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nowhere/tokenizer.json")));
}

TEST_F(TokenizerTest, WrongStopIdsNameTheirFile) {
  Write("generation_config.json", R"({"eos_token_id": "</s>"})");
  EXPECT_THAT(Tokenizer::Load(folder_.path()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("generation_config.json")));
}

TEST_F(TokenizerTest, AFolderWithoutTemplateSaysWhatToDo) {
  Write("tokenizer_config.json", "{}");
  COHORT_ASSERT_OK_AND_ASSIGN(const auto plain, Tokenizer::Load(folder_.path()));
  EXPECT_THAT(plain->RenderChat({}, true),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("--raw")));
}

TEST_F(TokenizerTest, InvalidInputIsAnError) {
  EXPECT_THAT(tokenizer_->Encode("ab\xff", false),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("byte 2")));
  const int32_t negative[] = {-1};
  EXPECT_FALSE(tokenizer_->Decode(negative, true).ok());
  const int32_t unknown[] = {1'000'000};
  EXPECT_EQ(*tokenizer_->Decode(unknown, true), "");
  const ChatMessage messages[] = {{"user", "\xff"}};
  EXPECT_FALSE(tokenizer_->RenderChat(messages, true).ok());
}

TEST_F(TokenizerTest, ThreadsMayShareIt) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      const ChatMessage messages[] = {{"user", "12 the"}};
      for (int i = 0; i < 50; ++i) COHORT_EXPECT_OK(tokenizer_->EncodeChat(messages, true));
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(TokenizerTest, IncrementalTextNeverSplitsACharacter) {
  COHORT_ASSERT_OK_AND_ASSIGN(const auto ids, tokenizer_->Encode("é日🎉!", false));
  IncrementalDecoder decoder(tokenizer_.get());
  std::vector<std::string> pieces;
  for (int32_t id : ids) {
    COHORT_ASSERT_OK_AND_ASSIGN(std::string piece, decoder.Append(id));
    if (!piece.empty()) pieces.push_back(piece);
  }
  EXPECT_THAT(pieces, ElementsAre("é", "日", "🎉", "!"));
  EXPECT_EQ(*decoder.Finish(), "");
}

TEST_F(TokenizerTest, AnUnfinishedCharacterAppearsAtTheEnd) {
  COHORT_ASSERT_OK_AND_ASSIGN(auto ids, tokenizer_->Encode("a🎉", false));
  ids.pop_back();
  IncrementalDecoder decoder(tokenizer_.get());
  std::string text;
  for (int32_t id : ids) text += *decoder.Append(id);
  EXPECT_EQ(text, "a");
  EXPECT_EQ(*decoder.Finish(), "\xEF\xBF\xBD");
}

TEST_F(TokenizerTest, RandomBytesComeOutAsFromOneDecode) {
  for (uint64_t trial = 0; trial < 200; ++trial) {
    CounterRng rng(7, trial);
    std::vector<int32_t> ids;
    for (int i = 0; i < 100; ++i) {
      ids.push_back(
          static_cast<int32_t>(rng.Below(static_cast<uint64_t>(tokenizer_->vocab_size()))));
    }
    IncrementalDecoder decoder(tokenizer_.get());
    std::string text;
    for (int32_t id : ids) text += *decoder.Append(id);
    text += *decoder.Finish();
    EXPECT_EQ(text, *tokenizer_->Decode(ids, true)) << "trial " << trial;
  }
}

TEST(TokenizerModelTest, TheRealModelStreamsWhatItDecodes) {
  const char* source = std::getenv("COHORT_SOURCE_DIR");
  const std::string folder =
      std::string(source == nullptr ? "." : source) + "/models/smollm2-135m-instruct";
  const auto tokenizer = Tokenizer::Load(folder);
  if (absl::IsNotFound(tokenizer.status())) GTEST_SKIP() << "no model folder: " << folder;
  COHORT_ASSERT_OK(tokenizer);
  EXPECT_EQ((*tokenizer)->vocab_size(), 49152);
  EXPECT_TRUE((*tokenizer)->IsEos((*tokenizer)->TokenToId("<|im_end|>")));
  const std::string text = " Straße, 日本語 and 🎉🎉 = 12 + 30.";
  COHORT_ASSERT_OK_AND_ASSIGN(const auto ids, (*tokenizer)->Encode(text, false));
  IncrementalDecoder decoder(tokenizer->get());
  std::string streamed;
  for (int32_t id : ids) streamed += *decoder.Append(id);
  EXPECT_EQ(streamed, text);
}

}  // namespace
}  // namespace cohort

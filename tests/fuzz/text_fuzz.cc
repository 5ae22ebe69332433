#include "tests/fuzz/text_fuzz.h"

#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/rewards/answer.h"
#include "common/rewards/answer_text.h"
#include "common/rewards/choice.h"
#include "common/rewards/code_blocks.h"
#include "common/rewards/countdown.h"
#include "common/rewards/extract.h"
#include "common/rewards/group_reward.h"
#include "common/rewards/literal.h"
#include "common/rewards/normalize.h"
#include "common/rewards/plain_text.h"
#include "common/rewards/quantity.h"
#include "common/rewards/reply.h"
#include "common/rewards/verifier.h"
#include "common/tasks/prompt_source.h"
#include "common/text/tiny_tokenizer.h"
#include "common/text/tokenizer.h"

namespace cohort {
namespace {

absl::string_view Text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Without a sync: thousands of files a run.
void Write(const std::string& path, absl::string_view content) {
  std::ofstream(path, std::ios::binary) << content;
}

// A model folder in which one file is the fuzzer's. The other files are written once.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadWith(const std::string& file,
                                                    absl::string_view content) {
  static const TemporaryFolder folder;
  static const bool written = WriteTinyTokenizer(folder.path()).ok();
  COHORT_CHECK(written);
  const std::string path = folder.path() + "/" + file;
  const absl::StatusOr<std::string> before = ReadFile(path);
  Write(path, content);
  auto tokenizer = Tokenizer::Load(folder.path());
  Write(path, before.ok() ? *before : "");
  return tokenizer;
}

}  // namespace

int FuzzExtraction(const uint8_t* data, size_t size) {
  const absl::string_view text = Text(data, size);
  for (const size_t window : {kCompatWindow, kNoWindow}) {
    ExtractGsm8kStrict(text, window);
    ExtractDapoAnswer(text, window);
  }
  ExtractBoxed(text);
  ExtractBoxedCompat(text);
  ExtractGsm8kAnswer(text);
  ExtractAnswerLine(text);
  ExtractLastInteger(text);
  if (const auto literal = LastLiteral(text)) COHORT_CHECK(!literal->text.empty());
  ExtractReply(text);
  RepliedNumber(text);
  const std::vector<Choice> choices = {{"A", "7"}, {"B", "-1,234.50"}, {"C", "na\u00efve"}};
  if (const auto choice = FindChoice(text, choices)) COHORT_CHECK(*choice < choices.size());
  ExtractTagged(text);
  LastLine(text);
  ExtractCode(text);
  FormatBoxedReward(AfterThinking(text));
  COHORT_CHECK(LastCharacters(text, kNoWindow).size() == size);
  return 0;
}

int FuzzAnswer(const uint8_t* data, size_t size) {
  const absl::string_view text = Text(data, size);
  NormalizeHendrycks(text);
  NormalizeMinerva(text);
  COHORT_CHECK(AnswersEqual(text, std::string(text)));
  CanonicalNumber(text);
  ChoiceOf(text, LetterChoices());
  COHORT_CHECK(PlainText(PlainText(text)) == PlainText(text));
  COHORT_CHECK(StripDecoration(StripDecoration(text)) == StripDecoration(text));
  StatedNumber(GoldAnswer(text));
  EvaluateCountdown(CountdownExpression(text));
  CountdownClaims(text);
  LastQuantity(text);
  if (const auto quantity = ParseQuantity(text)) COHORT_CHECK(SameQuantity(*quantity, *quantity));
  return 0;
}

int FuzzVerifiers(const uint8_t* data, size_t size) {
  const absl::string_view text = Text(data, size);
  const size_t zero = text.find('\0');
  const auto prompt = MakeRewardPrompt(text.substr(0, zero), "", 1);
  if (!prompt.ok()) return 0;
  RewardInput input;
  input.prompt = *prompt;
  if (zero != absl::string_view::npos) input.completion = std::string(text.substr(zero + 1));
  for (const std::string& name : VerifierNames()) {
    if (name == "code_tests") continue;  // runs an interpreter; its parsing is FuzzExtraction's
    VerifierOptions options;
    options.text = "x";
    options.compat_string = size % 2 == 0;
    if (size % 3 == 0) options.pattern = "(\\d+)[^0-9]*$";
    (*MakeVerifier(name, options))->Verify(input);
  }
  return 0;
}

int FuzzGroups(const uint8_t* data, size_t size) {
  constexpr size_t kMaxRows = 8;
  const std::vector<std::string> texts =
      absl::StrSplit(Text(data, size), absl::MaxSplits('\0', kMaxRows - 1));
  std::vector<Row> rows(texts.size());
  for (const char* reward : {"rule_math", "rule_gsm8k", "rule_dapo", "rule_last_integer",
                             "rule_sorting", "rule_countdown", "rule_number", "rule_units",
                             "rule_choice", "rule_exact", "rule_regex", "code_tests"}) {
    std::vector<GroupAnswer> answers(texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      answers[i].row = &rows[i];
      answers[i].completion = texts[i];
      answers[i].answer = ReadAnswer(reward, texts[i]);
      COHORT_CHECK(answers[i].answer != "") << "no vote is not an empty one";
      if (!answers[i].answer) continue;
      (void)ReadAnswer(reward, WriteAnswer(reward, *answers[i].answer));
      const size_t ends[] = {texts[i].size() / 2, texts[i].size()};
      const auto mask = TokensSpelling(texts[i], ends, *answers[i].answer);
      COHORT_CHECK(mask.empty() || mask.size() == 2);
    }
    AddCanonicalForms(&answers);
    const SemanticClusters clusters = ClusterByValue(answers);
    const auto prompt = *MakeRewardPrompt(R"({"answer": "7", "numbers": [3, 4]})", reward, 1);
    for (const GroupSource source :
         {GroupSource::kSemanticFrequency, GroupSource::kMajorityOnline}) {
      GroupSourceOptions options;
      options.source = source;
      options.merge_equivalent = size % 2 == 0;
      std::map<std::string, double> signals;
      const auto verdicts = ScoreGroupSource(options, *prompt, answers, clusters, &signals);
      COHORT_CHECK(verdicts.rows.size() == texts.size());
      for (const RewardVerdict& verdict : verdicts.rows) {
        COHORT_CHECK(verdict.value >= 0 && verdict.value <= 1);
      }
    }
  }
  return 0;
}

int FuzzJsonlPrompts(const uint8_t* data, size_t size) {
  TemporaryFolder folder;
  SourceOptions options;
  options.path = folder.path() + "/prompts.jsonl";
  Write(options.path, Text(data, size));
  const auto source = MakeSource(options);
  if (!source.ok()) return 0;
  for (uint64_t i = 0; i < (*source)->Size(Split::kTrain); ++i) {
    COHORT_CHECK((*source)->At(i, Split::kTrain).ok());
  }
  return 0;
}

int FuzzChatTemplate(const uint8_t* data, size_t size) {
  const auto tokenizer = LoadWith("chat_template.jinja", Text(data, size));
  if (!tokenizer.ok() || !(*tokenizer)->has_chat_template()) return 0;
  const ChatMessage messages[] = {{"system", "s"}, {"user", "u"}};
  (void)(*tokenizer)->RenderChat(messages, true).ok();
  return 0;
}

int FuzzTokenizerJson(const uint8_t* data, size_t size) {
  const auto tokenizer = LoadWith("tokenizer.json", Text(data, size));
  if (!tokenizer.ok()) return 0;
  const auto ids = (*tokenizer)->Encode("the cat 12 \u00e9", true);
  if (!ids.ok()) return 0;
  IncrementalDecoder decoder(tokenizer->get());
  for (const int32_t id : *ids) (void)decoder.Append(id).ok();
  (void)decoder.Finish().ok();
  return 0;
}

}  // namespace cohort

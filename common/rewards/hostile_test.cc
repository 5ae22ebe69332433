// No answer, however long or odd, crashes an extractor, a verifier or a group's reward or keeps it
// for 50 ms.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/rewards/answer.h"
#include "common/rewards/answer_text.h"
#include "common/rewards/choice.h"
#include "common/rewards/code_blocks.h"
#include "common/rewards/countdown.h"
#include "common/rewards/extract.h"
#include "common/rewards/group_reward.h"
#include "common/rewards/hostile_answers.h"
#include "common/rewards/literal.h"
#include "common/rewards/normalize.h"
#include "common/rewards/quantity.h"
#include "common/rewards/reply.h"
#include "common/rewards/verifier.h"

namespace cohort {
namespace {

// Bodies of answers; each is tried bare and in the places where answers stand.
std::vector<NamedText> Bodies() {
  std::vector<NamedText> bodies = {
      {"nothing", ""},
      {"1 MB of digits", std::string(kHostileBytes, '7')},
      {"1 MB of decimals", "0." + std::string(kHostileBytes, '3')},
      {"1 MB of zeros", "1." + std::string(kHostileBytes, '0')},
      {"invalid UTF-8", std::string(kHostileBytes, '\xff')},
      {"cut UTF-8", Repeat("\xe2\x82", kHostileBytes)},
      {"zero bytes", std::string(kHostileBytes, '\0')},
      {"\\input", "\\input{/etc/passwd}\\include{x}\\write18{rm -rf /}"},
      {"many \\input", Repeat("\\input{/dev/zero}", kHostileBytes)},
      {"a million spaces", std::string(kHostileBytes, ' ')},
      {"a million lines", std::string(kHostileBytes, '\n')},
      {"minus signs", std::string(kHostileBytes, '-') + "1"},
      {"commas", std::string(kHostileBytes, ',')},
      {"integers", Repeat("1 ", kHostileBytes)},
      {"thousands", "1" + Repeat(",234", kHostileBytes)},
      {"fractions", Repeat("1/2", kHostileBytes)},
      {"answers", Repeat("answer ", kHostileBytes)},
      {"Answer lines", Repeat("Answer: 1\n", kHostileBytes)},
      {"answer is", Repeat("answer is is is is ", kHostileBytes)},
      {"boxes", Repeat("\\boxed{", kHostileBytes)},
      {"full boxes", Repeat("\\boxed{1}", kHostileBytes)},
      {"marks", Repeat("#### ", kHostileBytes)},
      {"tags", Repeat("<answer>", kHostileBytes)},
      {"fences", Repeat("```", kHostileBytes)},
      {"think", Repeat("</think>", kHostileBytes)},
  };
  for (const char* piece : {"(",
                            "{",
                            "[",
                            "\\{",
                            ")",
                            "}",
                            "\\frac{",
                            "\\sqrt{",
                            "\\left(",
                            "^{",
                            "\\text{",
                            "\\begin{pmatrix}",
                            "\\pm",
                            "\\cup",
                            "\\frac1",
                            "\\sqrt2+",
                            "(1+\\pi)",
                            "\\sqrt{999999937}+",
                            "\\sqrt{999999937},",
                            "1^{99}+",
                            "9^{9",
                            "%",
                            "$",
                            "\\$",
                            "k",
                            "m/s^2 ",
                            "\\circ",
                            "=",
                            "x=",
                            "\\in "}) {
    // The limits of the parsers, from both sides, and far beyond.
    for (const size_t size : {size_t{1990}, size_t{3990}, size_t{60'000}, kHostileBytes}) {
      bodies.push_back({std::string(piece) + " x " + std::to_string(size), Repeat(piece, size)});
    }
  }
  // Every level of brackets parses the same costly sum anew.
  const std::string sum = Repeat("\\sqrt{999999937}+", 1500) + "1";
  bodies.push_back({"costly nest", "((((((((" + sum + ",1),1),1),1),1),1),1),1)"});
  bodies.push_back(
      {"costly powers", "((((((((" + Repeat("(1+\\sqrt2)^{9}+", 1500) + ",1),1),1),1)"});
  bodies.push_back({"power tower", "9^{9^{9^{9}}}"});
  bodies.push_back({"surds", "(1+\\sqrt2+\\sqrt3+\\sqrt5+\\sqrt7+\\sqrt{11})^{64}"});
  return bodies;
}

std::vector<NamedText> Completions() {
  std::vector<NamedText> completions;
  for (NamedText& body : Bodies()) {
    completions.push_back({"boxed " + body.name, "\\boxed{" + body.text + "}"});
    if (body.name.find(absl::StrCat(" x ", kHostileBytes)) != std::string::npos) {
      completions.push_back(std::move(body));
      continue;
    }
    completions.push_back({"answer line " + body.name, "Answer: " + body.text});
    completions.push_back({"gsm8k " + body.name, "#### " + body.text});
    completions.push_back({"tagged " + body.name, "<answer>" + body.text + "</answer>"});
    completions.push_back(std::move(body));
  }
  return completions;
}

TEST(HostileAnswerTest, NoExtractorTakesLong) {
  const std::vector<std::pair<const char*, std::function<void(const std::string&)>>> extractors = {
      {"boxed", [](const std::string& text) { ExtractBoxed(text); }},
      {"gsm8k", [](const std::string& text) { ExtractGsm8kStrict(text, kNoWindow); }},
      {"dapo", [](const std::string& text) { ExtractDapoAnswer(text, kNoWindow); }},
      {"last integer", [](const std::string& text) { ExtractLastInteger(text); }},
      {"last number", [](const std::string& text) { LastLiteral(text); }},
      {"mark", [](const std::string& text) { ExtractGsm8kAnswer(text); }},
      {"answer line", [](const std::string& text) { ExtractAnswerLine(text); }},
      {"replied number", [](const std::string& text) { RepliedNumber(text); }},
      {"last quantity", [](const std::string& text) { LastQuantity(text); }},
      {"countdown", [](const std::string& text) { EvaluateCountdown(CountdownExpression(text)); }},
      {"format", [](const std::string& text) { FormatBoxedReward(text); }},
      {"thinking", [](const std::string& text) { AfterThinking(text); }},
      {"reply", [](const std::string& text) { ExtractReply(text); }},
      {"choice", [](const std::string& text) { FindChoice(text, LetterChoices()); }},
      {"code", [](const std::string& text) { ExtractCode(text); }},
      {"canonical", [](const std::string& text) { CanonicalAnswer(text); }},
      {"canonical number", [](const std::string& text) { CanonicalNumber(text); }},
      {"quantity", [](const std::string& text) { ParseQuantity(text); }},
      {"hendrycks", [](const std::string& text) { NormalizeHendrycks(text); }},
      {"minerva", [](const std::string& text) { NormalizeMinerva(text); }},
  };
  for (const NamedText& completion : Completions()) {
    for (const auto& [name, extract] : extractors) {
      ExpectQuick(std::string(name) + " of " + completion.name,
                  [&, check = &extract] { (*check)(completion.text); });
    }
  }
}

TEST(HostileAnswerTest, NoVerifierTakesLong) {
  const auto prompt = *MakeRewardPrompt(
      R"({"answer": "7", "numbers": [1, 2], "choices": ["7", "8"], "tests": "assert True"})", "",
      1);
  for (const std::string& name : VerifierNames()) {
    if (name == "code_tests") continue;  // its time is the sandbox's, see sandbox_test.cc
    std::vector<VerifierOptions> variants(1);
    variants[0].text = "needle";
    if (name == "rule_regex") {
      variants.resize(3);
      variants[1].pattern = "(?s)answer is (.*?)[a-z]+$";
      variants[2].pattern = "(a|aa|\\d+)+b";
    } else if (name == "rule_math" || name == "rule_gsm8k" || name == "rule_dapo") {
      variants.resize(2);
      variants[1].compat_string = true;
      variants[1].after_thinking = true;
    }
    for (const VerifierOptions& options : variants) {
      const auto verifier = *MakeVerifier(name, options);
      for (const NamedText& completion : Completions()) {
        RewardInput input;
        input.prompt = prompt;
        input.completion = completion.text;
        RewardVerdict verdict;
        ExpectQuick(name + " of " + completion.name, [&] { verdict = verifier->Verify(input); });
        EXPECT_NE(verdict.outcome, Outcome::kUnscorable) << name << " of " << completion.name;
      }
    }
  }
}

constexpr size_t kRows = 16;

// Answers of one kind that differ in their ends, where comparing them takes longest.
std::vector<GroupAnswer> ReadGroup(const std::string& reward, const std::string& before,
                                   const std::string& body, const std::vector<Row>& rows) {
  std::vector<GroupAnswer> answers(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    answers[i].row = &rows[i];
    answers[i].completion = absl::StrCat(before, body, i / 2, before == "\\boxed{" ? "}" : "");
    answers[i].answer = ReadAnswer(reward, answers[i].completion);
    EXPECT_NE(answers[i].answer, "") << reward;
  }
  AddCanonicalForms(&answers);
  return answers;
}

// A group is scored outside of the deadline of single verifiers: reading, clusters and votes.
TEST(HostileAnswerTest, NoGroupTakesLongPerAnswer) {
  const std::vector<Row> rows(kRows);
  const std::pair<std::string, std::string> forms[] = {
      {"rule_math", "\\boxed{"},  {"rule_dapo", "Answer: "}, {"rule_number", "\\boxed{"},
      {"rule_units", "\\boxed{"}, {"rule_sorting", ""},      {"code_tests", ""}};
  for (const NamedText& body : Bodies()) {
    for (const auto& form : forms) {
      const std::string &reward = form.first, &before = form.second;
      const auto prompt = *MakeRewardPrompt(R"({"answer": "7"})", reward, 1);
      const auto score = [&] {
        const auto answers = ReadGroup(reward, before, body.text, rows);
        const SemanticClusters clusters = ClusterByValue(answers);
        std::map<std::string, double> signals;
        AddClusterSignals(clusters, &signals);
        GroupSourceOptions options;
        options.source = GroupSource::kSemanticFrequency;
        EXPECT_EQ(ScoreGroupSource(options, *prompt, answers, clusters, &signals).rows.size(),
                  kRows);
        options.source = GroupSource::kMajorityOnline;
        options.merge_equivalent = true;
        EXPECT_EQ(ScoreGroupSource(options, *prompt, answers, clusters, &signals).rows.size(),
                  kRows);
      };
      ExpectQuick(absl::StrCat("a group of ", reward, " of ", body.name), score,
                  kRows * kHostileLimit);
    }
  }
}

TEST(HostileAnswerTest, LookingForAnAnswersTokensTakesNotLong) {
  const std::string text(kHostileBytes, 'a');
  std::vector<size_t> ends;
  for (size_t i = 1; i <= text.size(); ++i) ends.push_back(i);
  for (const size_t size : {size_t{256}, size_t{257}, text.size() / 2}) {
    const std::string answer = std::string(size - 1, 'a') + "b";
    ExpectQuick(absl::StrCat("an answer of ", size, " bytes"),
                [&] { EXPECT_TRUE(TokensSpelling(text, ends, answer).empty()); });
  }
}

}  // namespace
}  // namespace cohort

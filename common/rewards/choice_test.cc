#include "common/rewards/choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cohort {
namespace {

std::string Letter(const char* completion, char last = 'Z') {
  const auto choice = FindChoice(completion, LetterChoices(last));
  return choice ? std::string(1, static_cast<char>('A' + *choice)) : "";
}

TEST(ChoiceTest, ReadsALetterWhereItIsTheAnswer) {
  const std::pair<const char*, const char*> kLetters[] = {
      {"\\boxed{C}", "C"},
      {"\\boxed{\\text{(B)}}", "B"},
      {"The answer is (D).", "D"},
      {"The correct answer is **A**", "A"},
      {"Answer: B) Paris\nbecause A is wrong.", "B"},
      {"First, answer A. No: the answer should be C.", "C"},
      {"so\n(c)", "C"},
      {"C. Paris", "C"},
      {"<answer>b</answer>", "B"},
      {"E is correct.", "E"},
      {"The correct option is (E).", "E"},
      {"At first I thought of A. The answer is E.", "E"},
      {"Answer: a", "A"},
      {"\u7b54\u6848\u662f E\u3002", "E"},
      {"La respuesta es E.", "E"},
      {"A resposta \u00e9 C.", "C"},
  };
  for (const auto& [text, letter] : kLetters) EXPECT_EQ(Letter(text), letter) << text;
}

TEST(ChoiceTest, WordsTwoLettersAndDenialsNameNone) {
  for (const char* text :
       {"The answer is a number", "A good question", "\\boxed{Cats}", "", "42", "answers",
        "the answer is", "The answer is a", "E is incorrect.", "The answer is not E.",
        "\\boxed{E, B}", "Answer: B or E", "Answer: E, no wait: B",
        "The answer is E. Wait, it is B.", "La respuesta no es E.", "All but C"}) {
    EXPECT_EQ(Letter(text), "") << text;
  }
  EXPECT_EQ(Letter("\\boxed{F}", 'D'), "");
}

TEST(ChoiceTest, TextsNameTheirChoices) {
  const std::vector<Choice> choices = {
      {"A", "Rome"}, {"B", "Paris"}, {"C", "Paris Plage"}, {"D", "4"}};
  const auto named = [&](const char* text) { return FindChoice(text, choices); };
  EXPECT_EQ(named("The capital is\n**Paris**"), 1u);
  EXPECT_EQ(named("\\boxed{\\text{paris plage}}"), 2u);
  EXPECT_EQ(named("It must be Paris Plage."), 2u);
  EXPECT_EQ(named("\\boxed{B - Paris}"), 1u);
  EXPECT_EQ(named("\\boxed{A Rome}"), 0u);
  EXPECT_EQ(named("The answer is 4."), 3u);
  for (const char* text : {"\\boxed{A - Paris}", "It is neither Rome nor Paris.",
                           "The answer is 4.5", "Rome or Paris", "The answer is -4"}) {
    EXPECT_EQ(named(text), std::nullopt) << text;
  }
}

TEST(ChoiceTest, LabelsNeedNotBeLetters) {
  const std::vector<Choice> choices = {{"1", "dog"}, {"2", "cat"}};
  EXPECT_EQ(FindChoice("The answer is 2.", choices), 1u);
  EXPECT_EQ(FindChoice("dog", choices), 0u);
}

}  // namespace
}  // namespace cohort

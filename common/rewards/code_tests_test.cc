#include "common/rewards/code_tests.h"

#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "common/base/status_matchers.h"
#include "common/rewards/reward_set.h"

namespace cohort {
namespace {

using nlohmann::json;
using testing::HasSubstr;

VerifierOptions WithPython() {
  VerifierOptions options;
  options.code.interpreter = {"/usr/bin/python3", "-I"};
  options.code.seconds = absl::Seconds(2);
  options.code.memory_bytes = int64_t{256} << 20;
  return options;
}

class CodeTestsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (access("/usr/bin/python3", X_OK) != 0) GTEST_SKIP() << "no /usr/bin/python3 here";
    auto verifier = MakeCodeVerifier(WithPython());
    ASSERT_TRUE(verifier.ok()) << verifier.status();
    verifier_ = *std::move(verifier);
  }
  RewardVerdict Verify(const std::string& completion, const json& tests) {
    RewardInput input;
    input.prompt = *MakeRewardPrompt(json{{"tests", tests}}.dump(), "", 1);
    input.completion = completion;
    return verifier_->Verify(input);
  }
  std::unique_ptr<Verifier> verifier_;
};

constexpr char kAdd[] = "Here it is:\n```python\ndef add(a, b):\n    return a + b\n```\nDone.";

TEST_F(CodeTestsTest, CodeIsRightWhenItsTestsRunToTheEnd) {
  EXPECT_EQ(Verify(kAdd, "assert add(1, 2) == 3").outcome, Outcome::kCorrect);
  EXPECT_EQ(Verify(kAdd, json{"assert add(1, 2) == 3", "assert add(0, 0) == 0"}).outcome,
            Outcome::kCorrect);
  EXPECT_EQ(Verify(kAdd, "assert add(1, 2) == 4").outcome, Outcome::kWrong);
  EXPECT_EQ(Verify("def add(a, b): return a + b", "assert add(1, 2) == 3").outcome,
            Outcome::kCorrect);
  EXPECT_EQ(Verify("I do not know.", "assert add(1, 2) == 3").outcome, Outcome::kWrong);
  EXPECT_EQ(Verify("```\n```", "pass").outcome, Outcome::kUnparsable);
}

TEST_F(CodeTestsTest, CasesCompareTheOutput) {
  const json cases = {{{"input", "1 2\n"}, {"output", "3\n"}},
                      {{"input", "5 5"}, {"output", "10"}}};
  EXPECT_EQ(Verify("a, b = map(int, input().split())\nprint(a + b)  ", cases).outcome,
            Outcome::kCorrect);
  EXPECT_EQ(Verify("print(3)", cases).outcome, Outcome::kWrong);
}

TEST_F(CodeTestsTest, LeavingBeforeTheTestsIsNoWayOut) {
  for (const char* code : {"import sys\nsys.exit(0)", "import os\nos._exit(0)", "raise SystemExit",
                           "print('tests-passed')\nexit()"}) {
    EXPECT_EQ(Verify(code, "assert False").outcome, Outcome::kWrong) << code;
  }
}

TEST_F(CodeTestsTest, LimitsReachedByTheAnswerAreItsFaultAndCounted) {
  const RewardVerdict slow = Verify("while True: pass", "pass");
  EXPECT_EQ(slow.outcome, Outcome::kWrong);
  EXPECT_STREQ(slow.cause, cause::kCodeTime);
  const RewardVerdict big = Verify("x = bytearray(1 << 34)", "pass");
  EXPECT_EQ(big.outcome, Outcome::kWrong);
  EXPECT_STREQ(big.cause, cause::kCodeMemory);
  const RewardVerdict loud = Verify("while True: print('a' * 10000)", "pass");
  EXPECT_EQ(loud.outcome, Outcome::kWrong);
  EXPECT_STREQ(loud.cause, cause::kCodeOutput);
}

TEST_F(CodeTestsTest, ThereIsNoNetwork) {
  const char* const code =
      "import socket\n"
      "try:\n"
      "  socket.socket(socket.AF_INET, socket.SOCK_STREAM)\n"
      "  reached = True\n"
      "except OSError:\n"
      "  reached = False\n";
  EXPECT_EQ(Verify(code, "assert not reached").outcome, Outcome::kCorrect);
}

TEST_F(CodeTestsTest, APromptWithoutTestsIsUnscorable) {
  for (const json& tests : {json(), json(5), json::array(), json{{{"input", "x"}}}}) {
    const RewardVerdict verdict = Verify("pass", tests);
    EXPECT_EQ(verdict.outcome, Outcome::kUnscorable) << tests;
    EXPECT_STREQ(verdict.cause, cause::kNoGold);
  }
}

TEST_F(CodeTestsTest, ADataSourceMayAskForIt) {
  RewardSetOptions options;
  options.required = {"code_tests"};
  EXPECT_THAT(RewardSet::Create({}, 1, options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("reward.code.interpreter")));
  options.code = WithPython().code;
  COHORT_ASSERT_OK_AND_ASSIGN(const auto set, RewardSet::Create({}, 1, options));
  RewardInput input;
  input.prompt = *MakeRewardPrompt(R"({"tests": "assert f() == 1"})", "code_tests", 1);
  input.completion = "def f(): return 1";
  EXPECT_EQ(set->Score({input})[0].total, 1);
  input.completion = "while True: pass";
  const RowReward row = set->Score({input})[0];
  EXPECT_FALSE(row.unscorable);
  EXPECT_EQ(row.limits.size(), 1u);
}

TEST(CodeInterpreterTest, AMissingOneIsAnErrorThatNamesTheField) {
  VerifierOptions options;
  EXPECT_THAT(MakeCodeVerifier(options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("reward.code.interpreter")));
  options.code.interpreter = {"no-such-interpreter"};
  EXPECT_THAT(MakeCodeVerifier(options),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no-such-interpreter")));
  options.code.interpreter = {"/bin/false"};
  EXPECT_THAT(MakeCodeVerifier(options), StatusIs(absl::StatusCode::kFailedPrecondition,
                                                  HasSubstr("reward.code.interpreter")));
}

TEST(ExtractCodeTest, TakesTheLastBlock) {
  EXPECT_EQ(ExtractCode("```py\na\n```\nthen\n```\nb\n```"), "b\n");
  EXPECT_EQ(ExtractCode("```py\na\n"), "a\n");
  EXPECT_EQ(ExtractCode("plain"), "plain");
  EXPECT_EQ(ExtractCode("x ```a```"), "a");
}

}  // namespace
}  // namespace cohort

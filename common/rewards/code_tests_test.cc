#include "common/rewards/code_tests.h"

#include <unistd.h>

#include <cstdlib>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
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
  EXPECT_EQ(Verify("```\n```", "assert add(1, 2) == 3").outcome, Outcome::kUnparsable);
  EXPECT_EQ(Verify("```bash\nls\n```", "assert add(1, 2) == 3").outcome, Outcome::kUnparsable);
}

TEST_F(CodeTestsTest, TestsHaveTheFormsThatDataSetsHave) {
  const char* const add = "def add(a, b): return a + b";
  const char* const wrong = "def add(a, b): return a - b";
  for (const json& tests :
       {json(R"(["assert add(1, 2) == 3"])"),
        json{{"inputs", {{1, 2}, {2, 2}}}, {"outputs", {3, 4}}, {"fn_name", "add"}},
        json(R"({"inputs": [[1, 2], [2, 2]], "outputs": [[3], [4]], "fn_name": "add"})"),
        json("def test_add():\n    assert add(1, 2) == 3\n"),
        json("import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        "
             "self.assertEqual(add(1, 2), 3)\nunittest.main()\n")}) {
    EXPECT_EQ(Verify(add, tests).outcome, Outcome::kCorrect) << tests;
    EXPECT_EQ(Verify(wrong, tests).outcome, Outcome::kWrong) << tests;
  }
  const json sums = {{"inputs", {"1 2", "2 2"}}, {"outputs", {3, "4"}}};
  for (const json& tests : {sums, json(sums.dump()), json{{{"input", "1 2"}, {"output", 3}}}}) {
    EXPECT_EQ(Verify("print(sum(map(int, input().split())))", tests).outcome, Outcome::kCorrect);
    EXPECT_EQ(Verify("print(0)", tests).outcome, Outcome::kWrong) << tests;
  }
}

// As a policy might try it: whatever lies in the program's reach is printed.
TEST_F(CodeTestsTest, NothingThatAnAnswerCanReadTellsItsTests) {
  const char* const code =
      "import glob, os, sys\n"
      "text = ' '.join(sys.argv) + str(dict(os.environ))\n"
      "for folder in ('.', os.path.dirname(os.path.abspath(sys.argv[0])), '/tmp'):\n"
      "    for name in glob.glob(folder + '/**', recursive=True):\n"
      "        try:\n"
      "            text += open(name, errors='replace').read()\n"
      "        except OSError:\n"
      "            pass\n"
      "print(text)\n";
  const json cases = {{{"input", ""}, {"output", "unguessable-7391"}}};
  EXPECT_EQ(Verify(code, cases).outcome, Outcome::kWrong);
  EXPECT_EQ(Verify(code, "assert 'unguessable' in text + '-7391'").outcome, Outcome::kWrong);
  // The same text, given to the tests to look for themselves.
  EXPECT_EQ(Verify(code, "assert len(text) > 0 and 'unguessable' not in text").outcome,
            Outcome::kCorrect);
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
  const RewardVerdict slow = Verify("while True: pass", "assert f() == 1");
  EXPECT_EQ(slow.outcome, Outcome::kWrong);
  EXPECT_STREQ(slow.cause, cause::kCodeTime);
  const RewardVerdict big = Verify("x = bytearray(1 << 34)", "assert f() == 1");
  EXPECT_EQ(big.outcome, Outcome::kWrong);
  EXPECT_STREQ(big.cause, cause::kCodeMemory);
  const RewardVerdict loud = Verify("while True: print('a' * 10000)", "assert f() == 1");
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
  for (const json& tests :
       {json(), json(5), json::array(), json{{{"input", "x"}}}, json(""), json{""},
        json("# later\n"), json("42"), json("pass"), json("import math"),
        json("def check(f):\n    assert f(1) == 1\n"), json("print('tested')"),
        json("assert f( == 1"), json("import no_such_module\nassert f()"),
        json{{{"input", "1"}, {"output", " \n"}}}, json{{"inputs", {"1"}}, {"outputs", {"1", "2"}}},
        json{{"inputs", json::array()}, {"outputs", json::array()}, {"fn_name", "f"}}}) {
    const RewardVerdict verdict = Verify("def f(): return 1", tests);
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

// The cases of code_tests that were written beside the project, each for its whole kind.
TEST_F(CodeTestsTest, TheCasesHaveTheirVerdicts) {
  const char* const root = std::getenv("COHORT_SOURCE_DIR");
  const std::string path =
      std::string(root == nullptr ? "." : root) + "/../shared/cases/rewards.jsonl";
  const auto text = ReadFile(path);
  if (absl::IsNotFound(text.status())) GTEST_SKIP() << "no cases at " << path;
  const std::map<std::string, Outcome> outcomes = {{"correct", Outcome::kCorrect},
                                                   {"wrong", Outcome::kWrong},
                                                   {"unparsable", Outcome::kUnparsable},
                                                   {"unscorable", Outcome::kUnscorable}};
  int count = 0;
  for (const absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipWhitespace())) {
    const json one = json::parse(line);
    if (one["verifier"] != "code_tests") continue;
    ++count;
    RewardInput input;
    input.prompt = *MakeRewardPrompt(one["columns"].dump(), "", 1);
    input.completion = one["completion"].get<std::string>();
    const RewardVerdict verdict = verifier_->Verify(input);
    const bool right = verdict.outcome == outcomes.at(one["expected"]) ||
                       (one.contains("or") && verdict.outcome == outcomes.at(one["or"]));
    EXPECT_TRUE(right) << one["id"] << ": " << static_cast<int>(verdict.outcome) << " "
                       << verdict.note;
  }
  EXPECT_GT(count, 0);
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

}  // namespace
}  // namespace cohort

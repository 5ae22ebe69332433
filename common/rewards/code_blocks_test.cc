#include "common/rewards/code_blocks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace cohort {
namespace {

constexpr char kSum[] = "a, b = map(int, input().split())\nprint(a + b)\n";

TEST(CodeBlocksTest, FencesMayBeIndentedAndOfEitherKind) {
  EXPECT_EQ(ExtractCode(absl::StrCat("~~~python\n", kSum, "~~~\n")), kSum);
  EXPECT_EQ(ExtractCode("1. Add:\n   ```python\n   if a:\n     b()\n   ```\n"), "if a:\n  b()\n");
  EXPECT_EQ(ExtractCode("````md\n```py\nx = 1\n```\n````\n```py\ny = 2\n```"), "y = 2\n");
}

TEST(CodeBlocksTest, AnUnclosedBlockEndsWhereTheNextBegins) {
  EXPECT_EQ(ExtractCode("<think>```python\nprint(1\nno.</think>\n```python\nprint(2)\n```\n"),
            "print(2)\n");
  EXPECT_EQ(ExtractCode("```py\na = 1\n"), "a = 1\n");
}

TEST(CodeBlocksTest, WithoutABlockTheTextIsTheProgram) {
  EXPECT_EQ(ExtractCode("plain"), "plain");
  EXPECT_EQ(ExtractCode("x ```a()```"), "a()");
}

TEST(CodeBlocksTest, InputsOutputsAndCommandsAreNoPrograms) {
  const std::string program = absl::StrCat("```python\n", kSum, "```\n");
  for (const char* after : {"```\n13\n```", "```text\n4 9\n```", "```bash\npython3 sum.py\n```",
                            "```output\nx = 1\n```", "```console\n$ ./a\n```", "``` \n\n```"}) {
    EXPECT_EQ(ExtractCode(absl::StrCat(program, "So:\n", after)), kSum) << after;
  }
  EXPECT_EQ(ExtractCode("```bash\nls\n```"), "");
  EXPECT_EQ(ExtractCode("```bash\nls\n```", {}, /*shell=*/true), "ls\n");
}

TEST(CodeBlocksTest, AnExampleOfCallingItIsNotTheProgram) {
  const std::string text =
      "```python\ndef add(a, b):\n    return a + b\n```\nUse it:\n```python\nresult = add(1, 2)\n"
      "print(result)\n```\n";
  EXPECT_EQ(ExtractCode(text, {"assert", "add", "result"}), "def add(a, b):\n    return a + b\n");
  const std::string reading = absl::StrCat(
      "```python\ndef main():\n    print(int(input()) + 1)\nmain()\n```\n```python\nmain()\n```");
  EXPECT_EQ(ExtractCode(reading), "def main():\n    print(int(input()) + 1)\nmain()\n");
}

TEST(CodeBlocksTest, ACorrectedProgramReplacesTheFirst) {
  const std::string text = "```py\ndef f(): return 1\n```\nNo:\n```py\ndef f(): return 2\n```";
  EXPECT_EQ(ExtractCode(text, {"f"}), "def f(): return 2\n");
  EXPECT_EQ(ExtractCode(text), "def f(): return 2\n");
}

TEST(CodeBlocksTest, ManyBlocksTakeLittleTime) {
  std::string text;
  while (text.size() < (1 << 20)) absl::StrAppend(&text, "```py\nx = input(", text.size(), ")\n");
  const absl::Time start = absl::Now();
  ExtractCode(text);
  ExtractCode(text, {"y"});
  EXPECT_LT(absl::Now() - start, absl::Seconds(2));
}

}  // namespace
}  // namespace cohort

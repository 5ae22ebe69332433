#include "common/rewards/sandbox.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/rewards/sandbox_user.h"

namespace cohort {
namespace {

using testing::HasSubstr;
using End = SandboxResult::End;

constexpr char kShell[] = "/bin/sh";

SandboxResult RunScript(const std::string& script, absl::Duration seconds = absl::Seconds(10),
                        const std::string& input = "",
                        const std::vector<std::string>& readable = {}) {
  const TemporaryFolder folder;
  SandboxProgram program;
  program.arguments = {kShell, "-c", script};
  program.folder = folder.path();
  program.input = input;
  program.seconds = seconds;
  program.readable = readable;
  const auto result = RunInSandbox(program);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? *result : SandboxResult();
}

TEST(SandboxTest, AProgramGetsItsInputAndItsOutputComesBack) {
  const SandboxResult result =
      RunScript("read line; echo got $line; echo oops >&2; exit 3", absl::Seconds(10), "a line\n");
  EXPECT_EQ(result.end, End::kExited);
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.output, "got a line\n");
  EXPECT_EQ(result.errors, "oops\n");
}

TEST(SandboxTest, WhatIsNotIsolatedIsNamed) {
  EXPECT_EQ(MissingIsolation({}), "");
  EXPECT_THAT(MissingIsolation({.namespaces = false}), HasSubstr("refuses namespaces"));
  EXPECT_THAT(MissingIsolation({.namespaces = false}), testing::Not(HasSubstr("Landlock")));
  EXPECT_THAT(MissingIsolation({.landlock = false}), HasSubstr("no Landlock"));
  EXPECT_THAT(MissingIsolation({.users = false}), HasSubstr("can starve the others"));
  EXPECT_THAT(MissingIsolation({.namespaces = false, .landlock = false}), HasSubstr("; files"));
}

TEST(SandboxTest, AUserNamespaceMustMapTheIdsOfSandboxes) {
  EXPECT_TRUE(MapsSandboxUsers("         0          0 4294967295\n"));
  EXPECT_TRUE(MapsSandboxUsers("0 100000 65536\n"));
  EXPECT_TRUE(MapsSandboxUsers("0 1000 1\n1 100000 65535\nrubbish"));
  EXPECT_FALSE(MapsSandboxUsers("0 1000 1\n1 100000 61000\n"));
  EXPECT_FALSE(MapsSandboxUsers("0 1000 1\n"));
  EXPECT_FALSE(MapsSandboxUsers(""));
}

TEST(SandboxTest, ProgramsOfARootProcessHaveAUserEach) {
  if (geteuid() != 0) GTEST_SKIP() << "this process is not root and may not change its user";
  const SandboxUser first, second;
  EXPECT_TRUE(first.own() && second.own());
  EXPECT_NE(first.id(), second.id());
  const std::string id = RunScript("id -u").output;
  EXPECT_NE(id, "0\n");
  EXPECT_NE(id, "65534\n");
}

// While one forks all that it may have, the other must still get its own.
TEST(SandboxTest, OneProgramsForksDoNotStarveAnother) {
  if (geteuid() != 0) GTEST_SKIP() << "this process is not root and may not change its user";
  std::string forker;
  std::thread other([&forker] {
    forker =
        RunScript("(while :; do sleep 1000 & done); while :; do :; done", absl::Seconds(3)).errors;
  });
  int started = 0;
  const std::string loop = "n=0; while [ $n -lt 20 ]; do sleep 1000 & n=$((n+1)); done; echo $n";
  for (int i = 0; i < 10; ++i) started += RunScript(loop).output == "20\n" ? 1 : 0;
  other.join();
  EXPECT_EQ(started, 10);
  EXPECT_THAT(forker, HasSubstr("fork")) << "it ran into its own limit";
}

TEST(SandboxTest, AProgramThatDoesNotStartIsAnError) {
  const TemporaryFolder folder;
  SandboxProgram program;
  program.arguments = {"/nonexistent/interpreter"};
  program.folder = folder.path();
  EXPECT_THAT(RunInSandbox(program),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nonexistent/interpreter")));
}

TEST(SandboxTest, SleepersAndSpinnersAreKilledInTime) {
  for (const char* script : {"sleep 1000", "while :; do :; done", "trap '' TERM XCPU; sleep 1000",
                             "(setsid sleep 1000 &) ; sleep 1000"}) {
    const absl::Time start = absl::Now();
    EXPECT_EQ(RunScript(script, absl::Milliseconds(300)).end, End::kTimeLimit) << script;
    EXPECT_LT(absl::Now() - start, SandboxBound(absl::Milliseconds(300))) << script;
  }
}

TEST(SandboxTest, WhatAProgramLeavesBehindDoesNotHoldItUp) {
  const absl::Time start = absl::Now();
  const SandboxResult result = RunScript("sleep 1000 & echo done");
  EXPECT_EQ(result.end, End::kExited);
  EXPECT_EQ(result.output, "done\n");
  EXPECT_LT(absl::Now() - start, absl::Seconds(8));
}

// Processes with `mark` in their command line.
int CountProcesses(const std::string& mark) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "cmdline", std::ios::binary);
    const std::string line((std::istreambuf_iterator<char>(file)), {});
    count += absl::StrContains(line, mark) ? 1 : 0;
  }
  return count;
}

TEST(SandboxTest, AForkBombEndsInTimeAndLeavesNoProcessBehind) {
  const std::string mark = absl::StrCat("bomb-", getpid(), "-");
  for (const char* bomb : {"f() { f & f & wait; }; f", "f() { while :; do (f) & done; }; f",
                           "f() { (setsid sh -c \"sleep 1000; : $mark\" &); f & f; }; f"}) {
    const absl::Time start = absl::Now();
    RunScript(absl::StrCat("mark=", mark, "; ", bomb), absl::Seconds(1));
    EXPECT_LT(absl::Now() - start, SandboxBound(absl::Seconds(1))) << bomb;
    // Killed they are when RunScript returns; gone a moment later.
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    while (CountProcesses(mark) > 0 && absl::Now() < deadline) std::this_thread::yield();
    EXPECT_EQ(CountProcesses(mark), 0) << bomb;
  }
}

TEST(SandboxTest, TheNumberOfProcessesIsLimited) {
  const SandboxResult result = RunScript(
      "n=0; while [ $n -lt 2000 ]; do sleep 1000 & n=$((n+1)); echo $n; done", absl::Seconds(5));
  const std::vector<std::string> lines = absl::StrSplit(result.output, '\n', absl::SkipEmpty());
  int started = 0;
  ASSERT_TRUE(!lines.empty() && absl::SimpleAtoi(lines.back(), &started)) << result.errors;
  EXPECT_GT(started, 16) << "a few it may have";
  EXPECT_LT(started, 2000);
}

TEST(SandboxTest, EndlessOutputIsCut) {
  EXPECT_EQ(
      RunScript("while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done").end,
      End::kOutputLimit);
}

TEST(SandboxTest, FilesElsewhereCannotBeWritten) {
  const TemporaryFolder other;
  const SandboxResult result = RunScript(absl::StrCat("echo x > mine && cat mine; echo x > ",
                                                      other.path(), "/theirs; ls ", other.path()));
  EXPECT_EQ(result.output, "x\n");
  EXPECT_NE(access((other.path() + "/theirs").c_str(), F_OK), 0);
}

TEST(SandboxTest, FilesElsewhereCannotBeRead) {
  const TemporaryFolder other;
  std::filesystem::permissions(other.path(), std::filesystem::perms::all);
  std::ofstream(other.path() + "/answers") << "42";
  std::filesystem::permissions(other.path() + "/answers", std::filesystem::perms::all);
  const std::string script = absl::StrCat("cat ", other.path(), "/answers; ls ", other.path(),
                                          "; echo mine > own; cat own");
  EXPECT_EQ(RunScript(script).output, "mine\n");
  EXPECT_EQ(RunScript(script, absl::Seconds(10), "", {other.path()}).output, "42answers\nmine\n");
}

TEST(SandboxTest, AProgramHasTheChannelOfItsCallerAndEndsWhenTold) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const TemporaryFolder folder;
  SandboxProgram program;
  program.arguments = {kShell, "-c", "echo hello >&3; sleep 1000"};
  program.folder = folder.path();
  program.channel = ends[1];
  program.stop = ends[0];  // its own word ends it
  const auto result = RunInSandbox(program);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->end, End::kStopped);
  close(ends[0]);
  close(ends[1]);
}

TEST(SandboxTest, ASignalFromOutsideIsNotTheProgramsFault) {
  EXPECT_EQ(RunScript("kill -SEGV $$; sleep 5", absl::Seconds(2)).end == End::kExited, false);
  // Its own files, processes and signals only: the test itself must survive.
  RunScript(absl::StrCat("kill -9 ", getpid(), "; kill -9 -1"), absl::Seconds(2));
}

TEST(SandboxTest, NothingIsInherited) {
  const SandboxResult result = RunScript("ls /proc/self/fd | wc -l; env | cut -d= -f1 | sort");
  EXPECT_THAT(result.output, HasSubstr("HOME\n"));
  EXPECT_THAT(result.output, testing::Not(HasSubstr("COHORT")));
}

}  // namespace
}  // namespace cohort

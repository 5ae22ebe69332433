#include "common/supervise/supervisor.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"

namespace cohort {
namespace {

using testing::HasSubstr;

ChildSpec Shell(const std::string& name, const std::string& script, const std::string& log = "") {
  return {name, {"/bin/sh", "-c", script}, {}, log};
}

// Waits for a condition that another process brings about.
template <typename Condition>
bool Eventually(SignalGate* gate, Condition condition) {
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  while (!condition()) {
    if (absl::Now() > deadline) return false;
    gate->Wait(absl::Milliseconds(5));
  }
  return true;
}

bool Contains(const std::string& path, const std::string& text) {
  const absl::StatusOr<std::string> content = ReadFile(path);
  return content.ok() && content->find(text) != std::string::npos;
}

// True once no process, not even a zombie, has this id.
bool Gone(pid_t pid) { return kill(pid, 0) != 0 && errno == ESRCH; }

// A process that was taken over by init may stay a zombie where nobody is init.
bool GoneOrZombie(pid_t pid) {
  if (Gone(pid)) return true;
  const absl::StatusOr<std::string> stat = ReadFile(absl::StrCat("/proc/", pid, "/stat"));
  return !stat.ok() || stat->find(") Z ") != std::string::npos;
}

class SupervisorTest : public testing::Test {
 protected:
  std::string Path(const std::string& name) { return folder_.path() + "/" + name; }

  // Starts a child and waits until it has set `traps`; then it does nothing but sleep.
  void StartReady(Supervisor* supervisor, const std::string& name, const std::string& traps = ":") {
    COHORT_ASSERT_OK(supervisor->Start(
        Shell(name, absl::StrCat(traps, "; echo ready; while :; do sleep 0.01; done"),
              Path(name + ".log"))));
    ASSERT_TRUE(Eventually(&gate_, [&] { return Contains(Path(name + ".log"), "ready"); }));
  }

  TemporaryFolder folder_;
  SignalGate gate_;
};

TEST_F(SupervisorTest, ReportsExitCodesAndSignals) {
  Supervisor supervisor;
  COHORT_ASSERT_OK(supervisor.Start(Shell("three", "exit 3")));
  COHORT_ASSERT_OK(supervisor.Start(Shell("fine", "exit 0")));
  COHORT_ASSERT_OK(supervisor.Start(Shell("killed", "kill -9 $$")));
  std::map<std::string, ChildExit> exits;
  ASSERT_TRUE(Eventually(&gate_, [&] {
    for (const ChildExit& exit : supervisor.Reap()) exits[exit.name] = exit;
    return exits.size() == 3;
  }));
  EXPECT_EQ(exits["three"].Describe(), "ended with exit code 3");
  EXPECT_TRUE(exits["fine"].ok());
  EXPECT_THAT(exits["killed"].Describe(), HasSubstr("was killed by signal 9"));
  EXPECT_TRUE(supervisor.Running().empty());
}

TEST_F(SupervisorTest, AChildKilledFromOutsideIsNoticedAndCanBeStartedAgain) {
  Supervisor supervisor;
  StartReady(&supervisor, "worker");
  const pid_t first = supervisor.PidOf("worker");
  ASSERT_EQ(kill(first, SIGKILL), 0);
  std::vector<ChildExit> exits;
  ASSERT_TRUE(Eventually(&gate_, [&] { return !(exits = supervisor.Reap()).empty(); }));
  EXPECT_EQ(exits[0].name, "worker");
  EXPECT_FALSE(exits[0].ok());
  StartReady(&supervisor, "worker");
  EXPECT_NE(supervisor.PidOf("worker"), first);
}

TEST_F(SupervisorTest, GivesChildrenTheirEnvironmentAndLog) {
  Supervisor supervisor;
  ASSERT_EQ(setenv("COHORT_TEST_INHERITED", "old", 1), 0);
  ChildSpec spec = Shell(
      "child", "echo $COHORT_TEST_INHERITED $OMP_WAIT_POLICY; echo oops >&2; cat", Path("log"));
  spec.environment = {{"COHORT_TEST_INHERITED", "new"}, {"OMP_WAIT_POLICY", "passive"}};
  COHORT_ASSERT_OK(supervisor.Start(spec));
  ASSERT_TRUE(Eventually(&gate_, [&] { return !supervisor.Reap().empty(); }));
  COHORT_ASSERT_OK_AND_ASSIGN(std::string log, ReadFile(Path("log")));
  EXPECT_EQ(log, "new passive\noops\n");
}

TEST_F(SupervisorTest, AMissingProgramIsNamed) {
  Supervisor supervisor;
  EXPECT_THAT(supervisor.Start({"x", {"/no/such/program"}, {}, ""}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/no/such/program")));
  EXPECT_FALSE(supervisor.IsRunning("x"));
}

TEST_F(SupervisorTest, StopAsksFirstAndWaitsForACleanEnd) {
  Supervisor supervisor;
  StartReady(&supervisor, "polite", "trap 'echo saved; exit 0' TERM");
  EXPECT_TRUE(supervisor.Stop({"polite", "unknown"}, absl::Seconds(20), &gate_));
  EXPECT_TRUE(Contains(Path("polite.log"), "saved"));
  EXPECT_FALSE(supervisor.IsRunning("polite"));
}

TEST_F(SupervisorTest, StopKillsWhoDoesNotListen) {
  Supervisor supervisor;
  StartReady(&supervisor, "stubborn", "trap '' TERM");
  const pid_t pid = supervisor.PidOf("stubborn");
  EXPECT_FALSE(supervisor.Stop({"stubborn"}, absl::Milliseconds(50), &gate_));
  EXPECT_TRUE(Gone(pid));
}

TEST_F(SupervisorTest, ASecondStopSignalKillsAtOnce) {
  Supervisor supervisor;
  StartReady(&supervisor, "stubborn", "trap '' TERM");
  kill(getpid(), SIGINT);
  const absl::Time start = absl::Now();
  EXPECT_FALSE(supervisor.Stop({"stubborn"}, absl::Seconds(600), &gate_));
  EXPECT_LT(absl::Now() - start, absl::Seconds(60));
}

TEST_F(SupervisorTest, TheFirstStopDuringAnEndThatNobodyAskedForKillsNobody) {
  Supervisor supervisor;
  StartReady(&supervisor, "saver", "trap 'sleep 0.5; echo saved; exit 0' TERM");
  kill(getpid(), SIGINT);
  EXPECT_TRUE(supervisor.Stop({"saver"}, absl::Seconds(60), &gate_, /*stops=*/2));
  EXPECT_TRUE(Contains(Path("saver.log"), "saved"));
}

TEST_F(SupervisorTest, ATerminalsCtrlCReachesOnlyTheParent) {
  Supervisor supervisor;
  StartReady(&supervisor, "child");
  EXPECT_NE(getpgid(supervisor.PidOf("child")), getpgid(0));
  EXPECT_EQ(getpgid(supervisor.PidOf("child")), supervisor.PidOf("child"));
}

TEST_F(SupervisorTest, DestructionLeavesNobody) {
  pid_t pid = 0;
  {
    Supervisor supervisor;
    StartReady(&supervisor, "child", "trap '' TERM INT");
    pid = supervisor.PidOf("child");
  }
  EXPECT_TRUE(Gone(pid));
}

TEST_F(SupervisorTest, ChildrenDieWithAParentThatIsKilled) {
  const pid_t parent = fork();
  if (parent == 0) {
    Supervisor supervisor;
    const std::string script = absl::StrCat("echo $$ > ", Path("pid"), "; exec sleep 600");
    if (!supervisor.Start(Shell("child", script)).ok()) _exit(1);
    pause();
    _exit(0);
  }
  int child = 0;
  ASSERT_TRUE(Eventually(&gate_, [&] {
    const absl::StatusOr<std::string> text = ReadFile(Path("pid"));
    return text.ok() && absl::SimpleAtoi(*text, &child);
  }));
  ASSERT_FALSE(GoneOrZombie(child));
  kill(parent, SIGKILL);
  waitpid(parent, nullptr, 0);
  EXPECT_TRUE(Eventually(&gate_, [&] { return GoneOrZombie(child); }));
}

TEST(RestartPolicyTest, WaitsLongerEachTimeAndGivesUp) {
  RestartPolicy::Options options;
  options.longest = absl::Seconds(3);
  options.most_quick_failures = 5;
  RestartPolicy policy(options);
  std::vector<double> waits;
  while (const auto wait = policy.OnExit(absl::Seconds(1))) {
    waits.push_back(absl::ToDoubleSeconds(*wait));
  }
  EXPECT_EQ(waits, (std::vector<double>{0.5, 1, 2, 3, 3}));
  EXPECT_EQ(policy.restarts(), 5);
}

TEST(RestartPolicyTest, ALongLifeStartsTheCountAnew) {
  RestartPolicy policy;
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(policy.OnExit(absl::Minutes(2)), absl::Milliseconds(500));
  }
  EXPECT_EQ(policy.restarts(), 100);
}

}  // namespace
}  // namespace cohort

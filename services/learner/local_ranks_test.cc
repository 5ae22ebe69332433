// The ranks of a pod with a shell script in the place of the learner.
#include "services/learner/local_ranks.h"

#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "common/base/exit_code.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"

namespace cohort {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;

RankPlacement PlacementOf(int pods, int index, int ranks) {
  RankPlacement placement;
  placement.pods = pods;
  placement.pod_index = index;
  placement.ranks_per_pod = ranks;
  return placement;
}

class LocalRanksTest : public testing::Test {
 protected:
  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }
  std::string Read(const std::string& name) const { return ReadFile(Path(name)).value_or(""); }

  // The exit code of two ranks of which each runs `commands`, with K for its number in the pod.
  // `both` waits until both ranks have come to it: traps go before it, what sets them off after it.
  int Run(const std::string& commands, int pod = 0, absl::Duration grace = absl::ZeroDuration()) {
    std::ofstream(Path("learner"))
        << "#!/bin/sh\nD=" << folder_.path() << "\nfor a in \"$@\"; do K=${a#--local-rank=}; done\n"
        << "echo \"$K $OMP_NUM_THREADS $@\" >> $D/started\n"
        << "say() { echo \"cohort-learner: $1\" > $COHORT_TERMINATION_LOG; }\n"
        << "both() { echo $K >> $D/ready\n"
        << "  until [ $(wc -l < $D/ready) -ge 2 ]; do sleep 0.02; done; }\n"
        << commands << "\n";
    chmod(Path("learner").c_str(), 0755);
    LocalRanksOptions options;
    options.program = Path("learner");
    options.arguments = {"--config", "run.yaml"};
    options.placement = PlacementOf(2, pod, 2);
    options.threads = 3;
    options.grace = grace;
    testing::internal::CaptureStderr();
    const int code = RunLocalRanks(options);
    said_ = testing::internal::GetCapturedStderr();
    return code;
  }

  TemporaryFolder folder_;
  std::string said_;
};

constexpr char kWait[] = "while :; do sleep 0.02; done";

TEST_F(LocalRanksTest, AllDoneIsDone) {
  EXPECT_EQ(Run("exit 0"), kExitDone);
  EXPECT_THAT(Read("started"), AllOf(HasSubstr("0 3 --config run.yaml --local-rank=0"),
                                     HasSubstr("1 3 --config run.yaml --local-rank=1")));
}

TEST_F(LocalRanksTest, AKilledRankEndsTheOthersAndThePodWithItsName) {
  EXPECT_EQ(Run(absl::StrCat("trap 'echo stopped > $D/zero; exit 143' TERM; both\n",
                             "[ $K = 1 ] && kill -9 $$\n", kWait)),
            kExitFailed);
  EXPECT_THAT(said_, HasSubstr("cohort-learner: learner-1 was killed by signal 9"));
  EXPECT_EQ(Read("zero"), "stopped\n");
}

TEST_F(LocalRanksTest, ABadSetupOfAnyRankIsThePods) {
  std::ofstream(Path("termination-log"));
  setenv("COHORT_TERMINATION_LOG", Path("termination-log").c_str(), 1);
  EXPECT_EQ(Run(absl::StrCat("trap 'say \"model.path: nothing there\"; exit 42' TERM; both\n",
                             "[ $K = 1 ] && exit 1\n", kWait)),
            kExitBadSetup);
  unsetenv("COHORT_TERMINATION_LOG");
  EXPECT_THAT(Read("termination-log"),
              HasSubstr("learner-0 ended with exit code 42: cohort-learner: model.path: nothing"));
}

TEST_F(LocalRanksTest, AStopReachesEveryRankAndIsTheEnd) {
  EXPECT_EQ(Run(absl::StrCat("trap 'echo $K >> $D/stopped; exit 143' TERM; both\n",
                             "[ $K = 1 ] && kill -TERM $PPID\n", kWait)),
            ExitOfSignal(SIGTERM));
  EXPECT_THAT(Read("stopped"), AllOf(HasSubstr("0\n"), HasSubstr("1\n")));
}

TEST_F(LocalRanksTest, AStopThatCouldNotSaveIsAFailure) {
  EXPECT_EQ(Run(absl::StrCat("trap '[ $K = 0 ] && exit 1; exit 143' TERM; both\n",
                             "[ $K = 1 ] && kill -TERM $PPID\n", kWait)),
            kExitFailed);
}

TEST_F(LocalRanksTest, AStopOfRankZeroInAnotherPodIsNoSuccessHere) {
  EXPECT_EQ(Run("both; exit 143", /*pod=*/1), ExitOfSignal(SIGTERM));
  EXPECT_THAT(said_, ContainsRegex("learner-[23] ended with exit code 143"));
}

TEST_F(LocalRanksTest, TheGraceBoundsAStop) {
  EXPECT_EQ(Run(absl::StrCat("trap '' TERM; both\n[ $K = 1 ] && kill -TERM $PPID\n", kWait),
                /*pod=*/0, absl::Milliseconds(10)),
            ExitOfSignal(SIGTERM));
}

TEST(Placement, NumbersTheRanksPodByPod) {
  COHORT_ASSERT_OK_AND_ASSIGN(const RankPlacement placement, Place(PlacementOf(3, 1, 4)));
  EXPECT_EQ(placement.world(), 12);
  EXPECT_EQ(placement.rank_of(2), 6);
  EXPECT_TRUE(placement.is_parent());
  COHORT_ASSERT_OK_AND_ASSIGN(const RankPlacement alone, Place(RankPlacement()));
  EXPECT_EQ(alone.world(), 1);
  EXPECT_FALSE(alone.is_parent());
}

TEST(Placement, TakesThePodsIndexFromAnIndexedJob) {
  setenv("JOB_COMPLETION_INDEX", "2", 1);
  COHORT_ASSERT_OK_AND_ASSIGN(const RankPlacement placement, Place(PlacementOf(3, -1, 1)));
  EXPECT_EQ(placement.pod_index, 2);
  COHORT_ASSERT_OK_AND_ASSIGN(const RankPlacement named, Place(PlacementOf(3, 1, 1)));
  EXPECT_EQ(named.pod_index, 1) << "the flag goes first";
  RankPlacement peers = PlacementOf(4, -1, 2);
  peers.pod_index_offset = 1;  // the first pod is another job's
  COHORT_ASSERT_OK_AND_ASSIGN(const RankPlacement peer, Place(peers));
  EXPECT_EQ(peer.rank_of(0), 6);
  EXPECT_THAT(Place(PlacementOf(2, -1, 1)).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--pod-index")));
  setenv("JOB_COMPLETION_INDEX", "two", 1);
  EXPECT_THAT(Place(PlacementOf(3, -1, 1)).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("JOB_COMPLETION_INDEX")));
  unsetenv("JOB_COMPLETION_INDEX");
}

TEST(Placement, NamesTheFlagThatIsWrong) {
  EXPECT_THAT(Place(PlacementOf(0, 0, 1)).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--pods")));
  EXPECT_THAT(Place(PlacementOf(1, 0, 0)).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--ranks-per-pod")));
  EXPECT_THAT(Place(PlacementOf(1, 0, 100000)).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("expected 1 to 64")));
  EXPECT_THAT(Place(PlacementOf(2, 2, 1)).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--pod-index")));
}

}  // namespace
}  // namespace cohort

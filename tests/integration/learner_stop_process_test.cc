// How the learner ends that is stopped, or whose rank is killed, while it trains.
#include <csignal>

#include "absl/strings/match.h"
#include "tests/integration/learner_process.h"

namespace cohort {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

class LearnerStop : public LearnerProcess {};

TEST_F(LearnerStop, AKilledRankEndsTheRunWithAnErrorNotAHang) {
  WriteConfig(100000);
  const auto rank0 = Learner(0, 2), rank1 = Learner(1, 2);
  const auto worker = Worker();
  ASSERT_TRUE(WaitFor([&] { return Trained(1); })) << rank0->Log();
  rank1->Signal(SIGKILL);
  EXPECT_EQ(rank1->Wait(absl::Seconds(5)), 128 + SIGKILL);
  EXPECT_EQ(rank0->Wait(absl::Seconds(60)), 1) << rank0->Log();
  EXPECT_THAT(rank0->Log(), HasSubstr("on rank 0"));
  EXPECT_FALSE(Checkpoints().empty()) << "the steps before the failed one are lost";
}

TEST_F(LearnerStop, ASignalSavesAndResumingContinues) {
  WriteConfig(100000);
  auto learner = Learner();
  auto worker = Worker();
  ASSERT_TRUE(WaitFor([&] { return Trained(2); })) << learner->Log();
  const absl::Time start = absl::Now();
  learner->Signal(SIGTERM);
  EXPECT_EQ(learner->Wait(absl::Seconds(30)), ExitOfSignal(SIGTERM)) << learner->Log();
  EXPECT_LT(absl::Now() - start, absl::Seconds(15));
  const size_t lines = Metrics().size();
  const auto done = Metrics().back()["step"].get<int64_t>();

  unlink(Path("out/address").c_str());
  WriteConfig(static_cast<int>(done) + 2);
  learner = Learner(0, 1, {"--resume"});
  worker = Worker();
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), 0) << learner->Log();
  EXPECT_THAT(learner->Log(), HasSubstr(absl::StrCat("step ", done)));
  const std::vector<nlohmann::json> resumed = Metrics();
  ASSERT_EQ(resumed.size(), lines + 2);
  EXPECT_EQ(resumed.back()["step"], done + 2);
}

TEST_F(LearnerStop, ARunWhoseFolderIsRemovedEndsWithTheReasonAndMakesNoOther) {
  WriteConfig(100000);
  const auto learner = Learner();
  const auto worker = Worker();
  ASSERT_TRUE(WaitFor([&] { return Trained(1); })) << learner->Log();
  std::filesystem::rename(Path("out"), Path("elsewhere"));
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), kExitBadSetup) << learner->Log();
  EXPECT_THAT(ErrorLines(learner->Log()),
              OneErrorLine("cohort-learner", Path("out"), "was removed, moved or replaced",
                           "continue with --resume"));
  EXPECT_FALSE(std::filesystem::exists(Path("out")));
  EXPECT_EQ(worker->Wait(absl::Seconds(20)), 0) << worker->Log();
  EXPECT_THAT(worker->Log(), HasSubstr("the run is given up: the run's folder"));
}

TEST_F(LearnerStop, OneStopCountsOnceHoweverManySignalsTellIt) {
  WriteConfig(100000);
  const auto learner = Learner();
  const auto worker = Worker();
  ASSERT_TRUE(WaitFor([&] { return Trained(1); })) << learner->Log();
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGTERM}) learner->Signal(signal);
  EXPECT_GE(learner->Wait(absl::Seconds(60)), ExitOfSignal(1)) << learner->Log();
  EXPECT_FALSE(Checkpoints().empty()) << learner->Log();
  EXPECT_THAT(learner->Log(), Not(HasSubstr("ending at once")));
}

TEST_F(LearnerStop, HangingUpStopsARunUnlessItWasIgnoredAtItsStart) {
  WriteConfig(100000);
  auto learner = Learner();
  auto worker = Worker();
  ASSERT_TRUE(WaitFor([&] { return Trained(1); })) << learner->Log();
  learner->Signal(SIGHUP);
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), ExitOfSignal(SIGHUP)) << learner->Log();
  EXPECT_FALSE(Checkpoints().empty());

  unlink(Path("out/address").c_str());
  const auto before = std::signal(SIGHUP, SIG_IGN);  // as nohup does
  learner = Learner(0, 1, {"--resume"});
  std::signal(SIGHUP, before);
  worker = Worker();
  const size_t lines = Metrics().size();
  ASSERT_TRUE(WaitFor([&] { return Trained(lines); })) << learner->Log();
  learner->Signal(SIGHUP);
  const size_t then = Metrics().size();
  ASSERT_TRUE(WaitFor([&] { return Trained(then + 1); })) << learner->Log();
  learner->Signal(SIGTERM);
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), ExitOfSignal(SIGTERM)) << learner->Log();
}

TEST_F(LearnerStop, AStopOfAnyRankStopsAndSavesTheRun) {
  WriteConfig(100000);
  const auto rank0 = Learner(0, 2), rank1 = Learner(1, 2);
  const auto worker = Worker();
  ASSERT_TRUE(WaitFor([&] { return Trained(1); })) << rank0->Log();
  rank1->Signal(SIGTERM);
  EXPECT_EQ(rank0->Wait(absl::Seconds(60)), ExitOfSignal(SIGTERM)) << rank0->Log();
  EXPECT_EQ(rank1->Wait(absl::Seconds(20)), ExitOfSignal(SIGTERM)) << rank1->Log();
  EXPECT_THAT(rank0->Log(), HasSubstr("rank 1 was told to stop by signal 15"));
  ASSERT_EQ(Checkpoints().size(), 1U);
  EXPECT_THAT(Checkpoints()[0], EndsWith(absl::StrCat(Metrics().back()["step"].get<int64_t>())));
}

TEST_F(LearnerStop, AStopWhileARankHangsLosesNoStepThatIsDone) {
  WriteConfig(100000);
  const auto rank0 = Learner(0, 2), rank1 = Learner(1, 2);
  const auto worker = Worker();
  ASSERT_TRUE(WaitFor([&] { return Trained(1); })) << rank0->Log();
  rank1->Signal(SIGSTOP);
  rank0->Signal(SIGTERM);
  EXPECT_EQ(rank0->Wait(absl::Seconds(60)), ExitOfSignal(SIGTERM)) << rank0->Log();
  ASSERT_EQ(Checkpoints().size(), 1U) << rank0->Log();
  EXPECT_THAT(Checkpoints()[0], EndsWith(absl::StrCat(Metrics().back()["step"].get<int64_t>())));
}

TEST_F(LearnerStop, AllRanksOfAStoppedRunSayThatItIsNotDone) {
  WriteConfig(100000);
  const auto rank0 = Learner(0, 2), rank1 = Learner(1, 2);
  const auto worker = Worker();
  ASSERT_TRUE(WaitFor([&] { return Trained(1); })) << rank0->Log();
  rank0->Signal(SIGTERM);
  EXPECT_EQ(rank0->Wait(absl::Seconds(60)), ExitOfSignal(SIGTERM)) << rank0->Log();
  EXPECT_EQ(rank1->Wait(absl::Seconds(20)), ExitOfSignal(SIGTERM)) << rank1->Log();
}

}  // namespace
}  // namespace cohort

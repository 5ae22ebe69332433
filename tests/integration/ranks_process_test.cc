// Several real ranks: how they meet, whom they let in, and what is said of one that goes away or
// stands still.
#include "absl/strings/match.h"
#include "common/base/rng.h"
#include "tests/integration/learner_process.h"

namespace cohort {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

class RanksProcess : public LearnerProcess {
 protected:
  // Whatever bytes a stranger may send to the ranks' store.
  void SendGarbage(int connections) const {
    CounterRng rng(5);
    for (int i = 0; i < connections; ++i) {
      const int fd = socket(AF_INET, SOCK_STREAM, 0);
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_port = htons(static_cast<uint16_t>(store_port_));
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
        std::string bytes = i % 2 == 0 ? "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" : "";
        for (int byte = 0; byte < 512; ++byte) bytes.push_back(static_cast<char>(rng.Below(256)));
        (void)!send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      }
      close(fd);
    }
  }

  bool Says(const Process& process, const std::string& text) {
    return WaitFor([&] { return absl::StrContains(process.Log(), text); }, absl::Seconds(40));
  }
};

TEST_F(RanksProcess, ALateRankIsWaitedForByNameAndRanksOfAnotherKindAreRefused) {
  WriteConfig(2);
  const auto rank2 = Learner(2, 3);
  EXPECT_TRUE(Says(*rank2, "waiting for rank 0 and its store at 127.0.0.1")) << rank2->Log();
  const auto rank0 = Learner(0, 3);
  EXPECT_TRUE(Says(*rank0, "waiting for ranks 1 of 3")) << rank0->Log();
  const auto world = Learner(1, 2);
  EXPECT_NE(world->Wait(absl::Seconds(30)), 0);
  EXPECT_THAT(world->Log(), HasSubstr("rank 1 was started for 2 ranks, rank 0 for 3"));
  const auto run = Learner(1, 3, {"--set", "rollout.temperature=0.5"});
  EXPECT_NE(run->Wait(absl::Seconds(30)), 0);
  EXPECT_THAT(run->Log(), HasSubstr("is of another run"));
  SendGarbage(50);
  const auto rank1 = Learner(1, 3);
  const auto worker = Worker();
  EXPECT_EQ(rank0->Wait(absl::Seconds(120)), 0) << rank0->Log();
  EXPECT_EQ(rank1->Wait(absl::Seconds(20)), 0) << rank1->Log();
  EXPECT_EQ(rank2->Wait(absl::Seconds(20)), 0) << rank2->Log();
  EXPECT_THAT(rank0->Log(), Not(HasSubstr("went away")));
}

TEST_F(RanksProcess, AKilledRankIsNamedByTheOthersWithinSeconds) {
  WriteConfig(100000);
  const auto rank0 = Learner(0, 3), rank1 = Learner(1, 3), rank2 = Learner(2, 3);
  const auto worker = Worker();
  ASSERT_TRUE(WaitFor([&] { return Trained(1); })) << rank0->Log();
  SendGarbage(20);
  rank1->Signal(SIGKILL);
  const absl::Time start = absl::Now();
  EXPECT_NE(rank0->Wait(absl::Seconds(60)), 0) << rank0->Log();
  EXPECT_NE(rank2->Wait(absl::Seconds(60)), 0) << rank2->Log();
  RecordProperty("seconds", static_cast<int>(absl::ToInt64Seconds(absl::Now() - start)));
  EXPECT_LT(absl::Now() - start, absl::Seconds(20));
  const char* named = "rank 1 at [^ ]+ pid [0-9]+ went away, last in ";
  EXPECT_THAT(rank0->Log(), ContainsRegex(named));
  EXPECT_THAT(rank2->Log(), ContainsRegex(named));
  EXPECT_FALSE(Checkpoints().empty()) << "the steps before the failed one are lost";
}

TEST_F(RanksProcess, RankZeroEndsAlsoWhileItWaitsForWorkers) {
  WriteConfig(100000);
  const auto rank0 = Learner(0, 2), rank1 = Learner(1, 2);
  Address();  // no worker will come
  rank1->Signal(SIGKILL);
  const absl::Time start = absl::Now();
  EXPECT_EQ(rank0->Wait(absl::Seconds(60)), 1) << rank0->Log();
  EXPECT_LT(absl::Now() - start, absl::Seconds(20));
  EXPECT_THAT(ErrorLines(rank0->Log()).back(),
              ContainsRegex("rank 1 at [^ ]+ pid [0-9]+ went away"));
}

TEST_F(RanksProcess, AStoppedRankIsNamedAndIsBackWhenItGoesOn) {
  WriteConfig(100000);
  const std::vector<std::string> soon = {"--set", "learner.rank_silence_seconds=3"};
  const auto rank0 = Learner(0, 2, soon), rank1 = Learner(1, 2, soon);
  const auto worker = Worker();
  ASSERT_TRUE(WaitFor([&] { return Trained(1); })) << rank0->Log();
  rank1->Signal(SIGSTOP);
  EXPECT_TRUE(Says(*rank0, "has been silent for ")) << rank0->Log();
  EXPECT_THAT(rank0->Log(), ContainsRegex("rank 1 at [^ ]+ pid [0-9]+ has been silent for [34] s"));
  const size_t before = Metrics().size();
  rank1->Signal(SIGCONT);
  EXPECT_TRUE(Says(*rank0, "is back after")) << rank0->Log();
  EXPECT_TRUE(WaitFor([&] { return Metrics().size() > before + 1; })) << "it goes on";
  rank1->Signal(SIGKILL);
  EXPECT_NE(rank0->Wait(absl::Seconds(60)), 0);
}

TEST_F(RanksProcess, ARankThatStaysStoppedEndsTheRunAndIsNamed) {
  WriteConfig(100000, "");
  const std::vector<std::string> soon = {"--set", "learner.rank_silence_seconds=2", "--set",
                                         "learner.step_timeout_seconds=3"};
  // The collective's time-out is 2 * 3 + 60 s: the slowest test here.
  const auto rank0 = Learner(0, 2, soon), rank1 = Learner(1, 2, soon);
  const auto worker = Worker();
  ASSERT_TRUE(WaitFor([&] { return Trained(1); })) << rank0->Log();
  rank1->Signal(SIGSTOP);
  EXPECT_EQ(rank0->Wait(absl::Seconds(120)), 1) << rank0->Log();
  EXPECT_THAT(ErrorLines(rank0->Log()).back(), HasSubstr("rank 1 at ")) << rank0->Log();
  EXPECT_FALSE(Checkpoints().empty());
}

TEST_F(RanksProcess, WhenRankZeroIsKilledTheOtherEndsAndNamesIt) {
  WriteConfig(100000);
  const auto rank0 = Learner(0, 2), rank1 = Learner(1, 2);
  const auto worker = Worker();
  ASSERT_TRUE(WaitFor([&] { return Trained(1); })) << rank0->Log();
  rank0->Signal(SIGKILL);
  const absl::Time start = absl::Now();
  EXPECT_NE(rank1->Wait(absl::Seconds(60)), 0) << rank1->Log();
  EXPECT_LT(absl::Now() - start, absl::Seconds(20));
  EXPECT_THAT(rank1->Log(), HasSubstr("rank 0 with the store at 127.0.0.1"));
}

TEST_F(RanksProcess, AnUnknownInterfaceIsRefusedWithThoseThatExist) {
  WriteConfig(2);
  const auto rank0 = Learner(0, 2, {"--interface", "nic7"});
  EXPECT_NE(rank0->Wait(absl::Seconds(30)), 0);
  EXPECT_THAT(rank0->Log(), AllOf(HasSubstr("--interface"), HasSubstr("lo"), HasSubstr("nic7")));
}

}  // namespace
}  // namespace cohort

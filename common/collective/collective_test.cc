#include "common/collective/collective.h"

#include <ATen/ATen.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <thread>

#include "absl/synchronization/notification.h"
#include "common/base/status_matchers.h"
#include "common/collective/faulty_collective.h"

namespace cohort {
namespace {

using testing::HasSubstr;

int FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  close(fd);
  return ntohs(address.sin_port);
}

C10dOptions Options(int rank, int world, int port, absl::Duration timeout) {
  C10dOptions options;
  options.rank = rank;
  options.world_size = world;
  options.store_host = "127.0.0.1";
  options.store_port = port;
  options.timeout = timeout;
  return options;
}

// Runs `body` once per rank, each in a thread of its own.
void OnRanks(int world, absl::Duration timeout, const std::function<void(Collective&)>& body) {
  const int port = FreePort();
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world; ++rank) {
    threads.emplace_back([&, rank] {
      auto collective = MakeC10dCollective(Options(rank, world, port, timeout));
      COHORT_ASSERT_OK(collective);
      body(**collective);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(LocalCollective, LeavesEverythingAsItIs) {
  auto collective = MakeLocalCollective();
  at::Tensor tensor = at::ones({3});
  COHORT_EXPECT_OK(collective->AllReduceSum(tensor, "sum"));
  EXPECT_EQ(tensor.sum().item<float>(), 3);
  std::string bytes = "abc";
  COHORT_EXPECT_OK(collective->BroadcastBytes(bytes, 0, "bytes"));
  EXPECT_EQ(bytes, "abc");
}

TEST(C10dCollective, ThreeRanksSumAndBroadcast) {
  OnRanks(3, absl::Seconds(20), [](Collective& collective) {
    at::Tensor tensor = at::full({1000}, 1.0 + collective.rank(), at::kDouble);
    COHORT_ASSERT_OK(collective.AllReduceSum(tensor, "sum"));
    EXPECT_EQ(tensor.min().item<double>(), 6.0);
    EXPECT_EQ(tensor.max().item<double>(), 6.0);
    std::string bytes = collective.rank() == 1 ? std::string("a\0b", 3) : "";
    COHORT_ASSERT_OK(collective.BroadcastBytes(bytes, 1, "bytes"));
    EXPECT_EQ(bytes, std::string("a\0b", 3));
    bytes = collective.rank() == 1 ? "" : "old";
    COHORT_ASSERT_OK(collective.BroadcastBytes(bytes, 1, "empty"));
    EXPECT_EQ(bytes, "");
    COHORT_ASSERT_OK(collective.Barrier("end"));
  });
}

TEST(C10dCollective, AHangingRankIsATimeOutThatNamesOperationAndRank) {
  OnRanks(2, absl::Seconds(2), [](Collective& collective) {
    COHORT_ASSERT_OK(collective.Barrier("start"));
    if (collective.rank() == 1) {
      // This rank never makes the call; it only outlives the other one's wait.
      FaultyCollective hang(MakeLocalCollective(),
                            {0, CollectiveFault::Kind::kHang, absl::Seconds(4)});
      EXPECT_THAT(hang.Barrier("hang"),
                  StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("hang")));
      return;
    }
    const absl::Time start = absl::Now();
    at::Tensor tensor = at::ones({10});
    const absl::Status status = collective.AllReduceSum(tensor, "gradients");
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("gradients")));
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("rank 0")));
    EXPECT_LT(absl::Now() - start, absl::Seconds(6));
  });
}

TEST(C10dCollective, AbortOfOneRankFailsTheOthersSoon) {
  OnRanks(2, absl::Seconds(60), [](Collective& collective) {
    COHORT_ASSERT_OK(collective.Barrier("start"));
    if (collective.rank() == 1) {
      collective.Abort();
      EXPECT_FALSE(collective.Barrier("after abort").ok());
      return;
    }
    const absl::Time start = absl::Now();
    EXPECT_FALSE(collective.Barrier("end").ok());
    EXPECT_LT(absl::Now() - start, absl::Seconds(10));
  });
}

TEST(C10dCollective, AbortFromAnotherThreadEndsAPendingCall) {
  absl::Notification returned;
  OnRanks(2, absl::Seconds(60), [&](Collective& collective) {
    COHORT_ASSERT_OK(collective.Barrier("start"));
    if (collective.rank() == 1) {  // never joins the call of rank 0
      returned.WaitForNotificationWithTimeout(absl::Seconds(20));
      EXPECT_FALSE(collective.Barrier("after").ok());
      return;
    }
    std::thread aborter([&] { collective.Abort(); });
    const absl::Time start = absl::Now();
    EXPECT_FALSE(collective.Barrier("never").ok());
    EXPECT_LT(absl::Now() - start, absl::Seconds(10));
    aborter.join();
    returned.Notify();
  });
}

// Exit codes of a child: 0 as expected, others say what went differently.
int RankThatLosesItsPeer(int port) {
  auto collective = MakeC10dCollective(Options(0, 2, port, absl::Seconds(30)));
  if (!collective.ok()) return 2;
  at::Tensor tensor = at::ones({1 << 20});
  const absl::Time start = absl::Now();
  absl::Status status;
  while (status.ok() && absl::Now() - start < absl::Seconds(40)) {
    status = (*collective)->AllReduceSum(tensor, "gradients");
  }
  if (status.ok()) return 3;
  if (status.message().find("gradients on rank 0") == absl::string_view::npos) return 4;
  return absl::Now() - start < absl::Seconds(35) ? 0 : 5;
}

int RankThatIsKilled(int port, int ready_fd) {
  auto collective = MakeC10dCollective(Options(1, 2, port, absl::Seconds(30)));
  if (!collective.ok()) return 2;
  at::Tensor tensor = at::ones({1 << 20});
  for (int call = 0; (*collective)->AllReduceSum(tensor, "gradients").ok(); ++call) {
    if (call == 2 && write(ready_fd, "x", 1) != 1) return 3;
  }
  return 4;
}

TEST(C10dCollective, AKilledProcessIsAnErrorForTheOtherNotAHang) {
  const int port = FreePort();
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t survivor = fork();
  if (survivor == 0) _exit(RankThatLosesItsPeer(port));
  const pid_t victim = fork();
  if (victim == 0) _exit(RankThatIsKilled(port, ready[1]));
  close(ready[1]);
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  kill(victim, SIGKILL);
  int status = 0;
  waitpid(victim, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status));
  waitpid(survivor, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  close(ready[0]);
}

TEST(C10dCollective, AMissingRankIsATimeOut) {
  const absl::Time start = absl::Now();
  EXPECT_THAT(MakeC10dCollective(Options(0, 2, FreePort(), absl::Seconds(2))),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("2 ranks")));
  EXPECT_LT(absl::Now() - start, absl::Seconds(15));
}

TEST(C10dCollective, RefusesOptionsThatMakeNoSense) {
  EXPECT_THAT(MakeC10dCollective(Options(2, 2, 1234, absl::Seconds(1))),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("rank 2 of world 2")));
  EXPECT_THAT(MakeC10dCollective(Options(0, 2, 0, absl::Seconds(1))),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("HOST:PORT")));
}

TEST(FaultyCollective, FailsAtTheCallItIsToldTo) {
  FaultyCollective faulty(MakeLocalCollective(), {1, CollectiveFault::Kind::kFail});
  COHORT_EXPECT_OK(faulty.Barrier("first"));
  EXPECT_THAT(faulty.Barrier("second"),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("second")));
  EXPECT_FALSE(faulty.Barrier("third").ok());
}

}  // namespace
}  // namespace cohort

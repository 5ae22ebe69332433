#include "common/collective/collective.h"

#include <ATen/ATen.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/notification.h"
#include "common/base/status_matchers.h"
#include "common/collective/faulty_collective.h"

namespace cohort {
namespace {

using testing::AllOf;
using testing::ElementsAre;
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
      // The word may come while the first of them meets the call that was given up.
      const bool first = collective.Barrier("after").ok();
      EXPECT_FALSE(first && collective.Barrier("after that").ok());
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
  if (!absl::StrContains(status.message(), "gradients on rank 0: rank 1 at ")) return 4;
  if (!absl::StrContains(status.message(), "went away")) return 6;
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

// "DeathTest": it runs before the others, since gRPC does not survive a fork.
TEST(C10dCollectiveDeathTest, AKilledProcessIsAnErrorForTheOtherNotAHang) {
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
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       AllOf(HasSubstr("2 ranks"), HasSubstr("ranks 1 of 2 did not come"))));
  EXPECT_LT(absl::Now() - start, absl::Seconds(15));
}

TEST(C10dCollective, AnUnknownInterfaceIsRefusedWithThoseThatExist) {
  C10dOptions options = Options(0, 2, FreePort(), absl::Seconds(2));
  options.interface = "nic7";
  EXPECT_THAT(MakeC10dCollective(options),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("one of "), HasSubstr("lo"), HasSubstr("\"nic7\""))));
}

// Local addresses of this process's listening sockets, as /proc/net/tcp has them ("0100007F").
std::set<std::string> Listening() {
  std::set<std::string> inodes, addresses;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    const std::string link = std::filesystem::read_symlink(entry.path(), error).string();
    if (absl::StartsWith(link, "socket:[")) inodes.insert(link.substr(8, link.size() - 9));
  }
  for (const char* table : {"/proc/self/net/tcp", "/proc/self/net/tcp6"}) {
    std::ifstream lines(table);
    for (std::string line; std::getline(lines, line);) {
      const std::vector<std::string> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
      constexpr size_t kInode = 9;
      if (fields.size() <= kInode || fields[3] != "0A" || !inodes.contains(fields[kInode]))
        continue;
      addresses.insert(fields[1].substr(0, fields[1].find(':')));
    }
  }
  return addresses;
}

TEST(C10dCollective, ListensOnTheAskedAddressesAlone) {
  const auto own = [](const std::string& interface) {
    const int port = FreePort();
    std::vector<std::thread> threads;
    std::set<std::string> found;
    for (int rank = 0; rank < 2; ++rank) {
      threads.emplace_back([&, rank] {
        C10dOptions options = Options(rank, 2, port, absl::Seconds(20));
        options.interface = interface;
        auto collective = MakeC10dCollective(options);
        COHORT_ASSERT_OK(collective);
        COHORT_ASSERT_OK((*collective)->Barrier("met"));
        if (rank == 0) found = Listening();
        COHORT_ASSERT_OK((*collective)->Barrier("end"));
      });
    }
    for (std::thread& thread : threads) thread.join();
    return found;
  };
  EXPECT_THAT(own(""), ElementsAre("0100007F"));
  EXPECT_THAT(own("lo"), ElementsAre("0100007F"));
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

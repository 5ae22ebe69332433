#include "common/base/host_port.h"

#include <gtest/gtest.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "common/base/status_matchers.h"

namespace cohort {
namespace {

TEST(HostPortTest, SplitsAtTheLastColon) {
  COHORT_ASSERT_OK_AND_ASSIGN(const HostPort name, ParseHostPort("learner.svc:7000"));
  EXPECT_EQ(name.host, "learner.svc");
  EXPECT_EQ(name.port, 7000);
  COHORT_ASSERT_OK_AND_ASSIGN(const HostPort six, ParseHostPort("[::1]:0"));
  EXPECT_EQ(six.host, "::1");
  EXPECT_EQ(six.port, 0);
}

TEST(HostPortTest, SaysWhatItFound) {
  for (const char* bad : {"", "nowhere", ":80", "a:", "a:x", "a:-1", "a:65536"}) {
    EXPECT_THAT(ParseHostPort(bad),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         testing::AllOf(testing::HasSubstr("HOST:PORT"), testing::HasSubstr(bad))))
        << bad;
  }
}

TEST(HostPortTest, KnowsTheAddressesOfThisMachineAlone) {
  for (const char* here : {"127.0.0.1", "127.1.2.3", "::1", "localhost", "LocalHost"}) {
    EXPECT_TRUE(IsLoopbackHost(here)) << here;
  }
  for (const char* other : {"", "0.0.0.0", "::", "128.0.0.1", "127.0.0.1.evil.example",
                            "localhost.evil.example", "learner"}) {
    EXPECT_FALSE(IsLoopbackHost(other)) << other;
  }
}

TEST(HostPortTest, TellsAddressesFromNames) {
  for (const char* address : {"127.0.0.1", "10.1.2.3", "::1", "2001:db8::7"}) {
    EXPECT_TRUE(IsIpAddress(address)) << address;
  }
  for (const char* name : {"", "localhost", "10.1.2", "10.1.2.3.example", "[::1]"}) {
    EXPECT_FALSE(IsIpAddress(name)) << name;
  }
}

// The outcome of connect to this port of this machine.
bool Reachable(const std::string& host, int port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), absl::StrCat(port).c_str(), &hints, &found) != 0) return false;
  const int fd = socket(found->ai_family, SOCK_STREAM, 0);
  const bool reached = fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) == 0;
  freeaddrinfo(found);
  if (fd >= 0) close(fd);
  return reached;
}

TEST(HostPortTest, EveryAddressMeansBothFamilies) {
  COHORT_ASSERT_OK_AND_ASSIGN(const int socket, ListenOn({"0.0.0.0", 0}));
  EXPECT_TRUE(Reachable("127.0.0.1", PortOf(socket)));
  COHORT_ASSERT_OK_AND_ASSIGN(const int one, ListenOn({"127.0.0.1", 0}));
  EXPECT_TRUE(Reachable("127.0.0.1", PortOf(one)));
  const auto six = ListenOn({"::1", 0});
  EXPECT_TRUE(!six.ok() || Reachable("::1", PortOf(socket)));  // where the system has the family
  EXPECT_THAT(ListenOn({"127.0.0.1", PortOf(one)}),
              StatusIs(absl::StatusCode::kAlreadyExists, testing::HasSubstr("in use")));
  EXPECT_THAT(ListenOn({"no.such.host.invalid", 0}),
              StatusIs(absl::StatusCode::kInvalidArgument, testing::HasSubstr("no.such.host")));
  close(socket), close(one);
  if (six.ok()) close(*six);
}

}  // namespace
}  // namespace cohort

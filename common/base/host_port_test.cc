#include "common/base/host_port.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace cohort

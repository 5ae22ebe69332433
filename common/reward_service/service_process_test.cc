#include "common/reward_service/service_process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <thread>

#include "absl/strings/numbers.h"
#include "absl/time/clock.h"
#include "common/base/status_matchers.h"

namespace cohort {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr char kField[] = "sources[0].command";

std::vector<std::string> Shell(const std::string& script) { return {"sh", "-c", script}; }

TEST(ServiceProcessTest, ItsAddressIsTheOneThatItWrites) {
  const auto process = ServiceProcess::Start(
      kField, Shell("echo 127.0.0.1:7 > $COHORT_REWARD_ADDRESS_FILE; sleep 1000"),
      absl::Seconds(30));
  ASSERT_THAT(process, IsOk());
  EXPECT_EQ((*process)->address(), "127.0.0.1:7");
  EXPECT_THAT((*process)->Alive(), IsOk());
}

TEST(ServiceProcessTest, OneThatDoesNotStartIsAnErrorThatSaysWhy) {
  EXPECT_THAT(ServiceProcess::Start(kField, {"no-such-program"}, absl::Seconds(30)),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr(kField), HasSubstr("no-such-program"))));
  EXPECT_THAT(ServiceProcess::Start(kField, Shell("exit 3"), absl::Seconds(30)),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("exit code 3")));
  EXPECT_THAT(ServiceProcess::Start(kField, Shell("sleep 1000"), absl::Milliseconds(200)),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("start_seconds")));
  EXPECT_THAT(ServiceProcess::Start(
                  kField, Shell("echo 10.0.0.1:7 > $COHORT_REWARD_ADDRESS_FILE; sleep 1000"),
                  absl::Seconds(30)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("10.0.0.1:7")));
}

TEST(ServiceProcessTest, OneThatDiesIsNoticed) {
  const TemporaryFolder folder;
  const std::string gate = folder.path() + "/go";
  const auto process =
      ServiceProcess::Start(kField,
                            Shell("echo 127.0.0.1:7 > $COHORT_REWARD_ADDRESS_FILE; until [ -e " +
                                  gate + " ]; do sleep 0.01; done; exit 5"),
                            absl::Seconds(30));
  ASSERT_THAT(process, IsOk());
  EXPECT_THAT((*process)->Alive(), IsOk());
  COHORT_ASSERT_OK(WriteFileAtomic(gate, ""));
  const absl::Time deadline = absl::Now() + absl::Seconds(30);
  while ((*process)->Alive().ok() && absl::Now() < deadline) std::this_thread::yield();
  EXPECT_THAT((*process)->Alive(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                            AllOf(HasSubstr(kField), HasSubstr("exit code 5"))));
}

TEST(ServiceProcessTest, ItEndsWithItsOwner) {
  const TemporaryFolder folder;
  const std::string file = folder.path() + "/pid";
  pid_t pid = 0;
  {
    const auto process = ServiceProcess::Start(
        kField,
        Shell("echo $$ > " + file +
              "; echo 127.0.0.1:7 > $COHORT_REWARD_ADDRESS_FILE; exec sleep 1000"),
        absl::Seconds(30));
    ASSERT_THAT(process, IsOk());
    ASSERT_TRUE(absl::SimpleAtoi(ReadFile(file).value_or(""), &pid));
    EXPECT_EQ(kill(pid, 0), 0);
  }
  EXPECT_NE(kill(pid, 0), 0);
}

}  // namespace
}  // namespace cohort

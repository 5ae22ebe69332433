#include "common/base/exit_code.h"

#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "common/base/file.h"
#include "common/base/status_matchers.h"

namespace cohort {
namespace {

using testing::HasSubstr;

TEST(ExitCode, FollowsFromTheStatus) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCodeOf(absl::InternalError("x")), 1);
  EXPECT_EQ(ExitCodeOf(BadSetup(absl::InternalError("x"))), 42);
  EXPECT_EQ(ExitCodeOf(BadSetup(absl::OkStatus())), 0);
  EXPECT_EQ(ExitCodeOf(StoppedBySignal(SIGTERM, "stopped")), 143);
  EXPECT_EQ(ExitCodeOf(StoppedBySignal(SIGINT, "stopped")), 130);
  EXPECT_EQ(SignalOfExit(143), SIGTERM);
  EXPECT_EQ(SignalOfExit(42), 0);
}

TEST(ExitCode, WhatReadingGivesIsBadInputUnlessAnotherTryMayEndOtherwise) {
  EXPECT_TRUE(IsBadSetup(BadInput(absl::NotFoundError("no model"))));
  EXPECT_TRUE(IsBadSetup(BadInput(absl::InvalidArgumentError("cut"))));
  EXPECT_FALSE(IsBadSetup(BadInput(absl::ResourceExhaustedError("disk full"))));
  EXPECT_FALSE(IsBadSetup(BadInput(absl::UnavailableError("device in use"))));
  EXPECT_EQ(ExitCodeOf(BadInput(absl::OkStatus())), 0);
}

TEST(ExitCode, TextMayBeAddedWithoutLosingIt) {
  const absl::Status longer = WithText(BadSetup(absl::NotFoundError("x")), "x, in full");
  EXPECT_EQ(ExitCodeOf(longer), 42);
  EXPECT_THAT(longer, StatusIs(absl::StatusCode::kNotFound, HasSubstr("x, in full")));
}

class TerminationReason : public testing::Test {
 protected:
  void SetUp() override { setenv("COHORT_TERMINATION_LOG", path_.c_str(), 1); }
  void TearDown() override { unsetenv("COHORT_TERMINATION_LOG"); }
  std::string Reason() const { return ReadFile(path_).value_or("no file"); }

  TemporaryFolder folder_;
  const std::string path_ = folder_.path() + "/termination-log";
};

TEST_F(TerminationReason, IsOneBoundedLine) {
  COHORT_ASSERT_OK(WriteFileAtomic(path_, "what an earlier container left, which was longer\n"));
  WriteTerminationReason("model.path: nothing\nthere");
  EXPECT_EQ(Reason(), "model.path: nothing there\n");
  WriteTerminationReason(std::string(100000, 'x'));
  EXPECT_EQ(Reason().size(), 4096U);
}

TEST_F(TerminationReason, MakesNoFile) {
  WriteTerminationReason("x");
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(TerminationReason, IsWhatAProgramSaysLast) {
  COHORT_ASSERT_OK(WriteFileAtomic(path_, ""));
  testing::internal::CaptureStderr();
  EXPECT_EQ(EndOfProgram("cohort-learner", BadSetup(absl::NotFoundError("no model"))), 42);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "cohort-learner: no model\n");
  EXPECT_EQ(Reason(), "cohort-learner: no model\n");
  COHORT_ASSERT_OK(WriteFileAtomic(path_, ""));
  EXPECT_EQ(EndOfProgram("cohort-learner", absl::OkStatus()), 0);
  EXPECT_EQ(Reason(), "");
}

}  // namespace
}  // namespace cohort

#include "common/run_folder/run_lock.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"

namespace cohort {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(RunLock, KeepsOthersOutAndNamesItsOwner) {
  const TemporaryFolder folder;
  COHORT_EXPECT_OK(RunLock::CheckFree(folder.path()));
  {
    COHORT_ASSERT_OK_AND_ASSIGN(const RunLock lock, RunLock::Take(folder.path(), "cohort-learner"));
    const auto in_use = StatusIs(
        absl::StatusCode::kFailedPrecondition,
        AllOf(HasSubstr(absl::StrCat(folder.path(), " is in use by cohort-learner on host ")),
              HasSubstr(absl::StrCat(", process ", getpid(), ", since 2")), HasSubstr("--out")));
    EXPECT_THAT(RunLock::Take(folder.path(), "another").status(), in_use);
    EXPECT_THAT(RunLock::CheckFree(folder.path()), in_use);
  }
  COHORT_EXPECT_OK(RunLock::CheckFree(folder.path()));
  COHORT_EXPECT_OK(RunLock::Take(folder.path(), "another"));
}

TEST(RunLock, IsReleasedWhenItsOwnerIsKilled) {
  const TemporaryFolder folder;
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t owner = fork();
  if (owner == 0) {
    const auto lock = RunLock::Take(folder.path(), "the child");
    const char taken = lock.ok() ? 1 : 0;
    if (write(ready[1], &taken, 1) != 1) _exit(1);
    pause();
    _exit(0);
  }
  char taken = 0;
  ASSERT_EQ(read(ready[0], &taken, 1), 1);
  EXPECT_EQ(taken, 1);
  EXPECT_THAT(RunLock::CheckFree(folder.path()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr(absl::StrCat("the child on host"))));
  kill(owner, SIGKILL);
  ASSERT_EQ(waitpid(owner, nullptr, 0), owner);
  COHORT_EXPECT_OK(RunLock::Take(folder.path(), "the test"));
  close(ready[0]);
  close(ready[1]);
}

TEST(RunLock, NoticesThatItsFolderWasRemovedMovedOrReplaced) {
  const TemporaryFolder outer;
  const std::string folder = outer.path() + "/run", aside = outer.path() + "/aside";
  COHORT_ASSERT_OK(MakeFolders(folder));
  COHORT_ASSERT_OK_AND_ASSIGN(const RunLock lock, RunLock::Take(folder, "the test"));
  COHORT_EXPECT_OK(lock.CheckPlace());
  const auto lost = [&](const char* how) {
    return StatusIs(absl::StatusCode::kFailedPrecondition,
                    AllOf(HasSubstr(folder), HasSubstr(how), HasSubstr("--resume")));
  };
  std::filesystem::rename(folder, aside);
  EXPECT_THAT(lock.CheckPlace(), lost("is gone"));
  {
    COHORT_ASSERT_OK(MakeFolders(folder));
    COHORT_ASSERT_OK_AND_ASSIGN(const RunLock other, RunLock::Take(folder, "another run"));
    EXPECT_THAT(lock.CheckPlace(), lost("is another file"));
  }
  std::filesystem::remove_all(folder);
  std::filesystem::copy(aside, folder);  // as a file system does that numbers its files anew
  COHORT_EXPECT_OK(lock.CheckPlace());
  std::filesystem::remove_all(folder);
  std::filesystem::rename(aside, folder);
  COHORT_EXPECT_OK(lock.CheckPlace());
}

TEST(RunLock, WhatAnOwnerWroteCannotBreakTheLine) {
  const TemporaryFolder folder;
  COHORT_ASSERT_OK_AND_ASSIGN(const RunLock lock, RunLock::Take(folder.path(), "a\nb\x1b[31m"));
  EXPECT_THAT(RunLock::CheckFree(folder.path()),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("in use by a b [31m on")));
}

TEST(RunLock, SaysWhereItIsWeak) {
  EXPECT_EQ(internal::WeaknessOfLocks(0x6969), "") << "NFS";
  EXPECT_EQ(internal::WeaknessOfLocks(0xef53), "") << "ext4";
  EXPECT_THAT(internal::WeaknessOfLocks(0x65735546), HasSubstr("FUSE"));
  EXPECT_THAT(internal::WeaknessOfLocks(0x01021997), HasSubstr("9p"));
  for (const int error : {ENOLCK, ENOSYS, EOPNOTSUPP}) EXPECT_TRUE(internal::CannotLock(error));
  EXPECT_FALSE(internal::CannotLock(EIO));
}

}  // namespace
}  // namespace cohort

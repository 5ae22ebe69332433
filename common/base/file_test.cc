#include "common/base/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "common/base/status_matchers.h"

namespace cohort {
namespace {

using ::testing::HasSubstr;

TEST(FileTest, WritesAndReadsBack) {
  TemporaryFolder folder;
  const std::string path = folder.path() + "/f";
  COHORT_ASSERT_OK(WriteFileAtomic(path, "one"));
  COHORT_ASSERT_OK(WriteFileAtomic(path, std::string("tw\0o", 4)));
  COHORT_ASSERT_OK_AND_ASSIGN(std::string content, ReadFile(path));
  EXPECT_EQ(content, std::string("tw\0o", 4));
  EXPECT_FALSE(std::filesystem::exists(path + ".tmp"));
}

TEST(FileTest, NamesTheMissingFile) {
  EXPECT_THAT(ReadFile("/nonexistent/file"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nonexistent/file")));
}

TEST(FileTest, ARegularFileIsNoPipeNoDeviceAndNotTooLarge) {
  TemporaryFolder folder;
  const std::string path = folder.path() + "/f";
  COHORT_ASSERT_OK(WriteFileAtomic(path, "12345"));
  std::filesystem::create_symlink(path, folder.path() + "/link");
  EXPECT_EQ(ReadRegularFile(folder.path() + "/link", 5).value_or(""), "12345");
  EXPECT_THAT(ReadRegularFile(path, 4),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most 4 bytes")));
  ASSERT_EQ(mkfifo((folder.path() + "/pipe").c_str(), 0600), 0);
  EXPECT_THAT(ReadRegularFile(folder.path() + "/pipe", 5).status().message(), HasSubstr("pipe"));
  EXPECT_THAT(ReadRegularFile("/dev/zero", 5).status().message(), HasSubstr("device"));
  EXPECT_THAT(ReadRegularFile(folder.path(), 5).status().message(), HasSubstr("folder"));
}

TEST(FileTest, ReportsAFullDisk) {
  EXPECT_EQ(ErrnoStatus(ENOSPC, "x").code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace cohort

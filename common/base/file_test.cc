#include "common/base/file.h"

#include <gtest/gtest.h>

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

TEST(FileTest, ReportsAFullDisk) {
  EXPECT_EQ(ErrnoStatus(ENOSPC, "x").code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace cohort

#include "common/base/find_program.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>

#include "common/base/file.h"

namespace cohort {
namespace {

class FindProgramTest : public testing::Test {
 protected:
  FindProgramTest() : path_(std::getenv("PATH") == nullptr ? "" : std::getenv("PATH")) {}
  ~FindProgramTest() override { setenv("PATH", path_.c_str(), 1); }

  std::string Make(const std::string& name, mode_t mode) const {
    const std::string path = folder_.path() + "/" + name;
    std::ofstream(path) << "#!/bin/sh\n";
    chmod(path.c_str(), mode);
    return path;
  }

  const TemporaryFolder folder_;
  const std::string path_;
};

TEST_F(FindProgramTest, TakesTheFirstOfPathThatMayBeRun) {
  const std::string program = Make("reward-judge", 0755);
  Make("notes", 0644);
  setenv("PATH", (":/nowhere:" + folder_.path()).c_str(), 1);
  EXPECT_EQ(FindProgram("reward-judge"), program);
  EXPECT_EQ(FindProgram("notes"), std::nullopt);
  EXPECT_EQ(FindProgram("no-such-program"), std::nullopt);
  unsetenv("PATH");
  EXPECT_EQ(FindProgram("reward-judge"), std::nullopt);
}

TEST_F(FindProgramTest, APathIsTakenAsItIs) {
  const std::string program = Make("reward-judge", 0755);
  unsetenv("PATH");
  EXPECT_EQ(FindProgram(program), program);
  EXPECT_EQ(FindProgram(Make("notes", 0644)), std::nullopt);
}

}  // namespace
}  // namespace cohort

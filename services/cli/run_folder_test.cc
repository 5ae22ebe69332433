#include "services/cli/run_folder.h"

#include <fstream>

#include "common/base/file.h"
#include "common/base/status_matchers.h"

namespace cohort {
namespace {

using testing::HasSubstr;

class RunFolderTest : public testing::Test {
 protected:
  v1::RunConfig Config(const std::vector<std::string>& overrides = {}) {
    absl::StatusOr<v1::RunConfig> config =
        ParseConfig("model: {path: m}\ndata: {task: addition-1}\n", "a.yaml", overrides);
    EXPECT_THAT(config, IsOk());
    config->mutable_run()->set_out(out_);
    ResolveConfig("a", &*config);
    return *std::move(config);
  }

  TemporaryFolder folder_;
  std::string out_ = folder_.path() + "/runs/a";
};

TEST_F(RunFolderTest, IsMadeWithTheResolvedConfiguration) {
  COHORT_ASSERT_OK(PrepareRunFolder(Config(), false));
  COHORT_ASSERT_OK_AND_ASSIGN(v1::RunConfig config, LoadResolvedConfig(out_ + "/config.yaml"));
  EXPECT_EQ(config.run().name(), "a");
}

TEST_F(RunFolderTest, AFailedStartMayBeRepeated) {
  COHORT_ASSERT_OK(PrepareRunFolder(Config(), false));
  std::ofstream(out_ + "/logs/learner-0.log") << "no model\n";
  std::ofstream(out_ + "/metrics.jsonl");
  COHORT_ASSERT_OK(MakeFolders(out_ + "/checkpoints"));
  COHORT_ASSERT_OK(PrepareRunFolder(Config({"run.seed=3"}), false));
}

TEST_F(RunFolderTest, ARunIsNotOverwritten) {
  COHORT_ASSERT_OK(PrepareRunFolder(Config(), false));
  std::ofstream(out_ + "/metrics.jsonl") << "{\"step\":1}\n";
  EXPECT_THAT(PrepareRunFolder(Config(), false).status(),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("continue it with --resume")));
  COHORT_ASSERT_OK(PrepareRunFolder(Config({"run.steps=500", "rollout.workers=7"}), true));
}

TEST_F(RunFolderTest, ResumeNeedsARun) {
  EXPECT_THAT(PrepareRunFolder(Config(), true).status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no run in")));
}

TEST_F(RunFolderTest, ResumeNamesTheFieldThatDiffers) {
  COHORT_ASSERT_OK(PrepareRunFolder(Config(), false));
  std::ofstream(out_ + "/metrics.jsonl") << "{\"step\":1}\n";
  EXPECT_THAT(
      PrepareRunFolder(Config({"rollout.temperature=0.5"}), true).status(),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("rollout.temperature is 0.5 now")));
}

TEST_F(RunFolderTest, AResumedRunKeepsTheDtypeThatAutoBecame) {
  COHORT_ASSERT_OK(PrepareRunFolder(Config({"model.dtype=bf16"}), false));
  std::ofstream(out_ + "/metrics.jsonl") << "{\"step\":1}\n";
  COHORT_ASSERT_OK(PrepareRunFolder(Config({"model.dtype=auto"}), true));
  COHORT_ASSERT_OK_AND_ASSIGN(v1::RunConfig config, LoadResolvedConfig(out_ + "/config.yaml"));
  EXPECT_EQ(config.model().dtype(), "bf16");
}

TEST_F(RunFolderTest, TwoRunsCannotShareAFolder) {
  COHORT_ASSERT_OK_AND_ASSIGN(RunFolderLock lock, PrepareRunFolder(Config(), false));
  EXPECT_THAT(PrepareRunFolder(Config(), false).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("in use by another")));
}

TEST_F(RunFolderTest, AFolderThatCannotBeMadeIsNamed) {
  out_ = "/proc/no/such";
  EXPECT_THAT(std::string(PrepareRunFolder(Config(), false).status().message()),
              HasSubstr("/proc/no"));
}

TEST(LastLinesTest, GivesTheEndOfAFile) {
  TemporaryFolder folder;
  const std::string path = folder.path() + "/log";
  std::ofstream(path) << "1\n2\n3\n";
  EXPECT_EQ(LastLines(path, 2), "2\n3\n");
  EXPECT_EQ(LastLines(path, 20), "1\n2\n3\n");
  EXPECT_EQ(LastLines(path + "x", 2), "");
}

}  // namespace
}  // namespace cohort

#include "common/run_folder/run_folder.h"

#include <filesystem>
#include <fstream>
#include <utility>
#include <vector>

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

  // A checkpoint that nobody looks into.
  void WriteCheckpoint() {
    COHORT_ASSERT_OK(MakeFolders(out_ + "/checkpoints/step-00000001"));
    std::ofstream(out_ + "/checkpoints/step-00000001/state.json") << "{}";
  }
  static absl::StatusOr<RunLock> Prepare(const v1::RunConfig& config, ResumeMode mode) {
    return PrepareRunFolder(config, mode, "the test");
  }

  TemporaryFolder folder_;
  std::string out_ = folder_.path() + "/runs/a";
};

TEST_F(RunFolderTest, IsMadeWithTheResolvedConfiguration) {
  COHORT_ASSERT_OK(Prepare(Config(), ResumeMode::kNew));
  COHORT_ASSERT_OK_AND_ASSIGN(v1::RunConfig config, LoadResolvedConfig(out_ + "/config.yaml"));
  EXPECT_EQ(config.run().name(), "a");
}

TEST_F(RunFolderTest, AFailedStartMayBeRepeated) {
  COHORT_ASSERT_OK(Prepare(Config(), ResumeMode::kNew));
  std::ofstream(out_ + "/logs/learner-0.log") << "no model\n";
  std::ofstream(out_ + "/metrics.jsonl");
  std::ofstream(out_ + "/secret") << "made before the model is loaded\n";
  COHORT_ASSERT_OK(MakeFolders(out_ + "/checkpoints"));
  COHORT_ASSERT_OK(Prepare(Config({"run.seed=3"}), ResumeMode::kNew));
}

TEST_F(RunFolderTest, ARunIsNotOverwritten) {
  COHORT_ASSERT_OK(Prepare(Config(), ResumeMode::kNew));
  std::ofstream(out_ + "/metrics.jsonl") << "{\"step\":1}\n";
  EXPECT_THAT(Prepare(Config(), ResumeMode::kNew).status(),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("continue it with --resume")));
  COHORT_ASSERT_OK(Prepare(Config({"run.steps=500", "rollout.workers=7"}), ResumeMode::kContinue));
}

TEST_F(RunFolderTest, ResumeNeedsARun) {
  EXPECT_THAT(Prepare(Config(), ResumeMode::kContinue).status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no run in")));
}

TEST_F(RunFolderTest, ResumeNamesTheFieldThatDiffers) {
  COHORT_ASSERT_OK(Prepare(Config(), ResumeMode::kNew));
  std::ofstream(out_ + "/metrics.jsonl") << "{\"step\":1}\n";
  EXPECT_THAT(
      Prepare(Config({"rollout.temperature=0.5"}), ResumeMode::kContinue).status(),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("rollout.temperature is 0.5 now")));
}

TEST_F(RunFolderTest, AResumedRunKeepsTheDtypeThatAutoBecame) {
  COHORT_ASSERT_OK(Prepare(Config({"model.dtype=bf16"}), ResumeMode::kNew));
  std::ofstream(out_ + "/metrics.jsonl") << "{\"step\":1}\n";
  COHORT_ASSERT_OK(Prepare(Config({"model.dtype=auto"}), ResumeMode::kContinue));
  COHORT_ASSERT_OK_AND_ASSIGN(v1::RunConfig config, LoadResolvedConfig(out_ + "/config.yaml"));
  EXPECT_EQ(config.model().dtype(), "bf16");
}

TEST_F(RunFolderTest, AFolderThatIsInUseIsLeftAsItIs) {
  COHORT_ASSERT_OK_AND_ASSIGN(const RunLock lock, Prepare(Config(), ResumeMode::kNew));
  std::ofstream(out_ + "/address") << "127.0.0.1:7000\n";
  const std::string before = ReadFile(out_ + "/config.yaml").value_or("");
  for (const ResumeMode mode : {ResumeMode::kNew, ResumeMode::kContinue, ResumeMode::kAuto}) {
    EXPECT_THAT(Prepare(Config({"run.steps=9"}), mode).status(),
                StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("in use by the test")));
    EXPECT_THAT(OpenRunFolder(out_, mode, "another").status(),
                StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("in use by the test")));
  }
  EXPECT_EQ(ReadFile(out_ + "/config.yaml").value_or(""), before);
  EXPECT_EQ(ReadFile(out_ + "/address").value_or(""), "127.0.0.1:7000\n");
}

TEST_F(RunFolderTest, ARunThatWasStoppedBeforeItsFirstCheckpointIsContinuedFromItsStart) {
  COHORT_ASSERT_OK(Prepare(Config(), ResumeMode::kNew));
  COHORT_ASSERT_OK(Prepare(Config(), ResumeMode::kContinue));
  COHORT_ASSERT_OK(OpenRunFolder(out_, ResumeMode::kContinue, "the test"));
  std::ofstream(out_ + "/metrics.jsonl") << "{\"step\":0}\n";
  COHORT_ASSERT_OK(Prepare(Config(), ResumeMode::kContinue));
}

TEST_F(RunFolderTest, AutoStartsOrContinues) {
  COHORT_ASSERT_OK(Prepare(Config(), ResumeMode::kAuto));
  COHORT_ASSERT_OK(OpenRunFolder(out_, ResumeMode::kAuto, "the test"));
  // Nothing is saved yet: another configuration may start in its place.
  COHORT_ASSERT_OK(Prepare(Config({"rollout.temperature=0.5"}), ResumeMode::kAuto));
  WriteCheckpoint();
  COHORT_ASSERT_OK(Prepare(Config({"rollout.temperature=0.5"}), ResumeMode::kAuto));
  EXPECT_THAT(Prepare(Config(), ResumeMode::kAuto).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("rollout.temperature")));
  COHORT_ASSERT_OK(OpenRunFolder(out_, ResumeMode::kAuto, "the test"));
}

// What one mode refuses is the other's to take, and a folder that auto cannot take has no reason.
TEST_F(RunFolderTest, NoFolderIsRefusedByEveryMode) {
  int folders = 0;
  for (const char* config : {"good", "empty", "missing"}) {
    for (const bool checkpoint : {false, true}) {
      for (const bool metrics : {false, true}) {
        for (const ResumeMode mode : {ResumeMode::kNew, ResumeMode::kContinue, ResumeMode::kAuto}) {
          out_ = folder_.path() + "/runs/" + std::to_string(++folders);
          COHORT_ASSERT_OK(Prepare(Config(), ResumeMode::kNew));
          if (*config == 'e') std::ofstream(out_ + "/config.yaml", std::ios::trunc);
          if (*config == 'm') std::filesystem::remove(out_ + "/config.yaml");
          if (checkpoint) WriteCheckpoint();
          if (metrics) std::ofstream(out_ + "/metrics.jsonl") << "{\"step\":0}\n";
          const bool a_run = checkpoint || metrics;
          const bool takes = mode == ResumeMode::kAuto ||
                             (mode == ResumeMode::kNew ? !a_run : a_run || *config == 'g');
          EXPECT_EQ(Prepare(Config(), mode).ok(), takes)
              << config << checkpoint << metrics << static_cast<int>(mode);
          EXPECT_EQ(ReadFile(out_ + "/config.yaml").value_or("").empty(), !takes && *config != 'g');
        }
      }
    }
  }
}

TEST_F(RunFolderTest, AConfigurationThatIsDamagedIsNamedWithTheWayOut) {
  COHORT_ASSERT_OK(Prepare(Config(), ResumeMode::kNew));
  WriteCheckpoint();
  std::ofstream(out_ + "/config.yaml") << "run: [";
  for (const ResumeMode mode : {ResumeMode::kContinue, ResumeMode::kAuto}) {
    EXPECT_THAT(Prepare(Config(), mode).status().message(),
                testing::AllOf(HasSubstr(out_ + "/config.yaml"), HasSubstr("restore it")));
  }
}

TEST_F(RunFolderTest, OfTheProcessThatTrainsCheckpointsMakeARun) {
  EXPECT_THAT(OpenRunFolder(out_, ResumeMode::kContinue, "the test").status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no run in")));
  EXPECT_FALSE(std::filesystem::exists(out_));
  COHORT_ASSERT_OK(OpenRunFolder(out_, ResumeMode::kNew, "the test"));
  WriteCheckpoint();
  EXPECT_THAT(OpenRunFolder(out_, ResumeMode::kNew, "the test").status(),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("continue it with --resume")));
}

TEST(ResumeMode, IsReadAndPassedOn) {
  for (const auto& [flag, mode] : std::vector<std::pair<std::string, ResumeMode>>{
           {"", ResumeMode::kNew}, {"true", ResumeMode::kContinue}, {"auto", ResumeMode::kAuto}}) {
    COHORT_ASSERT_OK_AND_ASSIGN(const ResumeMode parsed, ParseResume(flag));
    EXPECT_EQ(parsed, mode);
  }
  EXPECT_EQ(ResumeFlag(ResumeMode::kAuto), "--resume=auto");
  EXPECT_EQ(ResumeFlag(ResumeMode::kContinue), "--resume");
  EXPECT_EQ(ResumeFlag(ResumeMode::kNew), "");
  EXPECT_THAT(ParseResume("always"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("found --resume=always")));
}

TEST_F(RunFolderTest, AFolderThatCannotBeMadeIsNamed) {
  out_ = "/proc/no/such";
  EXPECT_THAT(std::string(Prepare(Config(), ResumeMode::kNew).status().message()),
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

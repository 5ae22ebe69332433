#include "services/cli/export.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"

namespace cohort {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

// A run with checkpoints of steps 2 and 10.
class ExportTest : public testing::Test {
 protected:
  ExportTest() {
    for (const char* step : {"step-00000002", "step-00000010"}) {
      Write(absl::StrCat("run/checkpoints/", step, "/config.json"), "{}");
      Write(absl::StrCat("run/checkpoints/", step, "/model.safetensors"),
            std::string(3 << 20, step[11]));
      Write(absl::StrCat("run/checkpoints/", step, "/optimizer.safetensors"), "moments");
      Write(absl::StrCat("run/checkpoints/", step, "/state.json"), "{}");
      Write(absl::StrCat("run/checkpoints/", step, "/critic/config.json"), "{}");
    }
    Write("run/checkpoints/.writing-11/config.json", "{}");
  }
  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }
  void Write(const std::string& name, const std::string& text) const {
    const std::string path = Path(name);
    EXPECT_THAT(MakeFolders(path.substr(0, path.rfind('/'))), IsOk());
    EXPECT_THAT(WriteFileAtomic(path, text), IsOk());
  }
  absl::StatusOr<ExportTotals> Export(const CheckpointChoice& choice, bool all) const {
    const int fd = open(Path("out.tar").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    absl::StatusOr<ExportTotals> totals = WriteTar(choice, all, fd);
    close(fd);
    return totals;
  }
  // By the system's own tar.
  void Unpack() const {
    EXPECT_THAT(MakeFolders(Path("out")), IsOk());
    const std::string command =
        absl::StrCat("tar -x -f '", Path("out.tar"), "' -C '", Path("out"), "'");
    EXPECT_EQ(std::system(command.c_str()), 0);
  }

  TemporaryFolder folder_;
};

TEST_F(ExportTest, TarUnpacksWhatWasThereWithoutWhatOnlyAResumedRunNeeds) {
  COHORT_ASSERT_OK_AND_ASSIGN(const CheckpointChoice choice,
                              ChooseCheckpoint(Path("run"), "newest"));
  EXPECT_EQ(choice.step, 10);
  COHORT_ASSERT_OK_AND_ASSIGN(const ExportTotals totals, Export(choice, /*all=*/false));
  EXPECT_EQ(totals.files, 2);
  EXPECT_EQ(totals.bytes, (3 << 20) + 2);
  Unpack();
  EXPECT_EQ(ReadFile(Path("out/step-00000010/model.safetensors")).value_or(""),
            std::string(3 << 20, '1'));
  EXPECT_TRUE(fs::exists(Path("out/step-00000010/config.json")));
  EXPECT_FALSE(fs::exists(Path("out/step-00000010/optimizer.safetensors")));
  EXPECT_FALSE(fs::exists(Path("out/step-00000010/state.json")));
  EXPECT_FALSE(fs::exists(Path("out/step-00000010/critic")));
}

TEST_F(ExportTest, AllIsAll) {
  COHORT_ASSERT_OK_AND_ASSIGN(const CheckpointChoice choice, ChooseCheckpoint(Path("run"), "2"));
  COHORT_ASSERT_OK_AND_ASSIGN(const ExportTotals totals, Export(choice, /*all=*/true));
  EXPECT_EQ(totals.files, 5);
  Unpack();
  EXPECT_EQ(ReadFile(Path("out/step-00000002/optimizer.safetensors")).value_or(""), "moments");
  EXPECT_TRUE(fs::exists(Path("out/step-00000002/critic/config.json")));
}

TEST_F(ExportTest, TheBestIsTheOneThatTheRunHasMarked) {
  EXPECT_THAT(ChooseCheckpoint(Path("run"), "best"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no best checkpoint")));
  Write("run/checkpoints/best.json", "{\"step\": 2, \"score\": 0.5}");
  COHORT_ASSERT_OK_AND_ASSIGN(const CheckpointChoice choice, ChooseCheckpoint(Path("run"), "best"));
  EXPECT_EQ(choice.step, 2);
}

TEST_F(ExportTest, SaysWhatThereIs) {
  EXPECT_THAT(ChooseCheckpoint(Path("run"), "5"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("there are those of 2, 10")));
  EXPECT_THAT(ChooseCheckpoint(Path("run"), "last"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("newest, best or a number")));
  EXPECT_THAT(ChooseCheckpoint(Path("nowhere"), "newest"),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("no checkpoint in"), HasSubstr("nowhere"))));
}

TEST_F(ExportTest, AFullDiskIsAnError) {
  COHORT_ASSERT_OK_AND_ASSIGN(const CheckpointChoice choice,
                              ChooseCheckpoint(Path("run"), "newest"));
  const int full = open("/dev/full", O_WRONLY);
  ASSERT_GE(full, 0);
  EXPECT_THAT(WriteTar(choice, /*all=*/false, full),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("cannot write")));
  close(full);
}

}  // namespace
}  // namespace cohort

#include "common/text/json.h"

#include "common/base/file.h"
#include "common/base/status_matchers.h"

namespace cohort {
namespace {

using testing::HasSubstr;

TEST(JsonTest, ErrorsNameTheInputAndThePlace) {
  EXPECT_THAT(ParseJson("{\"a\": }", "x.json"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("x.json: not valid JSON")));
  EXPECT_THAT(ParseJson("1e999", "n"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("n")));
  EXPECT_THAT(ParseJson("\"\xff\"", "n"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("n")));
}

TEST(JsonTest, DeepNestingIsRefusedBeforeItCanOverflowTheStack) {
  EXPECT_THAT(ParseJson(std::string(2'000'000, '['), "deep"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nests deeper")));
  COHORT_EXPECT_OK(ParseJson("\"[[[[\\\"[[[\"", "brackets inside a string"));
  COHORT_EXPECT_OK(ParseJson(std::string(100, '[') + std::string(100, ']'), "the limit"));
}

TEST(JsonTest, AFileMustHoldAnObject) {
  TemporaryFolder folder;
  COHORT_ASSERT_OK(WriteFileAtomic(folder.path() + "/a.json", "[1]"));
  EXPECT_THAT(ReadJsonObject(folder.path() + "/a.json"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("found array")));
  EXPECT_THAT(ReadJsonObject(folder.path() + "/b.json"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("b.json")));
}

TEST(JsonTest, DumpingInvalidUtf8IsAnError) {
  EXPECT_THAT(DumpJson(nlohmann::json("\xff"), "reply"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("UTF-8")));
}

}  // namespace
}  // namespace cohort

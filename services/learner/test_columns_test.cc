#include "services/learner/test_columns.h"

#include <fstream>

#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/status_matchers.h"

namespace cohort {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class TestColumnsTest : public testing::Test {
 protected:
  absl::Status Check(const std::vector<std::string>& tests) {
    const std::string path = folder_.path() + "/problems.jsonl";
    std::ofstream file(path);
    for (const std::string& one : tests) {
      file << R"({"prompt": "Write f.", "answer": "", "tests": )" << one << "}\n";
    }
    file.close();
    SourceOptions options;
    options.path = path;
    options.reward = "code_tests";
    const auto source = MakeSource(options);
    EXPECT_THAT(source, IsOk());
    return source.ok() ? CheckTestColumns(**source, Split::kTrain) : source.status();
  }
  TemporaryFolder folder_;
};

TEST_F(TestColumnsTest, PromptsWithoutTestsAreToldOnceAndNoneIsAnError) {
  const std::string code = R"("assert f() == 1")";
  testing::internal::CaptureStderr();
  EXPECT_THAT(Check({code, code}), IsOk());
  EXPECT_THAT(testing::internal::GetCapturedStderr(), testing::Not(HasSubstr("problems")));
  testing::internal::CaptureStderr();
  EXPECT_THAT(Check({code, R"("# to be written")", code, "7"}), IsOk());
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("data source problems: 2 of 4 prompts"),
                    HasSubstr("prompt 1: the prompt's column `tests` tests nothing")));
  EXPECT_THAT(Check({"\"\"", "[]"}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("docs/rewards.md")));
}

}  // namespace
}  // namespace cohort

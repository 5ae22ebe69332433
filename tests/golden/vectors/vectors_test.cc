#include "services/cli/vectors.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace cohort {
namespace {

std::string Capture(const std::string& path, int* status) {
  testing::internal::CaptureStdout();
  *status = RunVectors(path);
  return testing::internal::GetCapturedStdout();
}

std::string WriteTemporary(const std::string& name, const std::string& text) {
  const std::string path = testing::TempDir() + "/" + name;
  std::ofstream(path) << text;
  return path;
}

TEST(Vectors, EveryPublicVectorPasses) {
  const char* source = std::getenv("COHORT_SOURCE_DIR");
  const std::string path =
      std::string(source == nullptr ? "." : source) + "/../shared/vectors/public.json";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not on this machine";
  int status = 1;
  const std::string out = Capture(path, &status);
  EXPECT_EQ(status, 0) << out;
  EXPECT_NE(out.find("112 passed, 0 failed, 0 skipped"), std::string::npos) << out;
}

TEST(Vectors, AFailureIsPrintedWithGotAndExpectedAndAnUnknownMethodIsSkipped) {
  const std::string path = WriteTemporary("vectors.json", R"([
    {"id": "a", "method": "metric.avg_at_k", "inputs": {"correct": [[1, 0]]},
     "expected": {"per_problem": [0.5], "avg": 0.75}, "tol": 1e-5, "why": "wrong on purpose"},
    {"id": "b", "method": "metric.avg_at_k", "inputs": {}, "expected": {}, "tol": 0},
    {"id": "c", "method": "no.such", "inputs": {}, "expected": {}, "tol": 0}])");
  int status = 0;
  const std::string out = Capture(path, &status);
  EXPECT_EQ(status, 1);
  EXPECT_NE(out.find("FAILED a"), std::string::npos) << out;
  EXPECT_NE(out.find("\"avg\":0.5"), std::string::npos) << out;
  EXPECT_NE(out.find("0 passed, 2 failed, 1 skipped"), std::string::npos) << out;
}

TEST(Vectors, AFileThatIsMissingOrNoJsonIsOneLineAndStatusOne) {
  EXPECT_EQ(RunVectors(testing::TempDir() + "/absent.json"), 1);
  EXPECT_EQ(RunVectors(WriteTemporary("broken.json", "[{")), 1);
  EXPECT_EQ(RunVectors(WriteTemporary("object.json", "{}")), 1);
}

}  // namespace
}  // namespace cohort

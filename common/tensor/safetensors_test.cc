#include "common/tensor/safetensors.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/tensor/device.h"

namespace cohort {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string LittleEndian(uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(value >> (8 * i) & 0xFF));
  return bytes;
}

std::string FileBytes(const std::string& header, size_t data_bytes) {
  return LittleEndian(header.size()) + header + std::string(data_bytes, '\0');
}

class SafetensorsTest : public testing::Test {
 protected:
  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }
  void Write(const std::string& name, const std::string& bytes) const {
    std::ofstream(Path(name), std::ios::binary) << bytes;
  }
  absl::Status OpenBytes(const std::string& bytes) const {
    Write("bad.safetensors", bytes);
    return SafetensorsFile::Open(Path("bad.safetensors")).status();
  }
  TemporaryFolder folder_;
};

std::vector<NamedTensor> SampleTensors() {
  at::manual_seed(1);
  return {{"half", at::randn({3, 5}).to(at::kHalf)},
          {"wide", at::randn({2, 2}, at::kDouble)},
          {"ids", at::arange(7)},
          {"view", at::randn({6, 4}).narrow(0, 2, 3).t()},
          {"brain", at::randn({9}).to(at::kBFloat16)},
          {"scalar", at::tensor(3.5F)},
          {"empty", at::zeros({0, 4})}};
}

TEST_F(SafetensorsTest, WrittenTensorsAreReadBackBitwise) {
  COHORT_ASSERT_OK(WriteSafetensors(Path("a.safetensors"), SampleTensors()));
  COHORT_ASSERT_OK_AND_ASSIGN(const auto file, SafetensorsFile::Open(Path("a.safetensors")));
  EXPECT_EQ(file->entries().size(), SampleTensors().size());
  for (const NamedTensor& expected : SampleTensors()) {
    COHORT_ASSERT_OK_AND_ASSIGN(const at::Tensor found, file->Tensor(expected.name));
    EXPECT_EQ(found.scalar_type(), expected.tensor.scalar_type());
    EXPECT_TRUE(at::equal(found, expected.tensor)) << expected.name;
  }
}

TEST_F(SafetensorsTest, TensorsOutliveTheFileObject) {
  COHORT_ASSERT_OK(WriteSafetensors(Path("a.safetensors"), SampleTensors()));
  at::Tensor ids;
  {
    COHORT_ASSERT_OK_AND_ASSIGN(const auto file, SafetensorsFile::Open(Path("a.safetensors")));
    COHORT_ASSERT_OK_AND_ASSIGN(ids, file->Tensor("ids"));
  }
  EXPECT_TRUE(at::equal(ids, at::arange(7)));
}

TEST_F(SafetensorsTest, ShardsAndIndexHoldEveryTensorOnce) {
  COHORT_ASSERT_OK(WriteWeightsFolder(folder_.path(), SampleTensors(), 40));
  EXPECT_FALSE(std::filesystem::exists(Path("model.safetensors")));
  COHORT_ASSERT_OK_AND_ASSIGN(const auto weights, WeightsFolder::Open(folder_.path()));
  EXPECT_EQ(weights.names().size(), SampleTensors().size());
  for (const NamedTensor& expected : SampleTensors()) {
    COHORT_ASSERT_OK_AND_ASSIGN(const at::Tensor found, weights.Tensor(expected.name));
    EXPECT_TRUE(at::equal(found, expected.tensor)) << expected.name;
  }
}

TEST_F(SafetensorsTest, UnalignedDataIsCopiedOut) {
  const std::string header = R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  Write("odd.safetensors", FileBytes(header + std::string(9 - header.size() % 8, ' '), 4));
  COHORT_ASSERT_OK_AND_ASSIGN(const auto file, SafetensorsFile::Open(Path("odd.safetensors")));
  COHORT_ASSERT_OK_AND_ASSIGN(const at::Tensor x, file->Tensor("x"));
  EXPECT_EQ(x.item<float>(), 0.0F);
}

struct Damage {
  const char* what;
  std::string bytes;
  const char* message;
};

std::string One(const std::string& fields, size_t data_bytes) {
  return FileBytes("{\"w\":" + fields + "}", data_bytes);
}

TEST_F(SafetensorsTest, DamagedFilesAreRefusedWithTheReason) {
  const Damage damages[] = {
      {"empty file", "", "at least 8 bytes"},
      {"header longer than the file", LittleEndian(1000) + "{}", "header says it is 1000 bytes"},
      {"header length overflows", LittleEndian(~uint64_t{0}) + "{}", "header says"},
      {"no JSON", FileBytes("{\"w\":", 0), "does not parse"},
      {"not an object", FileBytes("[1]", 0), "does not parse"},
      {"entry is no object", One("3", 0), "expected {dtype"},
      {"unknown dtype", One(R"({"dtype":"F3","shape":[1],"data_offsets":[0,4]})", 4),
       "is not supported"},
      {"negative size", One(R"({"dtype":"F32","shape":[-1],"data_offsets":[0,4]})", 4), "shape"},
      {"size overflow",
       One(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]})", 0),
       "fit in memory"},
      {"wrong dtype size", One(R"({"dtype":"F64","shape":[2],"data_offsets":[0,8]})", 8),
       "needs 16 bytes, data_offsets give 8"},
      {"truncated data", One(R"({"dtype":"F32","shape":[4],"data_offsets":[0,16]})", 9),
       "truncated"},
      {"offsets reversed", One(R"({"dtype":"F32","shape":[1],"data_offsets":[4,0]})", 4),
       "data_offsets [4, 0]"},
      {"offsets not numbers", One(R"({"dtype":"F32","shape":[1],"data_offsets":["0",4]})", 4),
       "not whole numbers"},
      {"a hole", One(R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]})", 8), "a hole"},
      {"bytes left over", One(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})", 12),
       "found a file of"},
      {"overlap",
       FileBytes(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                 R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
                 12),
       "overlaps"},
      {"a name twice",
       FileBytes(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                 R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                 4),
       "listed twice"},
  };
  for (const Damage& damage : damages) {
    EXPECT_THAT(OpenBytes(damage.bytes),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("bad.safetensors"), HasSubstr(damage.message))))
        << damage.what;
  }
}

TEST_F(SafetensorsTest, AnIndexMayNotLeaveItsFolder) {
  Write("model.safetensors.index.json", R"({"weight_map":{"w":"../secret.safetensors"}})");
  EXPECT_THAT(WeightsFolder::Open(folder_.path()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("same folder")));
}

TEST_F(SafetensorsTest, MissingFilesAndTensorsAreNamed) {
  EXPECT_THAT(WeightsFolder::Open(folder_.path()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("model.safetensors")));
  COHORT_ASSERT_OK(WriteSafetensors(Path("s.safetensors"), SampleTensors()));
  Write("model.safetensors.index.json", R"({"weight_map":{"nowhere":"s.safetensors"}})");
  EXPECT_THAT(WeightsFolder::Open(folder_.path()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("tensor nowhere is missing")));
}

TEST_F(SafetensorsTest, AFullDiskIsReportedAndLeavesNoFile) {
  std::filesystem::create_symlink("/dev/full", Path("full.safetensors"));
  EXPECT_THAT(WriteSafetensors(Path("full.safetensors"), SampleTensors()),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("full.safetensors")));
  EXPECT_FALSE(std::filesystem::is_symlink(Path("full.safetensors")));
}

TEST(DeviceTest, NamesResolveOrAreRefused) {
  COHORT_ASSERT_OK_AND_ASSIGN(const at::Device cpu, ResolveDevice("cpu"));
  EXPECT_TRUE(cpu.is_cpu());
  EXPECT_THAT(ResolveDevice("auto"), IsOk());
  EXPECT_THAT(ResolveDevice("gpu"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("gpu")));
  EXPECT_THAT(ResolveDevice("cuda:99"),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("cuda:99")));
  COHORT_ASSERT_OK_AND_ASSIGN(const auto dtype, ResolveDtype("bf16", cpu));
  EXPECT_EQ(dtype, at::kBFloat16);
  EXPECT_THAT(ResolveDtype("auto", cpu), IsOk());
  EXPECT_THAT(ResolveDtype("fp8", cpu),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("fp8")));
}

}  // namespace
}  // namespace cohort

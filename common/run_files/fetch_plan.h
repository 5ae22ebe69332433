// What a worker makes of a learner's description of its run: bytes from outside, checked in full
// before any of them names a file or a number of bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cohort/v1/config.pb.h"
#include "cohort/v1/files.pb.h"
#include "common/base/hash.h"

namespace cohort {

// Bounds on what a worker takes from a learner.
inline constexpr int kMaxRunFiles = 4096;
inline constexpr uint64_t kMaxRunFileBytes = uint64_t{128} << 30;
inline constexpr uint64_t kMaxRunBytes = uint64_t{1} << 40;  // all files together

struct FetchPlan {
  v1::RunConfig config;            // resolved by the learner; its paths are those of its host
  std::string model_sha256;        // content hash of the policy's folder there
  std::vector<v1::RunFile> files;  // each in a folder that `config` has, under a plain name
};

// InvalidArgument: names the file or the field, what was expected and what was found.
absl::StatusOr<FetchPlan> ParseDescription(const v1::DescribeReply& reply);

// One file from its pieces, in order. Not thread-safe.
class FileAssembler {
 public:
  explicit FileAssembler(const v1::RunFile& file) : file_(file) {}
  // InvalidArgument: an empty piece, one of more than 1 MiB, or more bytes than the file has.
  absl::Status Add(absl::string_view piece);
  // DataLoss: bytes are missing, or their SHA-256 is not the file's. Once.
  absl::Status Finish();
  uint64_t size() const { return size_; }

 private:
  const v1::RunFile file_;
  uint64_t size_ = 0;  // bytes so far
  Sha256 sha_;
};

}  // namespace cohort

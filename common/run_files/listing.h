// The learner's side of what a worker needs on its disk: the files of a run's models, with sizes
// and content hashes.
//
//   of the policy (model.path)        configuration and tokenizer; its weights come over the weight
//                                     stream
//   of each reward model              the same and the weights
//   (algorithm.reward.sources[i].path)
//
// Nothing else that a worker's rewards use lies in a file: an interpreter of code_tests is a
// program of the worker's own host.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cohort/v1/config.pb.h"
#include "cohort/v1/files.pb.h"
#include "common/concurrency/stop_token.h"

namespace cohort {

// RunFile.folder of the policy's files; of a reward model's it is the field that names it.
inline constexpr char kPolicyFolder[] = "policy";
std::string RewardModelFolder(int source);

// What tells one state of a file from another without reading it.
struct FileStamp {
  uint64_t size = 0;  // bytes
  uint64_t inode = 0;
  int64_t modified = 0;  // nanoseconds since 1970
  friend bool operator==(const FileStamp&, const FileStamp&) = default;
};
absl::StatusOr<FileStamp> StampOf(int fd, const std::string& path);

struct ListedFile {
  v1::RunFile file;
  std::string path;  // on this host
  FileStamp stamp;   // when it was hashed
};

// Reads and hashes every file, which takes a second per gigabyte or two. Errors name the field and
// the file: NotFound where a model's folder or one of its necessary files is missing; Cancelled:
// stopped.
absl::StatusOr<std::vector<ListedFile>> ListRunFiles(const v1::RunConfig& config,
                                                     const StopToken& stop = StopToken());

}  // namespace cohort

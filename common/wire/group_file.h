// Groups in a file, record after record, as they arrived: what an evaluation has when it is cut
// short. A record is the length of the group's bytes (uint64), their XXH3 (uint64), both
// little-endian, and the bytes of EncodeGroup.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/rl/group.h"
#include "common/telemetry/append_file.h"

namespace cohort {

// One thread at a time.
class GroupFileWriter {
 public:
  // Opens for appending, after the last whole record; makes the file where there is none.
  static absl::StatusOr<GroupFileWriter> Open(const std::string& path);

  // The operating system has it when this returns. ResourceExhausted: the disk is full, and the
  // file ends with the record before.
  absl::Status Append(const Group& group);

 private:
  explicit GroupFileWriter(AppendFile file) : file_(std::move(file)) {}
  AppendFile file_;
};

// The whole records; what follows the last of them is left out. NotFound: no such file.
absl::StatusOr<std::vector<Group>> ReadGroupFile(const std::string& path);
// How many whole records there are, without looking into them. 0 where there is no file.
int64_t CountGroupsIn(const std::string& path);

}  // namespace cohort

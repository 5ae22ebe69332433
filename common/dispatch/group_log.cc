#include "common/dispatch/group_log.h"

#include "absl/strings/str_cat.h"

namespace cohort {

absl::Status MemoryGroupLog::Append(const Group& group) {
  absl::MutexLock lock(&mu_);
  if (!ids_.insert(group.id).second) {
    return absl::AlreadyExistsError(absl::StrCat("group ", absl::Hex(group.id), " (ordinal ",
                                                 group.ordinal, ") was logged before"));
  }
  return absl::OkStatus();
}

bool MemoryGroupLog::Contains(GroupId id) const {
  absl::MutexLock lock(&mu_);
  return ids_.contains(id);
}

size_t MemoryGroupLog::size() const {
  absl::MutexLock lock(&mu_);
  return ids_.size();
}

}  // namespace cohort

#include "common/dispatch/group_log.h"

#include "absl/strings/str_cat.h"

namespace cohort {

absl::Status MemoryGroupLog::Append(const Group& group) {
  absl::MutexLock lock(&mu_);
  if (!ids_.insert(group.id).second) {
    return absl::AlreadyExistsError(absl::StrCat("group ", absl::Hex(group.id), " (ordinal ",
                                                 group.ordinal, ") was logged before"));
  }
  order_.push_back(group.id);
  if (order_.size() > ids_kept_) {
    ids_.erase(order_.front());
    order_.pop_front();
  }
  return absl::OkStatus();
}

bool MemoryGroupLog::Contains(GroupId id) const {
  absl::MutexLock lock(&mu_);
  return ids_.contains(id);
}

absl::Status MemoryGroupLog::AppendStep(const StepRecord& record) {
  absl::MutexLock lock(&mu_);
  // A resumed run begins with whichever step follows its checkpoint.
  if (newest_.has_value() && record.step != newest_->step + 1) {
    return absl::FailedPreconditionError(absl::StrCat("group log: expected step ",
                                                      newest_->step + 1, " after step ",
                                                      newest_->step, ", found ", record.step));
  }
  newest_ = record;
  return absl::OkStatus();
}

size_t MemoryGroupLog::size() const {
  absl::MutexLock lock(&mu_);
  return ids_.size();
}

std::optional<StepRecord> MemoryGroupLog::newest_step() const {
  absl::MutexLock lock(&mu_);
  return newest_;
}

}  // namespace cohort

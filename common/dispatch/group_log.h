// The record of accepted groups. A group is acknowledged to its worker only after Append returned
// OK.
#pragma once

#include <cstddef>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "common/rl/group.h"

namespace cohort {

// Thread-safe.
class GroupLog {
 public:
  virtual ~GroupLog() = default;
  // AlreadyExists: a copy of this group was appended before; the first one counts.
  virtual absl::Status Append(const Group& group) = 0;
  virtual bool Contains(GroupId id) const = 0;
};

// Remembers ids for the life of the process.
class MemoryGroupLog final : public GroupLog {
 public:
  absl::Status Append(const Group& group) override;
  bool Contains(GroupId id) const override;
  size_t size() const;

 private:
  mutable absl::Mutex mu_;
  absl::flat_hash_set<GroupId> ids_ ABSL_GUARDED_BY(mu_);
};

}  // namespace cohort

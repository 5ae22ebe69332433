// The record of a run: the groups that were accepted and the steps that were made of them. A group
// is acknowledged to its worker only after Append returned OK, and a step's weights are published
// only after AppendStep did.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "common/rl/group.h"

namespace cohort {

// Where the data order stands; part of a checkpoint and of a step's record.
struct DispatchCursor {
  uint64_t next_ordinal = 0;
  std::vector<uint64_t>
      holes;  // below next_ordinal, dispatched but not ended: dispatched again on resume
};

// What one optimizer batch made of which groups.
struct StepRecord {
  int64_t step = 0;             // batches done, this one included: the version of its weights
  std::vector<GroupId> groups;  // trained on, in the order of the batch
  // Optimizer updates since the run began. Every random choice of the trainer is a function of the
  // run's seed, the batch and the update; those of a group of its id, the row and the position.
  int64_t updates = 0;
  DispatchCursor cursor;     // after the step: its groups have ended
  std::string weights_hash;  // of the weights that came out
};

// Thread-safe.
class GroupLog {
 public:
  virtual ~GroupLog() = default;
  // AlreadyExists: a copy of this group was appended before; the first one counts.
  virtual absl::Status Append(const Group& group) = 0;
  virtual bool Contains(GroupId id) const = 0;
  // FailedPrecondition: not the step after the one that was appended last.
  virtual absl::Status AppendStep(const StepRecord& record) = 0;
};

// What a process needs while it lives, in bounded memory: the ids of the groups accepted last, so
// that a copy sent again is called a duplicate (older ones are `late`; the dispatcher takes
// neither), and the newest step. What a later process needs is in the checkpoints.
class MemoryGroupLog final : public GroupLog {
 public:
  explicit MemoryGroupLog(size_t ids_kept = size_t{1} << 20) : ids_kept_(ids_kept) {}

  absl::Status Append(const Group& group) override;
  bool Contains(GroupId id) const override;
  absl::Status AppendStep(const StepRecord& record) override;
  size_t size() const;  // ids kept
  std::optional<StepRecord> newest_step() const;

 private:
  const size_t ids_kept_;
  mutable absl::Mutex mu_;
  absl::flat_hash_set<GroupId> ids_ ABSL_GUARDED_BY(mu_);
  std::deque<GroupId> order_ ABSL_GUARDED_BY(mu_);  // of ids_, oldest first
  std::optional<StepRecord> newest_ ABSL_GUARDED_BY(mu_);
};

}  // namespace cohort

// Hands out prompts, takes groups back, and decides which groups make the next batch.
//
//   prompt feed -> [waiting] -> lease -> [in flight] -> Deliver -> [buffered] -> TakeBatch ->
//   [training]
//                     ^------ expiry, failure, lost worker ------'                    MarkTrained
//                     -> ended
//
// Staleness is bounded by admission. With bound k and Q groups per step, at most (k + 1) * Q
// ordinals are outstanding; batches are taken in ordinal order, so the group at position p trains
// at step `version + p / Q` and its lease asks for a weight version of at least `version + p / Q -
// k`. The age is checked again when the group is taken. A filtered group gives its place back at
// once.
//
// Thread-safe. TakeBatch and WaitEval block; nothing else does. Callbacks are called without locks
// held, except the prompt feed and the filter, which must be pure and must not call back.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/dispatch/drops.h"
#include "common/dispatch/eval_round.h"
#include "common/dispatch/group_log.h"
#include "common/dispatch/lease.h"
#include "common/dispatch/ledger.h"
#include "common/rl/group.h"

namespace cohort {

// The prompt for an ordinal: the same answer whenever it is asked. OutOfRange: the prompt is too
// long (the ordinal ends as prompt_too_long). Any other error ends the run.
using PromptFeed = std::function<absl::StatusOr<PromptItem>(uint64_t ordinal)>;

// Decides on a group when it arrives: nullopt keeps it, a state filters it. Pure.
using GroupFilter = std::function<std::optional<OrdinalEnd>(const Group&)>;

struct DispatchBatch {
  std::vector<Group> groups;  // ordinal order (arrival order with consume_in_order = false)
  int64_t prompts_drawn = 0;  // ordinals that ended or were taken for this batch
  std::map<std::string, int64_t> dropped;  // ordinals ended on the way, by OrdinalEndName
  int64_t sampled_tokens = 0;  // response tokens of all these groups, as far as they arrived
  std::vector<absl::Duration> queued;  // how long each of the groups was buffered
  absl::Duration waited;               // by the learner, for all of them
};

class Dispatcher {
 public:
  struct Options {
    uint64_t run_seed = 0;
    int64_t groups_per_step = 1;
    int64_t max_staleness = 0;
    bool consume_in_order = true;
    int64_t max_prompts_per_batch = 0;  // bound on prompts asked for one batch; 0: none
    std::string limit_field = "";       // the configuration field of that bound, for the alert
    // Groups whose rewards teach nothing, by this rule, that a batch may hold; the others of them
    // end in the state that the rule gives and are replaced. No rule: any number.
    GroupFilter degenerate = nullptr;
    int64_t max_degenerate = 0;
    // Length limit of leases for the batch of a step (from 0), tokens; empty: as planned.
    std::function<int32_t(int64_t step)> max_new_tokens = nullptr;
    int max_attempts = 3;  // leases of one ordinal that may fail for infrastructure reasons
    int max_losses = 10;   // leases of one ordinal that may be lost: worker gone, expired, damaged
    int64_t vocab_size = 0;  // of the model: token ids of groups are below it; 0: not checked
    absl::Duration lease_duration = absl::Minutes(10);
    int64_t last_step =
        0;  // batches in the whole run: no ordinal is issued that could not be trained; 0: endless
    bool train = true;  // false: only the prompts of BeginEval are leased
  };

  Dispatcher(Options options, PromptFeed feed, GroupFilter filter, GroupLog* log, Clock* clock,
             DispatchCursor cursor = {}, int64_t first_step = 0);

  // Called (from any thread, no lock held) whenever a lease may have become available.
  void SetLeaseListener(std::function<void()> listener);

  // --- towards workers ---
  // The next prompt for this worker, evaluation before training, re-issues before new ones.
  // nullopt: nothing to do now. The caller must hold weights at or above the lease's floor before
  // it samples.
  absl::StatusOr<std::optional<IssuedLease>> NextLease(const std::string& worker);
  struct DeliveryResult {
    Delivery outcome;
    std::string detail;
  };
  // Validates (CheckGroup), appends to the log, buffers. Accepts any copy of an outstanding group,
  // also from a lease that expired. A malformed group of its lease's holder: issued again.
  DeliveryResult Deliver(const std::string& worker, Group group);
  // Counts a delivery that never became a group (bytes that do not decode or hash).
  void CountBadDelivery(GroupId id, const std::string& worker, Delivery outcome);
  void FailLease(GroupId id, uint64_t lease_id, bool prompt_too_long, const std::string& detail);
  // Given back unstarted: issued again, and not counted as a failed attempt.
  void ReturnLease(GroupId id, uint64_t lease_id);
  // Issues its leases again.
  void WorkerGone(const std::string& worker);
  // Issues expired leases again; returns one line for each. Call periodically.
  std::vector<std::string> ExpireLeases();

  // --- towards the learner ---
  // Blocks until a whole batch for `step` is there. DeadlineExceeded names what is missing and who
  // holds it; ResourceExhausted: max_prompts_per_batch was reached, and no further prompt is asked
  // for; FailedPrecondition: it was, since rewards or workers are broken; Cancelled: closed.
  absl::StatusOr<DispatchBatch> TakeBatch(int64_t step, absl::Time deadline);
  // False: still open at the deadline.
  bool WaitClosed(absl::Time deadline) const {
    absl::MutexLock lock(&mu_);
    return mu_.AwaitWithDeadline(absl::Condition(&closed_), deadline);
  }
  // Ends them as trained. Their places stay taken until SetVersion: a prompt leased in between
  // would be sampled with weights that are already old.
  void MarkTrained(const std::vector<uint64_t>& ordinals);
  // The version that new leases count from: the number of batches trained and published.
  void SetVersion(int64_t version);

  // One evaluation at a time. Ordinals and plans as given; the id uses the item's purpose.
  void BeginEval(std::vector<PromptItem> items);
  // Groups in the order of the items; an item that failed for good has no rows. DeadlineExceeded,
  // Cancelled.
  absl::StatusOr<std::vector<Group>> WaitEval(absl::Time deadline);

  DispatchCursor Cursor() const;  // outstanding ordinals are holes, also after Close
  LedgerCounts Counts() const;
  // Response tokens of groups that ended and belong to batches still to come: a resumed run does
  // not sample them again.
  int64_t DroppedTokens() const;
  // No more leases; waiting calls return Cancelled; outstanding ordinals end as abandoned, except
  // those being trained: the step that has them may still call MarkTrained.
  void Close();

 private:
  struct Buffered {
    Group group;
    absl::Time since;
  };
  // Position of an ordinal among the outstanding ones that still need a place in a batch.
  int64_t PositionOf(uint64_t ordinal) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  int64_t Places() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<bool> AdmitOne() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  IssuedLease Issue(Flight& flight, const std::string& worker, int64_t floor)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Flight* FindFlight(GroupId id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ForEachFlight(const std::function<void(Flight&)>& visit) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status SkipTooLong(uint64_t ordinal, const absl::Status& why)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void End(uint64_t ordinal, OrdinalEnd end, int64_t tokens = 0) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void EndFlight(uint64_t ordinal, OrdinalEnd end, int64_t tokens = 0)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  DeliveryResult DeliverTrain(const std::string& worker, Group group)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  DeliveryResult DeliverEval(const std::string& worker, Group group)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  DeliveryResult Count(Delivery outcome, std::string detail) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FailFlight(Flight& flight, bool prompt_too_long, const std::string& detail)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void LoseFlight(Flight& flight, const std::string& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void GiveUp(Flight& flight, OrdinalEnd end) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::vector<GroupId> FlightsThat(const std::function<bool(const Flight&)>& match)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool BatchReady() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::string DescribeMissing() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::string DescribeDrops() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  uint64_t BatchEnd() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool Exhausted() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status ExhaustedError(int64_t step) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::vector<uint64_t> Choose() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  size_t EndUnfit(const std::vector<uint64_t>& chosen, int64_t step)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Buffered Unbuffer(uint64_t ordinal) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Notify() ABSL_LOCKS_EXCLUDED(mu_);

  const Options options_;
  const PromptFeed feed_;
  const GroupFilter filter_;
  GroupLog* const log_;
  Clock* const clock_;

  mutable absl::Mutex mu_;
  std::function<void()> listener_ ABSL_GUARDED_BY(mu_);
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status feed_error_ ABSL_GUARDED_BY(mu_);
  uint64_t next_ordinal_ ABSL_GUARDED_BY(mu_);
  uint64_t next_lease_ ABSL_GUARDED_BY(mu_) = 1;
  int64_t version_ ABSL_GUARDED_BY(mu_);
  std::set<uint64_t> holes_ ABSL_GUARDED_BY(mu_);  // of a resumed run, not yet admitted again
  std::map<uint64_t, Flight> flights_ ABSL_GUARDED_BY(mu_);   // waiting or leased, by ordinal
  std::map<uint64_t, Buffered> buffer_ ABSL_GUARDED_BY(mu_);  // arrived and kept, by ordinal
  std::vector<uint64_t> arrivals_ ABSL_GUARDED_BY(mu_);  // buffered ordinals in order of arrival
  std::set<uint64_t> training_ ABSL_GUARDED_BY(mu_);
  int64_t trained_unpublished_ ABSL_GUARDED_BY(mu_) = 0;  // trained since the last SetVersion
  absl::flat_hash_map<GroupId, uint64_t> ordinals_ ABSL_GUARDED_BY(mu_);  // of outstanding groups
  Drops drops_ ABSL_GUARDED_BY(mu_);  // of the current batch and later ones
  int too_long_in_a_row_ ABSL_GUARDED_BY(mu_) = 0;
  std::string last_trouble_ ABSL_GUARDED_BY(mu_);  // of a group without a verdict or a failed lease
  EvalRound eval_ ABSL_GUARDED_BY(mu_);
  LedgerCounts counts_ ABSL_GUARDED_BY(mu_);
};

}  // namespace cohort

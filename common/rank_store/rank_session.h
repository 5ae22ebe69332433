// One rank's membership in a meeting of ranks: it waits for the store and for the others, gives
// signs of life from a thread of its own, also within a long step, and learns from the answers how
// the others are. Thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/rank_store/store_calls.h"

namespace cohort {

class RankSession {
 public:
  struct Options {
    int rank = 0;
    int world = 1;
    std::string store;                            // HOST:PORT, for messages
    std::string run_hash;                         // of what all ranks must have in common
    absl::Duration timeout = absl::Minutes(30);   // for the others to come
    absl::Duration silence = absl::Seconds(60);   // of rank 0 until it is named in the log
    absl::Duration patience = absl::Minutes(30);  // of rank 0 until this rank must end
    // Told what this rank waits for whenever that changes; may be empty.
    std::function<void(const std::string&)> waits_for;
    // A connection anew for each attempt, so that the name of the store's host is resolved again.
    std::function<absl::StatusOr<std::unique_ptr<StoreCalls>>()> connect;
  };
  // Blocks until all ranks are there, and says every few seconds what it waits for.
  // DeadlineExceeded names the ranks that did not come; FailedPrecondition, AlreadyExists: as Join.
  static absl::StatusOr<std::unique_ptr<RankSession>> Meet(const Options& options);
  ~RankSession();
  RankSession(const RankSession&) = delete;
  RankSession& operator=(const RankSession&) = delete;

  StoreCalls& calls() { return *calls_; }
  uint64_t generation() const { return generation_; }
  int rank() const { return options_.rank; }

  // The operation that this rank is in, for the others' messages.
  void Doing(const std::string& what);
  // Why all ranks must end; empty: they go on.
  std::string ended() const;
  // The ranks that are silent or gone, in words; empty: none is known. Waits for news of that kind
  // at most `limit`.
  std::string Trouble(absl::Duration limit) const;
  // Makes all ranks end for this reason.
  void Abort(const std::string& reason);
  // Says goodbye and ends the signs of life. Idempotent.
  void Leave();

 private:
  explicit RankSession(const Options& options) : options_(options) {}
  absl::Status Join(absl::Time deadline);
  absl::Status AwaitOthers(absl::Time deadline);
  void Beats();
  v1::StoreBeat NextBeat() const;
  void Note(const absl::StatusOr<v1::StoreBeatReply>& reply);
  void NoteFailure(const absl::Status& status, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void End(const std::string& reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool HasNews() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return !ended_.empty() || !reply_.trouble().empty() || !store_trouble_.empty();
  }

  const Options options_;
  std::unique_ptr<StoreCalls> calls_;
  uint64_t generation_ = 0;
  mutable absl::Mutex mu_;
  v1::StoreBeatReply reply_ ABSL_GUARDED_BY(mu_);
  bool replied_ ABSL_GUARDED_BY(mu_) = false;
  std::string doing_ ABSL_GUARDED_BY(mu_) = "the start";
  std::string ended_ ABSL_GUARDED_BY(mu_);
  std::string store_trouble_ ABSL_GUARDED_BY(mu_);  // rank 0 itself does not answer
  absl::Time heard_ ABSL_GUARDED_BY(mu_);           // last answer of the store
  absl::Time broken_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
  bool named_ ABSL_GUARDED_BY(mu_) = false;
  bool leaving_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::thread> beats_;
};

}  // namespace cohort

// What rank 0 keeps for all ranks of one learner: who is there, a map of keys and values through
// which c10d (Gloo, NCCL) connects them, the time of each rank's last sign of life, and the word
// to end.
//
// A rank joins with its world and its run and gets a generation, which every later call carries: a
// call of another meeting, or of a process whose place another one took, is refused. Until all
// ranks are there a rank that went away may come back. Afterwards the meeting is complete, and a
// rank whose connection broke, or that stays silent for `patience`, ends it for all: what the
// survivors hold in common has lost a part. They must end and meet again in a new store.
//
// Keys, values and waits come from outside and are bounded. Thread-safe; callbacks run without
// locks held, on whichever thread completed them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "cohort/v1/store.pb.h"
#include "common/base/clock.h"

namespace cohort {

inline constexpr uint32_t kRankProtocol = 1;

class RankStore {
 public:
  struct Options {
    int world = 1;
    std::string run_hash;                          // of the run that these ranks train
    absl::Duration silence = absl::Seconds(60);    // without a sign of life: named
    absl::Duration patience = absl::Minutes(30);   // without one for so long: all ranks end
    absl::Duration lost_after = absl::Seconds(2);  // the connection broke and none came anew
    Clock* clock = Clock::Real();
  };
  using ValueDone = std::function<void(absl::StatusOr<v1::StoreValue>)>;
  using BeatDone = std::function<void(absl::StatusOr<v1::StoreBeatReply>)>;

  // Of one request; larger ones are InvalidArgument, a full store ResourceExhausted.
  static constexpr size_t kMaxKeyBytes = 4096;
  static constexpr size_t kMaxValueBytes = size_t{1} << 20;
  static constexpr size_t kMaxTotalBytes = size_t{64} << 20;
  static constexpr size_t kMaxKeys = 1 << 16;
  static constexpr int kMaxKeysInCall = 4096;
  static constexpr size_t kMaxWaits = 4096;

  explicit RankStore(const Options& options);
  ~RankStore();
  RankStore(const RankStore&) = delete;
  RankStore& operator=(const RankStore&) = delete;

  // The errors are those of the service's Join.
  absl::StatusOr<v1::StoreJoined> Join(const v1::StoreJoin& request);

  // FailedPrecondition: the generation is not of this meeting. Aborted: all ranks must end.
  absl::Status Set(const v1::StoreSet& request);
  absl::StatusOr<v1::StoreValue> CompareSet(const v1::StoreCompareSet& request);
  absl::StatusOr<bool> Check(const v1::StoreKeys& request);
  absl::StatusOr<int64_t> Add(const v1::StoreAdd& request);
  absl::StatusOr<bool> Delete(const v1::StoreKeys& request);
  absl::StatusOr<int64_t> Count(const v1::StoreKeys& request);
  // `done` gets the first key's value once all keys are there; DeadlineExceeded names the missing
  // ones. May be called before this returns. The result is for Cancel.
  uint64_t Wait(const v1::StoreKeys& request, ValueDone done);
  // The same for the answer to a sign of life, which is held back while nothing changes.
  uint64_t Beat(const v1::StoreBeat& request, BeatDone done);
  // The connection on which a Wait or Beat was pending broke: `done` gets Cancelled. A rank whose
  // Beat this was has `lost_after` to come again.
  void Cancel(uint64_t id);

  // Every waiting call ends, and every later one, with this reason. The first reason stays.
  void Abort(const std::string& reason);
  // Answers what is due and judges the ranks. Call it several times a second.
  void Tick();

  bool aborted() const;
  // Unavailable: ranks that are absent, silent or gone, in words.
  absl::Status RanksAlive() const;
  // Time since the last sign of life; infinite for a rank whose connection broke, zero for one that
  // has not come or has left. One for each rank.
  std::vector<absl::Duration> Silences() const;
  // Every rank but 0 has said goodbye, or will say nothing more.
  bool OthersLeft() const;

 private:
  struct Rank {
    uint64_t generation = 0;  // 0: not there
    bool left = false;        // said goodbye
    bool named = false;       // as silent, in the log
    std::string host;
    uint32_t pid = 0;
    uint64_t process = 0;
    std::string doing;
    absl::Time heard;
    absl::Time broken = absl::InfiniteFuture();  // since then without a connection
  };
  struct PendingWait {
    uint64_t generation = 0;
    std::vector<std::string> keys;
    absl::Time start, deadline;
    ValueDone done;
  };
  struct PendingBeat {
    int rank = 0;
    absl::Time deadline;
    BeatDone done;
  };
  using Ready = std::vector<std::function<void()>>;  // to call without the lock

  bool Lives(const Rank& rank) const { return rank.generation != 0 && !rank.left; }
  absl::Status CheckJoin(const v1::StoreJoin& request, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status CheckPlace(const v1::StoreJoin& request, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  uint64_t Place(const v1::StoreJoin& request, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Admit(uint64_t generation) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Put(const std::string& key, const std::string& value, Ready* ready)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool Have(const std::vector<std::string>& keys) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::string Missing(const PendingWait& wait) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  v1::StoreValue FirstValue(const std::vector<std::string>& keys) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Heard(const v1::StoreBeat& request, Rank* rank, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Judge(int number, absl::Time now, Ready* ready) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Lose(int number, absl::Time now, Ready* ready) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void End(const std::string& reason, Ready* ready) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void AnswerBeats(Ready* ready) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  v1::StoreBeatReply Reply(absl::Time now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::vector<int> Absent() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::string Trouble(absl::Time now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::string Describe(int number) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::string DescribeSilence(int number, absl::Time now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;
  const uint64_t base_;  // of the generations of this meeting
  mutable absl::Mutex mu_;
  std::vector<Rank> ranks_ ABSL_GUARDED_BY(mu_);
  bool complete_ ABSL_GUARDED_BY(mu_) = false;  // all ranks were there at once
  std::string aborted_ ABSL_GUARDED_BY(mu_);    // why all must end; empty: they go on
  std::map<std::string, std::string> values_ ABSL_GUARDED_BY(mu_);
  size_t bytes_ ABSL_GUARDED_BY(mu_) = 0;  // of values_
  std::map<uint64_t, PendingWait> waits_ ABSL_GUARDED_BY(mu_);
  std::map<uint64_t, PendingBeat> beats_ ABSL_GUARDED_BY(mu_);
  uint64_t joins_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t next_id_ ABSL_GUARDED_BY(mu_) = 1;
  absl::Time last_tick_ ABSL_GUARDED_BY(mu_);
};

}  // namespace cohort

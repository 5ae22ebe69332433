// The generation thread: leases in, finished groups out, weights applied in between.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "common/concurrency/watchdog.h"
#include "common/generate/engine.h"
#include "common/telemetry/metrics.h"
#include "services/rollout/pacer.h"
#include "services/rollout/reward_runner.h"
#include "services/rollout/session_client.h"
#include "services/rollout/weight_follower.h"

namespace cohort {

// Thread-safe.
class GenerationLoop {
 public:
  struct Options {
    int max_rows = 64;                      // rows decoded together
    std::vector<std::string> stop_strings;  // of the run
    bool train_entropy = false;             // groups carry the entropy of every token
    bool eval_entropy = false;              // those of evaluations do
    // A lease that waits this long for its weights ends the loop: the learner or the way to it is
    // broken, and another worker may have the lease.
    absl::Duration weights_limit = absl::Minutes(10);
    double tokens_per_second = 0;  // at most, of all rows together; 0: no limit
    // Reports a lease that will not be answered with a group.
    std::function<void(GroupId, v1::LeaseFailed::Reason, const std::string&)> fail_lease;
  };
  // All outlive the loop. `engine` and the applying side of `weights` belong to it from Start on.
  GenerationLoop(Options options, GroupGenerator* engine, WeightFollower* weights,
                 RewardRunner* rewards, MetricRegistry* metrics);
  ~GenerationLoop();  // Stops.
  GenerationLoop(const GenerationLoop&) = delete;
  GenerationLoop& operator=(const GenerationLoop&) = delete;

  void Start();
  // Takes the place of one for the same group that has not started.
  void AddLease(LeaseTerms lease);
  void CancelLease(GroupId group);
  void Wake();  // new weights are ready
  // Gives back what has not started, lets the rest finish until `limit` is over, gives that back,
  // and ends the thread. Groups that wait for their rewards by then are given back, too.
  void Drain(absl::Duration limit);
  WorkerPulse Pulse();
  // Why the loop ended on its own; OK while it runs or was drained.
  absl::Status status() const;
  // The thread goes round: DeadlineExceeded says in what it hangs.
  absl::Status alive() const { return watchdog_.Check(); }

 private:
  struct Waiting {
    LeaseTerms lease;
    absl::Time until;  // then it is another worker's
  };
  struct Inbox {
    std::deque<Waiting> leases;
    std::vector<GroupId> cancels;
  };

  void Run();
  absl::Status RunOnce();
  void TakeInbox();
  void Forget(GroupId group);  // what waits under this id
  absl::Status ApplyWeights();
  void GiveBackLate();
  void SubmitReady();
  void Submit(LeaseTerms lease);
  void HandOver(FinishedGroup finished);
  void GiveBackWaiting();
  void GiveBackRunning();
  absl::Status CheckWaitForWeights();
  void WaitForWork();
  bool WaitForPace();
  absl::Duration StepLimit() const;
  bool Woken() const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  void CountState(const char* state, absl::Time since);
  void Fail(GroupId group, v1::LeaseFailed::Reason reason, const std::string& detail);

  const Options options_;
  GroupGenerator* const engine_;
  WeightFollower* const weights_;
  RewardRunner* const rewards_;
  MetricRegistry* const metrics_;

  Watchdog watchdog_;

  // Of the generation thread alone.
  Pacer pacer_;
  absl::Duration longest_step_;                           // of decoding
  std::deque<Waiting> waiting_;                           // leased, not submitted
  std::map<GroupId, LeaseTerms> submitted_;               // in the engine
  absl::Time short_of_weights_ = absl::InfiniteFuture();  // since when a lease waits for them
  absl::Time said_so_;

  mutable absl::Mutex mu_;
  Inbox inbox_ ABSL_GUARDED_BY(mu_);
  bool woken_ ABSL_GUARDED_BY(mu_) = false;
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
  absl::Time drain_deadline_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
  absl::Status status_ ABSL_GUARDED_BY(mu_);
  WorkerPulse pulse_ ABSL_GUARDED_BY(mu_);          // rows and queue as of the last step
  uint64_t tokens_since_ ABSL_GUARDED_BY(mu_) = 0;  // since the last Pulse
  absl::Duration idle_since_ ABSL_GUARDED_BY(mu_);
  absl::Time idle_start_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();  // of the idle spell now
  absl::Time last_pulse_ ABSL_GUARDED_BY(mu_);
  absl::Notification ended_;  // of the thread
  std::thread thread_;
};

}  // namespace cohort

// Scores finished groups away from the generation thread: one after the other, or several at once
// where scoring is mostly waiting for somebody else.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/concurrency/bounded_queue.h"
#include "common/rewards/group_scorer.h"
#include "common/rl/group.h"
#include "common/telemetry/metrics.h"
#include "common/text/tokenizer.h"
#include "common/wire/lease_codec.h"

namespace cohort {

// A finished group and the lease it answers.
struct ScoringJob {
  Group group;
  LeaseTerms lease;
};

struct RewardRunnerOptions {
  bool score_training = true;  // false: groups to train on get none (objective.entropy_direct)
  int concurrency = 1;         // groups that are scored at the same time
};

// Scoring threads with a bounded queue before them. Thread-safe.
class RewardRunner {
 public:
  // Called on a scoring thread with the scored group, by several at once. An error means that
  // nothing was scored: the lease is to be given up, or back (Cancelled: the runner was stopped
  // first).
  using Done = std::function<void(const absl::Status& status, ScoringJob job)>;

  // All outlive the runner.
  RewardRunner(GroupScorer* rewards, const Tokenizer* tokenizer, MetricRegistry* metrics, Done done,
               const RewardRunnerOptions& options = {});
  ~RewardRunner();  // Stops at once.
  RewardRunner(const RewardRunner&) = delete;
  RewardRunner& operator=(const RewardRunner&) = delete;

  // Blocks while the queue is full. Cancelled: stopped; DeadlineExceeded.
  absl::Status Add(ScoringJob job, absl::Time deadline);
  // Add returns Cancelled from now on, also one that waits.
  void Close();
  // Scores what is queued until `deadline`, hands the rest back as Cancelled, and ends the threads.
  // Groups being scored are finished first: every row within the rewards' own limits. Idempotent.
  void Stop(absl::Time deadline = absl::InfiniteFuture());

 private:
  struct Waiting {
    ScoringJob job;
    absl::Time since;
  };
  void Run();
  void CountQueue();
  absl::Status Score(ScoringJob* job);
  void Count(const RowReward& row, const std::string& note) ABSL_LOCKS_EXCLUDED(mu_);

  GroupScorer* const rewards_;
  const Tokenizer* const tokenizer_;
  const RewardRunnerOptions options_;
  const Histogram duration_;
  const Histogram wait_;
  MetricRegistry* const metrics_;
  const Done done_;
  BoundedQueue<Waiting> queue_;
  absl::Mutex mu_;
  std::map<std::string, int64_t> unscorable_ ABSL_GUARDED_BY(mu_);  // by reason
  int scoring_ ABSL_GUARDED_BY(mu_) = 0;                            // groups, now
  absl::Time score_until_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
  std::vector<std::thread> threads_;
};

}  // namespace cohort

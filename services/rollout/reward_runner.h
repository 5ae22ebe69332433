// Scores finished groups away from the generation thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>

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

// One scoring thread with a bounded queue before it. Thread-safe.
class RewardRunner {
 public:
  // Called on the scoring thread with the scored group. An error means that nothing was scored: the
  // lease is to be given up, or back (Cancelled: the runner was stopped first).
  using Done = std::function<void(const absl::Status& status, ScoringJob job)>;

  // All outlive the runner.
  // `score_training` false: groups to train on get no reward (objective.entropy_direct).
  RewardRunner(GroupScorer* rewards, const Tokenizer* tokenizer, MetricRegistry* metrics, Done done,
               bool score_training = true);
  ~RewardRunner();  // Stops at once.
  RewardRunner(const RewardRunner&) = delete;
  RewardRunner& operator=(const RewardRunner&) = delete;

  // Blocks while the queue is full. Cancelled: stopped; DeadlineExceeded.
  absl::Status Add(ScoringJob job, absl::Time deadline);
  // Add returns Cancelled from now on, also one that waits.
  void Close();
  // Scores what is queued until `deadline`, hands the rest back as Cancelled, and ends the thread.
  // A group being scored is finished first: every row within the rewards' own limits. Idempotent.
  void Stop(absl::Time deadline = absl::InfiniteFuture());

 private:
  void Run();
  absl::Status Score(ScoringJob* job);
  void Count(const RowReward& row, const std::string& note);

  GroupScorer* const rewards_;
  const Tokenizer* const tokenizer_;
  const bool score_training_;
  const Histogram duration_;
  MetricRegistry* const metrics_;
  std::map<std::string, int64_t> unscorable_;  // by reason; of the scoring thread
  const Done done_;
  BoundedQueue<ScoringJob> queue_;
  absl::Mutex mu_;
  absl::Time score_until_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
  std::thread thread_;
};

}  // namespace cohort

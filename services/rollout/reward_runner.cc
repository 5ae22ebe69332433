#include "services/rollout/reward_runner.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"

namespace cohort {
namespace {

constexpr char kNoVerdict[] = "no_verdict";  // unscorable for a cause without a name

}  // namespace

RewardRunner::RewardRunner(GroupScorer* rewards, const Tokenizer* tokenizer,
                           MetricRegistry* metrics, Done done, const RewardRunnerOptions& options)
    : rewards_(rewards),
      tokenizer_(tokenizer),
      options_(options),
      duration_(metrics->Histogram(metric::kRewardDuration)),
      wait_(metrics->Histogram(metric::kRewardWait)),
      metrics_(metrics),
      done_(std::move(done)),
      queue_(/*capacity=*/64) {
  CountQueue();
  for (int i = 0; i < std::max(1, options.concurrency); ++i) {
    threads_.emplace_back([this] { Run(); });
  }
}

RewardRunner::~RewardRunner() { Stop(absl::InfinitePast()); }

absl::Status RewardRunner::Add(ScoringJob job, absl::Time deadline) {
  const absl::Status added = queue_.Push({std::move(job), absl::Now()}, deadline);
  CountQueue();
  return added;
}

void RewardRunner::Close() { queue_.Drain(); }

void RewardRunner::Stop(absl::Time deadline) {
  {
    absl::MutexLock lock(&mu_);
    score_until_ = std::min(score_until_, deadline);
  }
  Close();
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void RewardRunner::Run() {
  for (;;) {
    absl::StatusOr<Waiting> next = queue_.Pop(absl::Now() + absl::Minutes(1));
    if (absl::IsDeadlineExceeded(next.status())) continue;
    if (!next.ok()) return;
    wait_.Observe(absl::ToDoubleSeconds(absl::Now() - next->since));
    bool late = false;
    {
      absl::MutexLock lock(&mu_);
      late = absl::Now() >= score_until_;
      ++scoring_;
    }
    CountQueue();
    const absl::Status status = late ? absl::CancelledError("the worker ends") : Score(&next->job);
    {
      absl::MutexLock lock(&mu_);
      --scoring_;
    }
    CountQueue();
    done_(status, std::move(next->job));
  }
}

void RewardRunner::CountQueue() {
  absl::MutexLock lock(&mu_);
  metrics_->Gauge(metric::kRewardGroups, {{"state", "waiting"}})
      .Set(static_cast<double>(queue_.size()));
  metrics_->Gauge(metric::kRewardGroups, {{"state", "scoring"}}).Set(scoring_);
}

void RewardRunner::Count(const RowReward& row, const std::string& note) {
  for (const char* limit : row.limits) {
    metrics_->Counter(metric::kRewardLimits, {{"limit", limit}}).Add();
  }
  if (!row.unscorable) return;
  const std::string reason = *row.cause == '\0' ? kNoVerdict : row.cause;
  metrics_->Counter(metric::kRewardUnscorable, {{"reason", reason}}).Add();
  int64_t count = 0;
  {
    absl::MutexLock lock(&mu_);
    count = ++unscorable_[reason];
  }
  // The 1st, 10th, 100th, ...: a broken reward must be seen, not fill the log.
  int64_t power = 1;
  while (power * 10 <= count) power *= 10;
  if (count == power) {
    COHORT_LOG(WARNING) << count << (count == 1 ? " sample" : " samples")
                        << " without a reward because of " << reason
                        << ", left out of training: " << note;
  }
}

absl::Status RewardRunner::Score(ScoringJob* job) {
  const absl::Time start = absl::Now();
  Group& group = job->group;
  if (group.purpose == Purpose::kTrain && !options_.score_training) return absl::OkStatus();
  COHORT_ASSIGN_OR_RETURN(std::string text,
                          tokenizer_->Decode(group.prompt, /*skip_special=*/false));
  COHORT_ASSIGN_OR_RETURN(const std::shared_ptr<const RewardPrompt> prompt,
                          MakeRewardPrompt(job->lease.columns_json, job->lease.reward,
                                           job->lease.group_id, std::move(text), group.prompt));
  const auto score = group.purpose == Purpose::kEval ? &GroupScorer::Judge : &GroupScorer::Score;
  COHORT_ASSIGN_OR_RETURN(const std::vector<RowReward> scored,
                          (rewards_->*score)(*tokenizer_, prompt, &group));
  for (const RowReward& row : scored) Count(row, row.note);
  const absl::Duration spent = absl::Now() - start;
  group.timings.reward_seconds = absl::ToDoubleSeconds(spent);
  if (!scored.empty()) duration_.Observe(absl::ToDoubleSeconds(spent) / double(scored.size()));
  return absl::OkStatus();
}

}  // namespace cohort

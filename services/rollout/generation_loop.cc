#include "services/rollout/generation_loop.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "common/base/log.h"
#include "common/base/process.h"
#include "common/base/status_macros.h"
#include "common/telemetry/flight_recorder.h"

namespace cohort {
namespace {

// How long an idle thread sleeps before it looks around again; everything it waits for wakes it
// earlier.
constexpr absl::Duration kIdleWait = absl::Seconds(1);
constexpr absl::Duration kSaySomething = absl::Seconds(30);
constexpr absl::Duration kRewardsLimit = absl::Minutes(10);
// What a step of decoding may take before the thread counts as hung: many times the longest so far,
// and enough for the first pass over many long prompts on a slow machine.
constexpr int kManySteps = 10;
constexpr absl::Duration kLeastStepLimit = absl::Minutes(3);
constexpr absl::Duration kFirstStepLimit = absl::Minutes(10);
constexpr absl::Duration kApplyLimit = absl::Minutes(10);
constexpr absl::Duration kBookkeeping = absl::Minutes(1);
constexpr absl::Duration kMargin = absl::Seconds(30);

}  // namespace

GenerationLoop::GenerationLoop(Options options, GroupGenerator* engine, WeightFollower* weights,
                               RewardRunner* rewards, MetricRegistry* metrics)
    : options_(std::move(options)),
      engine_(engine),
      weights_(weights),
      rewards_(rewards),
      metrics_(metrics),
      watchdog_("the generation loop"),
      pacer_(options_.tokens_per_second),
      last_pulse_(absl::Now()) {
  metrics_->Gauge(metric::kRolloutSequenceCapacity).Set(options_.max_rows);
}

GenerationLoop::~GenerationLoop() { Drain(absl::ZeroDuration()); }

void GenerationLoop::Start() {
  thread_ = std::thread([this] {
    Run();
    watchdog_.End();
    ended_.Notify();
  });
}

void GenerationLoop::AddLease(LeaseTerms lease) {
  absl::MutexLock lock(&mu_);
  const absl::Time until = absl::Now() + lease.deadline;
  inbox_.leases.push_back({std::move(lease), until});
  woken_ = true;
}

void GenerationLoop::CancelLease(GroupId group) {
  absl::MutexLock lock(&mu_);
  inbox_.cancels.push_back(group);
  woken_ = true;
}

void GenerationLoop::Wake() {
  absl::MutexLock lock(&mu_);
  woken_ = true;
}

void GenerationLoop::Drain(absl::Duration limit) {
  {
    absl::MutexLock lock(&mu_);
    draining_ = true;
    drain_deadline_ = std::min(drain_deadline_, absl::Now() + limit);
    woken_ = true;
  }
  if (!thread_.joinable()) return;
  // The thread may wait for room in the rewards' queue, and they for the learner.
  if (!ended_.WaitForNotificationWithTimeout(std::max(limit, absl::ZeroDuration()))) {
    rewards_->Close();
  }
  thread_.join();
}

absl::Status GenerationLoop::status() const {
  absl::MutexLock lock(&mu_);
  return status_;
}

WorkerPulse GenerationLoop::Pulse() {
  absl::MutexLock lock(&mu_);
  const absl::Time now = absl::Now();
  if (idle_start_ < now) {
    idle_since_ += now - idle_start_;
    idle_start_ = now;
  }
  WorkerPulse pulse = pulse_;
  pulse.queued_groups += static_cast<uint32_t>(inbox_.leases.size());
  const double seconds = absl::ToDoubleSeconds(now - last_pulse_);
  pulse.tokens_per_second = seconds > 0 ? static_cast<double>(tokens_since_) / seconds : 0;
  pulse.idle_seconds = absl::ToDoubleSeconds(idle_since_);
  tokens_since_ = 0;
  idle_since_ = absl::ZeroDuration();
  last_pulse_ = now;
  return pulse;
}

void GenerationLoop::Run() {
  for (;;) {
    bool draining;
    absl::Time deadline;
    {
      absl::MutexLock lock(&mu_);
      draining = draining_;
      deadline = drain_deadline_;
    }
    if (draining) {
      TakeInbox();
      GiveBackWaiting();
      if (engine_->idle() || absl::Now() >= deadline) {
        GiveBackRunning();
        return;
      }
    }
    if (absl::Status status = RunOnce(); !status.ok()) {
      absl::MutexLock lock(&mu_);
      status_ = status;
      return;
    }
  }
}

absl::Status GenerationLoop::RunOnce() {
  watchdog_.Begin("looks for work", kBookkeeping);
  TakeInbox();
  COHORT_RETURN_IF_ERROR(ApplyWeights());
  GiveBackLate();
  SubmitReady();
  COHORT_RETURN_IF_ERROR(CheckWaitForWeights());
  {
    absl::MutexLock lock(&mu_);
    pulse_.held_version = weights_->held_version();
    pulse_.running_rows = static_cast<uint32_t>(engine_->active_rows());
    pulse_.queued_groups =
        static_cast<uint32_t>(waiting_.size()) + static_cast<uint32_t>(engine_->waiting_groups());
  }
  metrics_->Gauge(metric::kRolloutRunningSequences).Set(engine_->active_rows());
  metrics_->Gauge(metric::kRolloutWaitingSequences)
      .Set(engine_->waiting_rows() + static_cast<double>(waiting_.size()));
  if (engine_->idle()) {
    WaitForWork();
    return absl::OkStatus();
  }
  if (WaitForPace()) return absl::OkStatus();
  const absl::Time start = absl::Now();
  watchdog_.Begin("decodes", StepLimit());
  StepResult result = engine_->Step();
  longest_step_ = std::max(longest_step_, absl::Now() - start);
  pacer_.Count(result.sampled_tokens);
  CountState("generate", start);
  metrics_->Counter(metric::kRolloutTokens).Add(static_cast<double>(result.sampled_tokens));
  {
    absl::MutexLock lock(&mu_);
    if (pulse_.generated_tokens == 0 && result.sampled_tokens > 0) {
      COHORT_LOG(INFO) << absl::StrFormat("first token %.2f s after the start",
                                          absl::ToDoubleSeconds(ProcessAge()));
    }
    tokens_since_ += static_cast<uint64_t>(result.sampled_tokens);
    pulse_.generated_tokens += static_cast<uint64_t>(result.sampled_tokens);
  }
  for (FinishedGroup& finished : result.finished) HandOver(std::move(finished));
  return absl::OkStatus();
}

void GenerationLoop::TakeInbox() {
  Inbox inbox;
  {
    absl::MutexLock lock(&mu_);
    std::swap(inbox, inbox_);
    woken_ = false;
  }
  for (Waiting& waiting : inbox.leases) {
    Forget(waiting.lease.group_id);  // leased anew, on other terms
    waiting_.push_back(std::move(waiting));
  }
  for (GroupId group : inbox.cancels) {
    engine_->Cancel(group);
    submitted_.erase(group);
    Forget(group);
  }
}

void GenerationLoop::Forget(GroupId group) {
  std::erase_if(waiting_,
                [group](const Waiting& waiting) { return waiting.lease.group_id == group; });
}

absl::Status GenerationLoop::ApplyWeights() {
  if (!weights_->ready()) return weights_->status();
  const absl::Time start = absl::Now();
  watchdog_.Begin("applies weights", kApplyLimit);
  absl::StatusOr<std::optional<int64_t>> applied = weights_->ApplyIfReady();
  COHORT_RETURN_IF_ERROR(applied.status());
  if (applied->has_value()) {
    engine_->SetVersion(**applied);
    ProcessRecorder().Record(absl::StrCat("weights of version ", **applied, " applied"));
    metrics_->Gauge(metric::kRolloutWeightVersion).Set(static_cast<double>(**applied));
    metrics_->Histogram(metric::kWeightSyncDuration)
        .Observe(absl::ToDoubleSeconds(weights_->sync_time()));
    CountState("sync", start);
  }
  return absl::OkStatus();
}

// Keeps about one batch of rows waiting inside the engine: enough to refill its slots, little
// enough that a drain can give the rest back.
void GenerationLoop::SubmitReady() {
  const int64_t held = weights_->held_version();
  if (held < 0) return;  // the model may hold no weights at all
  for (auto next = waiting_.begin(); next != waiting_.end();) {
    if (engine_->active_rows() + engine_->waiting_rows() >= options_.max_rows) return;
    if (next->lease.version_floor > held) {
      ++next;
      continue;
    }
    Submit(std::move(next->lease));
    next = waiting_.erase(next);
  }
}

// The learner has leased them anew by now, or is about to.
void GenerationLoop::GiveBackLate() {
  const absl::Time now = absl::Now();
  std::erase_if(waiting_, [&](const Waiting& waiting) {
    if (waiting.until > now) return false;
    Fail(waiting.lease.group_id, v1::LeaseFailed::DRAINING,
         absl::StrCat("not started within its ", absl::FormatDuration(waiting.lease.deadline)));
    return true;
  });
}

absl::Status GenerationLoop::CheckWaitForWeights() {
  const int64_t held = weights_->held_version();
  int64_t floor = waiting_.empty() ? -1 : 0;
  for (const Waiting& waiting : waiting_) floor = std::max(floor, waiting.lease.version_floor);
  const absl::Time now = absl::Now();
  if (floor <= held) {
    short_of_weights_ = absl::InfiniteFuture();
    return absl::OkStatus();
  }
  if (short_of_weights_ == absl::InfiniteFuture()) short_of_weights_ = said_so_ = now;
  const absl::Duration waited = now - short_of_weights_;
  if (waited >= options_.weights_limit) return weights_->WaitReady(floor, now);
  if (now - said_so_ >= kSaySomething) {
    said_so_ = now;
    COHORT_LOG(INFO) << "waiting for weights of version " << floor << " or newer since "
                     << absl::FormatDuration(absl::Floor(waited, absl::Seconds(1)))
                     << "; this worker holds " << held << ", the learner announced "
                     << weights_->announced_version();
  }
  return absl::OkStatus();
}

void GenerationLoop::Submit(LeaseTerms lease) {
  GroupRequest request;
  request.id = lease.group_id;
  request.ordinal = lease.ordinal;
  request.purpose = lease.purpose;
  request.source = lease.source;
  request.prompt = lease.prompt;
  request.plans = lease.plans;
  request.stop_strings = options_.stop_strings;
  request.with_entropy =
      lease.purpose == Purpose::kTrain ? options_.train_entropy : options_.eval_entropy;
  const absl::Status status = engine_->Submit(std::move(request));
  ProcessRecorder().Record(absl::StrCat("ordinal ", lease.ordinal, " begins"));
  // AlreadyExists: the same group was leased again while its first lease is being worked on. One
  // answer serves both.
  if (status.ok() || absl::IsAlreadyExists(status)) {
    submitted_[lease.group_id] = std::move(lease);
  } else {
    Fail(lease.group_id,
         absl::IsOutOfRange(status) ? v1::LeaseFailed::PROMPT_TOO_LONG : v1::LeaseFailed::INFRA,
         std::string(status.message()));
  }
}

void GenerationLoop::HandOver(FinishedGroup finished) {
  const auto entry = submitted_.find(finished.id);
  if (entry == submitted_.end()) return;  // cancelled
  LeaseTerms lease = std::move(entry->second);
  submitted_.erase(entry);
  ProcessRecorder().Record(absl::StrCat("ordinal ", lease.ordinal, " sampled"));
  if (!finished.status.ok()) {
    Fail(finished.id, v1::LeaseFailed::INFRA, std::string(finished.status.message()));
    return;
  }
  const absl::Time start = absl::Now();
  watchdog_.Begin("waits for the rewards of earlier groups", kRewardsLimit + kMargin);
  const absl::Status added =
      rewards_->Add({std::move(finished.group), std::move(lease)}, start + kRewardsLimit);
  CountState("blocked", start);
  if (added.ok()) return;
  Fail(finished.id, absl::IsCancelled(added) ? v1::LeaseFailed::DRAINING : v1::LeaseFailed::INFRA,
       absl::StrCat("waiting for the rewards of earlier groups: ", added.message()));
}

void GenerationLoop::GiveBackWaiting() {
  for (const Waiting& waiting : waiting_) {
    Fail(waiting.lease.group_id, v1::LeaseFailed::DRAINING, "the worker is draining");
  }
  waiting_.clear();
}

void GenerationLoop::GiveBackRunning() {
  for (const auto& [group, lease] : submitted_) {
    engine_->Cancel(group);
    Fail(group, v1::LeaseFailed::DRAINING, "the worker is draining");
  }
  submitted_.clear();
}

void GenerationLoop::Fail(GroupId group, v1::LeaseFailed::Reason reason,
                          const std::string& detail) {
  options_.fail_lease(group, reason, detail);
}

// True: the loop should look around again first, because the time for the next step has not come.
bool GenerationLoop::WaitForPace() {
  const absl::Duration wait = pacer_.Wait();
  if (wait <= absl::ZeroDuration()) return false;
  const absl::Time start = absl::Now();
  {
    absl::MutexLock lock(&mu_);
    const absl::Time until = std::min({start + wait, start + kIdleWait, drain_deadline_});
    mu_.AwaitWithDeadline(absl::Condition(&woken_), until);
  }
  CountState("generate", start);  // as if the machine were slower
  return true;
}

absl::Duration GenerationLoop::StepLimit() const {
  if (longest_step_ == absl::ZeroDuration()) return kFirstStepLimit;
  return std::max(kLeastStepLimit, kManySteps * longest_step_);
}

bool GenerationLoop::Woken() const { return woken_ || draining_; }

void GenerationLoop::WaitForWork() {
  const absl::Time start = absl::Now();
  watchdog_.Begin("waits for work", kBookkeeping);
  {
    absl::MutexLock lock(&mu_);
    idle_start_ = start;
    mu_.AwaitWithTimeout(absl::Condition(this, &GenerationLoop::Woken), kIdleWait);
    idle_since_ += std::max(absl::Now() - idle_start_, absl::ZeroDuration());
    idle_start_ = absl::InfiniteFuture();
  }
  pacer_.Idle();
  CountState("idle", start);
}

void GenerationLoop::CountState(const char* state, absl::Time since) {
  metrics_->Counter(metric::kRolloutStateSeconds, {{"state", state}})
      .Add(absl::ToDoubleSeconds(absl::Now() - since));
}

}  // namespace cohort

#include "services/rollout/reward_runner.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"

namespace cohort {

absl::StatusOr<std::unique_ptr<RewardSet>> MakeRewards(const v1::RunConfig& config) {
  const v1::Reward& reward = config.algorithm().reward();
  std::vector<RewardComponent> components;
  for (const v1::RewardComponent& source : reward.sources()) {
    RewardComponent component;
    component.name = source.name();
    component.weight = source.weight();
    component.options.probability = source.p();
    component.options.text = source.text();
    component.options.scale = RewardScale{.correct = reward.scale().correct(),
                                          .wrong = reward.scale().wrong(),
                                          .unparsable = reward.scale().unparsable()};
    components.push_back(std::move(component));
  }
  return RewardSet::Create(std::move(components), config.run().seed(),
                           {.timeout = absl::Seconds(config.reward().timeout_seconds()),
                            .threads = config.reward().threads()});
}

RewardRunner::RewardRunner(RewardSet* rewards, const Tokenizer* tokenizer, MetricRegistry* metrics,
                           Done done)
    : rewards_(rewards),
      tokenizer_(tokenizer),
      duration_(metrics->Histogram(metric::kRewardDuration)),
      unscorable_(metrics->Counter(metric::kRewardUnscorable, {{"reason", "no_verdict"}})),
      done_(std::move(done)),
      queue_(/*capacity=*/64),
      thread_([this] { Run(); }) {}

RewardRunner::~RewardRunner() { Stop(); }

absl::Status RewardRunner::Add(ScoringJob job, absl::Time deadline) {
  return queue_.Push(std::move(job), deadline);
}

void RewardRunner::Stop() {
  queue_.Drain();
  if (thread_.joinable()) thread_.join();
}

void RewardRunner::Run() {
  for (;;) {
    absl::StatusOr<ScoringJob> job = queue_.Pop(absl::Now() + absl::Minutes(1));
    if (absl::IsDeadlineExceeded(job.status())) continue;
    if (!job.ok()) return;
    const absl::Status status = Score(&*job);
    done_(status, *std::move(job));
  }
}

absl::Status RewardRunner::Score(ScoringJob* job) {
  const absl::Time start = absl::Now();
  Group& group = job->group;
  COHORT_ASSIGN_OR_RETURN(
      const std::shared_ptr<const RewardPrompt> prompt,
      MakeRewardPrompt(job->lease.columns_json, job->lease.reward, job->lease.group_id));
  std::vector<RewardInput> inputs;
  for (size_t row = 0; row < group.rows.size(); ++row) {
    RewardInput input;
    input.prompt = prompt;
    input.row = static_cast<int32_t>(row);
    input.response_tokens = static_cast<int32_t>(group.rows[row].tokens.size());
    input.truncated = group.rows[row].finish == FinishReason::kLength;
    COHORT_ASSIGN_OR_RETURN(input.completion, tokenizer_->Decode(group.rows[row].tokens,
                                                                 /*skip_special=*/true));
    inputs.push_back(std::move(input));
  }
  std::vector<RowReward> scored = rewards_->Score(inputs);
  group.reward_names = rewards_->names();
  for (size_t row = 0; row < group.rows.size(); ++row) {
    Row& out = group.rows[row];
    out.rewards = std::move(scored[row].components);
    out.reward = scored[row].total;
    out.unscorable = scored[row].unscorable;
    out.note = std::move(scored[row].note);
    if (out.unscorable) unscorable_.Add();
  }
  const absl::Duration spent = absl::Now() - start;
  group.timings.reward_seconds = absl::ToDoubleSeconds(spent);
  if (!inputs.empty()) duration_.Observe(absl::ToDoubleSeconds(spent) / double(inputs.size()));
  return absl::OkStatus();
}

}  // namespace cohort

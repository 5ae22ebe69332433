#include "services/learner/row_plans.h"

#include <algorithm>

#include "common/base/rng.h"
#include "common/base/status_macros.h"

namespace cohort {
namespace {

constexpr uint64_t kExitStream = 0x65786974u;  // apart from the sampler's numbers

SamplePlan PlainPlan(const v1::RolloutSection& rollout) {
  SamplePlan plan;
  plan.temperature = static_cast<float>(rollout.temperature());
  plan.top_p = static_cast<float>(rollout.top_p());
  plan.top_k = rollout.top_k();
  plan.max_new_tokens = rollout.max_new_tokens();
  return plan;
}

// Answers that vote and are not trained on: what the largest vote asks for beyond the group.
size_t ExtraVotes(const v1::RunConfig& config) {
  int32_t votes = 0;
  for (const v1::RewardComponent& source : config.algorithm().reward().sources()) {
    if (source.name() == "majority_online") votes = std::max(votes, source.n_votes());
  }
  return static_cast<size_t>(std::max(0, votes - config.rollout().group_size()));
}

}  // namespace

absl::StatusOr<RowPlanner> RowPlanner::Create(const v1::RunConfig& config,
                                              const Tokenizer& tokenizer) {
  RowPlanner planner;
  const v1::RolloutSection& rollout = config.rollout();
  planner.seed_ = config.run().seed() ^ kExitStream;
  planner.plain_ = PlainPlan(rollout);
  planner.rows_ = static_cast<size_t>(rollout.group_size());
  planner.votes_ = ExtraVotes(config);
  planner.baseline_ = config.algorithm().adv().baseline() == v1::BASELINE_GREEDY;
  planner.greedy_.temperature = 0;
  planner.greedy_.max_new_tokens = rollout.max_new_tokens();
  planner.greedy_.role = RowRole::kBaseline;
  planner.serial_ = rollout.has_serial();
  if (!planner.serial_) return planner;
  const v1::Serial& serial = rollout.serial();
  planner.exit_ = planner.plain_;
  planner.exit_.parent = 0;
  if (serial.answer_tokens() > 0) planner.exit_.max_new_tokens = serial.answer_tokens();
  COHORT_ASSIGN_OR_RETURN(planner.exit_.forced,
                          tokenizer.Encode(serial.text(), /*add_special=*/false));
  planner.exit_.parent_until = serial.until();
  return planner;
}

std::vector<SamplePlan> RowPlanner::For(uint64_t ordinal) const {
  std::vector<SamplePlan> plans(rows_, plain_);
  for (size_t row = 1; serial_ && row < rows_; ++row) {
    plans[row] = exit_;
    plans[row].parent_fraction = UniformOpen(seed_, ordinal, row);
  }
  for (size_t i = 0; i < votes_; ++i) {
    plans.push_back(plain_);
    plans.back().role = RowRole::kVote;
  }
  if (baseline_) plans.push_back(greedy_);
  return plans;
}

int64_t RowPlanner::LongestRow() const {
  if (!serial_) return plain_.max_new_tokens;
  return int64_t{plain_.max_new_tokens} + static_cast<int64_t>(exit_.forced.size()) +
         exit_.max_new_tokens;
}

}  // namespace cohort

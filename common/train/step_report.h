// What one optimizer batch did, in plain numbers. The learner gives them their metric names.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/rl/offpolicy.h"
#include "common/rl/policy_loss.h"
#include "common/train/batch.h"

namespace cohort {

struct PhaseSeconds {
  double prepare = 0;  // shaping, filters, advantages, corrections, packing
  double forward = 0;
  double beside = 0;  // passes and updates of the critic and the process model
  double backward = 0;
  double allreduce = 0;
  double optimizer = 0;
};

// Of the critic's updates of one batch.
struct CriticReport {
  int64_t updates = 0;
  double loss = 0;       // mean over updates, as the grad norm
  double grad_norm = 0;  // before clipping
  double learning_rate = 0;
  double clip_fraction = 0;  // tokens whose value moved beyond value_clip
  // Of the values at the start of the batch: 1 - Var(return - value) / Var(return), and means.
  double explained_variance = 0, value_mean = 0, return_mean = 0;
};

// Of the process model's update of one batch; loss, accuracy and reward before the update.
struct ProcessReport {
  double loss = 0;
  double accuracy = 0;     // rows whose summed reward has the sign of their outcome
  double reward_mean = 0;  // beta * q per token
  double grad_norm = 0;    // before clipping
  double learning_rate = 0;
};

// How responses kept to the lengths that their prompts asked for.
struct LengthRequestReport {
  double correlation = 0;     // Pearson's, of asked and used; NaN: one of them does not vary
  double relative_error = 0;  // mean of |used - asked| / asked
};

struct StepReport {
  int64_t updates = 0;          // optimizer steps made
  int64_t skipped_updates = 0;  // because no token had an advantage
  // Loss of an update, mean over the batch's updates: all of it, and its parts.
  double loss = 0, policy_loss = 0, kl_loss = 0, entropy_loss = 0;
  double grad_norm = 0;  // before clipping, mean over updates
  double learning_rate = 0;
  double kl_coef = 0;
  PolicyStats stats;  // sums over the tokens of all updates
  bool has_reference = false;
  double kl_reference = 0;  // mean estimate per token

  MismatchSums mismatch;  // learner at the start of the batch against the sampler
  double mean_log_difference = 0;
  double correction_mean = 1;  // importance weight over valid tokens

  // Rewards over scorable rows, after shaping; components as the verifiers gave them.
  // accuracy_mean: against the truth, whatever the reward was; NaN: unknown.
  double reward_mean = 0, reward_std = 0, accuracy_mean = 0;
  std::vector<std::pair<std::string, double>> component_means;
  std::vector<std::pair<std::string, double>> signal_means;  // Group::signals, by name
  double frac_zero_std = 0;                                  // groups whose rewards are all equal
  int64_t groups = 0, rows = 0, unscorable_rows = 0;
  double response_mean = 0;  // tokens
  int64_t response_max = 0;
  double truncated_fraction = 0;
  double staleness_mean = 0;  // versions, over groups
  int64_t staleness_max = 0;
  std::optional<LengthRequestReport> length_request;  // no row has one: empty
  bool whitening_skipped = false;  // too few tokens for a deviation: advantages 0

  std::optional<CriticReport> critic;
  std::optional<ProcessReport> process;

  int64_t response_tokens = 0;  // of the batch
  int64_t trained_tokens = 0;   // packed, over all ranks and updates
  PhaseSeconds seconds;
};

// Fills what follows from the groups alone.
void DescribeGroups(const TrainBatch& batch, const RewardScaleSpec& scale, int64_t version,
                    StepReport* report);

}  // namespace cohort

// A rollout batch as the optimizer step sees it: the rows of all groups, flattened, with rewards
// shaped and with the numbers that each response token carries. Every rank holds the same batch;
// only the forward and backward passes are divided.
//
// Order of operations (algorithms.md 14.3): shaping, row filter -> reward-side KL -> advantages on
// the whole batch -> off-policy correction. Plain data and pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/rl/algorithm_spec.h"
#include "common/rl/group.h"
#include "common/rl/offpolicy.h"

namespace cohort {

struct TrainRow {
  int64_t group = 0;      // index into TrainBatch::groups
  int64_t index = 0;      // of the row in its group
  int64_t begin = 0;      // first entry in the token arrays
  int64_t length = 0;     // response tokens in the token arrays
  int64_t inherited = 0;  // the first of them: its parents', where those are trained with it
  double reward = 0;      // shaped
  bool scorable = true;   // takes part in reward statistics
  bool truncated = false;
};

struct TrainBatch {
  absl::Span<const Group> groups;   // the caller's, outlive the batch
  std::vector<TrainRow> rows;       // in group order; votes and baselines are not among them
  std::vector<int64_t> group_rows;  // rows of group g: [group_rows[g], group_rows[g + 1])

  // One entry per response token of all rows. Log-probs in nats. Entries with mask 0 are junk.
  std::vector<uint8_t> mask;  // 1: carries loss
  std::vector<double> rollout;
  std::vector<double> advantage;
  std::vector<double> old;         // empty: the policy of the step's own forward pass
  std::vector<double> reference;   // empty: not scored
  std::vector<double> correction;  // empty: none, or made per micro-batch
  std::vector<double> value;       // the critic's at the start of the batch; empty: no critic
  std::vector<double> returns;     // what those values are trained on; empty likewise
  std::vector<double> process;     // reward of a process model; empty: there is none
  std::vector<double> start;  // the learner's at the start of the batch, where scored; else NaN

  std::vector<double> baseline;  // per group: the greedy row's shaped reward; NaN: none

  int64_t degenerate_groups = 0;  // all scorable rewards equal
  int64_t scorable_groups = 0;
  int64_t unscorable_rows = 0;  // without a verdict; those that a filter dropped have one
  double valid_fraction_alpha = 1;
  bool whitening_skipped = false;  // fewer than two valid tokens: all advantages are 0

  int64_t tokens() const { return static_cast<int64_t>(mask.size()); }
  int64_t num_groups() const { return static_cast<int64_t>(groups.size()); }
  const Row& SourceRow(const TrainRow& row) const {
    return groups[static_cast<size_t>(row.group)].rows[static_cast<size_t>(row.index)];
  }
  int64_t ValidTokens(const TrainRow& row) const;
  std::vector<int32_t> TokensOf(const TrainRow& row) const;  // [length]
  // "group 12 row 3 (id 0123456789abcdef, worker w-1)", for errors and logs.
  std::string Describe(const TrainRow& row) const;
};

// How right a row was, in [0, 1], before shaping: what filters look at and what `accuracy` metrics
// show. It is the first component of the reward that is a rule (IsRuleReward), else the first
// component, mapped back from `scale` (correct: 1, wrong: 0).
double RowAccuracy(const Group& group, const Row& row, const RewardScaleSpec& scale);

// How right a row really was, for metrics: the worker's judgement against the truth, else
// RowAccuracy where a rule-based component judged; NaN: unknown.
double RowTruth(const Group& group, const Row& row, const RewardScaleSpec& scale);

// Tokens that the prompt asked the response to have; 0: it asked for no length.
int64_t RequestedLength(const Group& group);

// Flattens the groups, shapes rewards and applies the row filter. `step`: optimizer batches done,
// for warm-ups of shaping. InvalidArgument: arrays of a row that do not fit together, or a reward
// or log-prob that is not finite; the message names the row.
// A group whose baseline is needed and has no verdict counts as unscorable.
absl::StatusOr<TrainBatch> PrepareBatch(absl::Span<const Group> groups, const AlgorithmSpec& spec,
                                        int64_t step);

// Fills `advantage`, and `returns` where there are values. An objective without a policy gradient
// has advantages of 0. `kl_coef`: of the reward-side penalty; then `old` and `reference` must be
// there.
absl::Status AddAdvantages(const AlgorithmSpec& spec, double kl_coef, TrainBatch* batch);

// Spans of every row for common/rl/offpolicy.h; `old` has the layout of the token arrays.
std::vector<OffPolicyRow> OffPolicyRows(const TrainBatch& batch, const std::vector<double>& old);

// Fills `correction` and takes rejected tokens out of `mask`. Needs `old`.
absl::Status AddCorrection(const OffPolicySpec& spec, TrainBatch* batch);

}  // namespace cohort

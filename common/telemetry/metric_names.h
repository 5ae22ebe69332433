// Keys of metrics.jsonl (one line per step), of summary.json and of the
// Prometheus metrics. Named once here: the learner writes them, the progress line, the report and
// the dashboards read them.
//
// Units: seconds, tokens, versions, nats; ratios are 0..1. A key that has no value in a step (no
// evaluation, no reference policy) is left out or null.
#pragma once

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace cohort::metric {

inline constexpr char kStep[] = "step";  // 1 for the first optimizer batch

// ---- time, seconds ----
inline constexpr char kTimeStep[] = "time/step";  // wall clock from one step's end to the next
// Phases of a step; they add up to time/step.
inline constexpr char kPhaseWaitBatch[] = "wait_batch";
inline constexpr char kPhasePrepare[] = "prepare";  // shaping, filters, advantages, packing
inline constexpr char kPhaseForward[] = "forward";
inline constexpr char kPhaseBackward[] = "backward";
inline constexpr char kPhaseAllReduce[] = "allreduce";
inline constexpr char kPhaseOptimizer[] = "optimizer";
inline constexpr char kPhaseBeside[] = "beside";  // critic, process model
inline constexpr char kPhasePublish[] = "publish";
inline constexpr char kPhaseCheckpoint[] = "checkpoint";
inline constexpr char kPhaseEval[] = "eval";
inline constexpr char kPhaseOther[] = "other";
inline std::string TimePhase(absl::string_view phase) { return absl::StrCat("time/", phase); }
inline constexpr char kWaitLearner[] = "wait/learner";  // learner waited for groups
inline constexpr char kWaitRollout[] =
    "wait/rollout";  // workers without a lease, mean over workers

// ---- loss and policy ----
inline constexpr char kLoss[] = "loss";
inline constexpr char kPolicyLossKey[] = "loss/policy";  // without KL and entropy terms
inline constexpr char kKlLossKey[] = "loss/kl";          // times kl_coef
inline constexpr char kKlCoef[] = "kl_coef";
inline constexpr char kUpdates[] = "updates";                 // optimizer steps of the batch
inline constexpr char kUpdatesSkipped[] = "updates/skipped";  // no token had an advantage
inline constexpr char kGradNorm[] = "grad_norm";              // before clipping
inline constexpr char kLearningRate[] = "learning_rate";      // of the step's last update
inline constexpr char kEntropy[] = "entropy";                 // nats per token
inline constexpr char kKlRef[] =
    "kl_ref";  // to the reference policy, by the configured estimator, nats
inline constexpr char kPpoKl[] = "ppo_kl";  // mean(old - new), nats
inline constexpr char kClipLow[] = "clip_ratio/low_mean";
inline constexpr char kClipHigh[] = "clip_ratio/high_mean";
inline constexpr char kClipDual[] = "clip_ratio/dual_mean";
inline constexpr char kRatioMax[] = "ratio/max";  // of any token

// ---- reward ----
inline constexpr char kRewardMean[] = "reward/mean";
inline constexpr char kRewardStd[] = "reward/std";
inline std::string RewardComponentMean(absl::string_view component) {
  return absl::StrCat("reward/", component, "/mean");
}
inline constexpr char kAccuracyMean[] = "accuracy/mean";  // verifier's own verdict, before shaping
inline constexpr char kFracRewardZeroStd[] = "frac_reward_zero_std";  // groups with equal rewards

// 1: a step of fewer than two valid tokens, whose advantages could not be whitened and are 0.
inline constexpr char kWhiteningSkipped[] = "advantage/whitening_skipped";

inline constexpr char kRowsUnscorable[] = "rows/unscorable";
// Seconds that workers spent on the rewards of the step's groups, added up.
inline constexpr char kRewardSeconds[] = "reward/seconds";

// ---- responses ----
inline constexpr char kResponseLengthMean[] = "response_length/mean";
inline constexpr char kResponseLengthMax[] = "response_length/max";
inline constexpr char kResponseLengthClipRatio[] = "response_length/clip_ratio";  // truncated rows
// Of the rows whose prompt asks for a length (l1_*): Pearson's correlation of tokens asked for and
// used, where both vary; mean of |used - asked| / asked.
inline constexpr char kLengthRequestCorrelation[] = "length_request/correlation";
inline constexpr char kLengthRequestError[] = "length_request/relative_error";

// ---- throughput ----
// Response tokens of all groups of the step, filtered ones included.
inline constexpr char kRolloutTokensPerSecond[] = "throughput/rollout_tokens_per_second";
inline constexpr char kTrainTokensPerSecond[] = "throughput/train_tokens_per_second";

// ---- off-policy and mismatch ----
inline constexpr char kOffPolicyMean[] = "off_policy_level/mean";  // versions behind, per group
inline constexpr char kOffPolicyMax[] = "off_policy_level/max";
inline constexpr char kLogpDifferenceMax[] = "sampling/logp_difference/max";  // |sampler - learner|
inline constexpr char kLogpDifferenceMean[] = "sampling/logp_difference/mean";
inline constexpr char kMismatchKl[] = "mismatch_kl";  // k3 estimate of KL(rollout || old), nats

inline constexpr char kEffectiveSamples[] = "sampling/ess";  // share of the tokens
inline constexpr char kCorrectionMean[] = "sampling/importance_weight/mean";

// ---- groups of the step ----
inline constexpr char kGroupsTrained[] = "groups/trained";
inline constexpr char kGroupsFiltered[] = "groups/filtered";
inline constexpr char kGroupsDrawn[] = "groups/drawn";  // trained, filtered or ended otherwise
inline std::string GroupsEnded(absl::string_view state) { return absl::StrCat("groups/", state); }

// Response tokens of all groups that arrived since the run began, filtered ones included: what
// run.sampled_tokens limits.
inline constexpr char kSampledTokens[] = "groups/sampled_tokens";

// ---- weights ----
inline constexpr char kWeightsVersion[] = "weights/version";
inline constexpr char kWeightsHash[] = "weights/hash";  // text

// ---- evaluation ----
inline std::string EvalAccuracy(absl::string_view source) {
  return absl::StrCat("eval/", source, "/accuracy");
}

inline std::string EvalRows(absl::string_view source) {
  return absl::StrCat("eval/", source, "/rows");
}
inline std::string EvalUnscorable(absl::string_view source) {
  return absl::StrCat("eval/", source, "/unscorable");
}
inline std::string EvalResponseLength(absl::string_view source) {
  return absl::StrCat("eval/", source, "/response_length");
}

// ---- summary.json ----
inline constexpr char kSummarySteps[] = "steps";
inline constexpr char kSummaryTrainSeconds[] = "train_seconds";
inline constexpr char kSummaryRewardFirst[] = "reward_first";
inline constexpr char kSummaryRewardLast[] = "reward_last";
inline constexpr char kSummaryHeldoutBefore[] = "heldout_accuracy_before";
inline constexpr char kSummaryHeldoutAfter[] = "heldout_accuracy_after";
inline constexpr char kSummaryTokensPerSecond[] = "tokens_per_second";  // sampled
inline constexpr char kSummarySampledTokens[] = "sampled_tokens";
inline constexpr char kSummaryModel[] = "model";
inline constexpr char kSummaryDtype[] = "dtype";
inline constexpr char kSummarySeed[] = "seed";
inline constexpr char kSummarySpurious[] = "spurious";

// ---- files of a run's folder, and what `cohort train` and `cohort status` read from it ----
inline constexpr char kConfigFile[] = "config.yaml";
inline constexpr char kMetricsFile[] = "metrics.jsonl";
inline constexpr char kSamplesFile[] = "samples.jsonl";
inline constexpr char kGroupsFile[] = "groups.jsonl";  // how each trained prompt went
inline constexpr char kSummaryFile[] = "summary.json";
inline constexpr char kAddressFile[] =
    "address";  // HOST:PORT of the learner's gRPC, atomically written
inline constexpr char kSecretFile[] = "secret";  // joins the run's processes on one machine
inline constexpr char kTensorBoardFolder[] = "tensorboard";
inline constexpr char kLogFolder[] = "logs";
inline constexpr char kCheckpointFolder[] = "checkpoints";

}  // namespace cohort::metric

#include "common/telemetry/metrics.h"

namespace cohort::metric {
namespace {
constexpr MetricKind kC = MetricKind::kCounter;
constexpr MetricKind kG = MetricKind::kGauge;
constexpr MetricKind kH = MetricKind::kHistogram;
}  // namespace

const MetricInfo kLearnerStep{"cohort_learner_step", kG, "Optimizer batches done."};
const MetricInfo kLearnerWeightVersion{"cohort_learner_weight_version", kG,
                                       "Newest published weight version."};
const MetricInfo kLearnerLastStepTimestamp{"cohort_learner_last_step_timestamp_seconds", kG,
                                           "Unix time at the end of the last step."};
const MetricInfo kLearnerPaused{"cohort_learner_paused", kG,
                                "1 while the run is paused: no prompts are left to try for the "
                                "next batch, see the log."};
const MetricInfo kRankSilence{"cohort_rank_silence_seconds", kG,
                              "Seconds since the last sign of life of each rank, by rank; +Inf: "
                              "its connection broke."};
const MetricInfo kLearnerPhaseSeconds{
    "cohort_learner_phase_seconds_total", kC,
    "Seconds the learner spent in each phase; the phases add up to wall time."};
const MetricInfo kLearnerStepDuration{"cohort_learner_step_duration_seconds", kH,
                                      "Seconds from the end of one step to the end of the next.",
                                      Buckets::kSeconds};
const MetricInfo kWeightPublishDuration{"cohort_weight_publish_duration_seconds", kH,
                                        "Seconds to encode and announce a weight version.",
                                        Buckets::kSeconds};
const MetricInfo kCheckpointDuration{"cohort_checkpoint_duration_seconds", kH,
                                     "Seconds to write and sync a checkpoint.", Buckets::kSeconds};
const MetricInfo kCheckpointFailures{"cohort_checkpoint_failures_total", kC,
                                     "Checkpoints that could not be written."};
const MetricInfo kLearnerTokens{"cohort_learner_tokens_total", kC,
                                "Tokens trained, by kind: prompt, response."};
const MetricInfo kPolicyLoss{"cohort_policy_loss", kG, "Loss of the last step."};
const MetricInfo kPolicyEntropy{"cohort_policy_entropy_nats", kG,
                                "Mean next-token entropy of the last step, nats."};
const MetricInfo kPolicyKl{"cohort_policy_kl_nats", kG,
                           "Mean k3 divergence from the reference policy in the last step, nats."};
const MetricInfo kPolicyMismatchKl{
    "cohort_policy_mismatch_kl_nats", kG,
    "Divergence between sampler and learner log-probabilities in the last step, nats, by stat."};
const MetricInfo kPolicyClipRatio{"cohort_policy_clip_ratio", kG,
                                  "Share of tokens clipped in the last step, by side."};
const MetricInfo kPolicyGradNorm{"cohort_policy_grad_norm", kG,
                                 "Gradient norm before clipping in the last step."};
const MetricInfo kPolicyLearningRate{"cohort_policy_learning_rate", kG,
                                     "Learning rate of the last update."};
const MetricInfo kRewardMeanGauge{"cohort_reward_mean", kG,
                                  "Mean reward of the last step, by component."};
const MetricInfo kRewardStdGauge{"cohort_reward_std", kG,
                                 "Standard deviation of the rewards of the last step."};
const MetricInfo kRewardHistogram{"cohort_reward", kH, "Reward of each trained response.",
                                  Buckets::kReward};
const MetricInfo kResponseLength{"cohort_response_length_tokens", kH,
                                 "Length of each accepted response, tokens.", Buckets::kTokens};
const MetricInfo kGroupStaleness{"cohort_group_staleness_versions", kH,
                                 "Versions between sampling and training of each trained group.",
                                 Buckets::kVersions};
const MetricInfo kGroupQueueAge{"cohort_group_queue_age_seconds", kH,
                                "Seconds a group waited in the learner before it was consumed.",
                                Buckets::kSeconds};
const MetricInfo kGroupGenerationDuration{"cohort_group_generation_duration_seconds", kH,
                                          "Seconds from lease to accepted group.",
                                          Buckets::kSeconds};
const MetricInfo kGroupsDispatched{"cohort_groups_dispatched_total", kC,
                                   "Training prompts leased for the first time."};
const MetricInfo kGroups{
    "cohort_groups_total", kC,
    "Training prompts by terminal state; dispatched - sum over states - in flight is always 0."};
const MetricInfo kGroupDeliveries{
    "cohort_group_deliveries_total", kC,
    "Groups received, by outcome: accepted, duplicate, malformed, hash_mismatch, late."};
const MetricInfo kGroupsInFlight{
    "cohort_groups_in_flight", kG,
    "Training prompts leased or buffered, not yet in a terminal state."};
const MetricInfo kGroupsImbalance{
    "cohort_groups_imbalance", kG,
    "Training prompts dispatched - ended - in flight at one moment: always 0, or one was lost or "
    "counted twice."};
const MetricInfo kQueueGroups{"cohort_queue_groups", kG, "Groups buffered for training."};
const MetricInfo kQueueCapacityGroups{"cohort_queue_capacity_groups", kG,
                                      "Groups that may be in flight or buffered at once."};
const MetricInfo kResponses{"cohort_responses_total", kC, "Responses accepted for training."};
const MetricInfo kResponsesTruncated{"cohort_responses_truncated_total", kC,
                                     "Accepted responses that reached the length limit."};
const MetricInfo kPromptsTooLong{"cohort_prompts_too_long_total", kC,
                                 "Prompts skipped because they do not fit the context."};
const MetricInfo kNonFinite{"cohort_nonfinite_total", kC,
                            "Non-finite values met, by where: grad, logprob, reward, value."};
const MetricInfo kEvalPass{"cohort_eval_pass_ratio", kG,
                           "Share of right answers in the last evaluation, by suite."};
const MetricInfo kWorkers{
    "cohort_workers", kG,
    "Rollout workers by state: healthy, suspect (has missed heartbeats), stale (holds weights too "
    "old for new prompts), dead (gone)."};
const MetricInfo kRefusedCalls{
    "cohort_learner_refused_calls_total", kC,
    "Connections and calls turned away, by reason: no_certificate, untrusted_certificate, "
    "handshake, wrong_role, secret, too_many_connections, hello."};
const MetricInfo kRolloutTokens{"cohort_rollout_tokens_total", kC, "Response tokens decoded."};
const MetricInfo kRolloutGroups{"cohort_rollout_groups_total", kC, "Groups finished and sent."};
const MetricInfo kRolloutStateSeconds{
    "cohort_rollout_state_seconds_total", kC,
    "Seconds of the generation thread by state: generate, blocked, sync, idle."};
const MetricInfo kRolloutWeightVersion{"cohort_rollout_weight_version", kG,
                                       "Weight version the worker samples with."};
const MetricInfo kRolloutRunningSequences{"cohort_rollout_running_sequences", kG,
                                          "Responses being decoded."};
const MetricInfo kRolloutWaitingSequences{"cohort_rollout_waiting_sequences", kG,
                                          "Responses leased and not yet started."};
const MetricInfo kRolloutConnected{"cohort_rollout_connected", kG,
                                   "1 while the session with the learner is open."};
const MetricInfo kRewardDuration{"cohort_reward_duration_seconds", kH,
                                 "Seconds to score one response.", Buckets::kSeconds};
const MetricInfo kRewardUnscorable{"cohort_reward_unscorable_total", kC,
                                   "Responses without a verdict, by reason."};
const MetricInfo kRewardLimits{
    "cohort_reward_limits_total", kC,
    "Responses whose program ran into a limit of time, memory or output: wrong."};
const MetricInfo kWeightSyncDuration{"cohort_weight_sync_duration_seconds", kH,
                                     "Seconds from announcement to applied weight version.",
                                     Buckets::kSeconds};
const MetricInfo kWeightSyncBytes{"cohort_weight_sync_bytes_total", kC,
                                  "Bytes of weight blocks received."};
const MetricInfo kWeightSyncFailures{
    "cohort_weight_sync_failures_total", kC,
    "Weight versions that could not be applied, by reason: superseded, interrupted, damaged, "
    "refused, protocol."};
const MetricInfo kReconnects{"cohort_rollout_reconnects_total", kC,
                             "Sessions opened after the first one."};
const MetricInfo kCertificateExpiry{
    "cohort_tls_certificate_expiry_timestamp_seconds", kG,
    "Unix time at which the certificate in force expires; absent without TLS."};
const MetricInfo kBuildInfo{"cohort_build_info", kG, "1, labelled with the version that runs."};
const MetricInfo kRunInfo{"cohort_run_info", kG,
                          "1, labelled with the run, its configuration hash and its model hash."};

absl::Span<const MetricInfo* const> Catalogue() {
  static const MetricInfo* const kAll[] = {&kLearnerStep,
                                           &kLearnerPaused,
                                           &kRankSilence,
                                           &kLearnerWeightVersion,
                                           &kLearnerLastStepTimestamp,
                                           &kLearnerPhaseSeconds,
                                           &kLearnerStepDuration,
                                           &kWeightPublishDuration,
                                           &kCheckpointDuration,
                                           &kCheckpointFailures,
                                           &kLearnerTokens,
                                           &kPolicyLoss,
                                           &kPolicyEntropy,
                                           &kPolicyKl,
                                           &kPolicyMismatchKl,
                                           &kPolicyClipRatio,
                                           &kPolicyGradNorm,
                                           &kPolicyLearningRate,
                                           &kRewardMeanGauge,
                                           &kRewardStdGauge,
                                           &kRewardHistogram,
                                           &kResponseLength,
                                           &kGroupStaleness,
                                           &kGroupQueueAge,
                                           &kGroupGenerationDuration,
                                           &kGroupsDispatched,
                                           &kGroups,
                                           &kGroupDeliveries,
                                           &kGroupsInFlight,
                                           &kGroupsImbalance,
                                           &kQueueGroups,
                                           &kQueueCapacityGroups,
                                           &kResponses,
                                           &kResponsesTruncated,
                                           &kPromptsTooLong,
                                           &kNonFinite,
                                           &kEvalPass,
                                           &kWorkers,
                                           &kRefusedCalls,
                                           &kRolloutTokens,
                                           &kRolloutGroups,
                                           &kRolloutStateSeconds,
                                           &kRolloutWeightVersion,
                                           &kRolloutRunningSequences,
                                           &kRolloutWaitingSequences,
                                           &kRolloutConnected,
                                           &kRewardDuration,
                                           &kRewardUnscorable,
                                           &kRewardLimits,
                                           &kWeightSyncDuration,
                                           &kWeightSyncBytes,
                                           &kWeightSyncFailures,
                                           &kReconnects,
                                           &kCertificateExpiry,
                                           &kBuildInfo,
                                           &kRunInfo};
  return kAll;
}

}  // namespace cohort::metric

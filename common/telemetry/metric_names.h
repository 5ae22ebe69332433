// Keys of metrics.jsonl (one line per step) and of summary.json, files of a run's folder. Named
// once here: the learner writes them, the progress line and the report read them. A key that has no
// value in a step (no evaluation, no reference policy) is left out or null.
#pragma once

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace cohort::metric {

// ---- metrics.jsonl: step_keys.inc ----
#define COHORT_STEP_KEY(id, key, unit, help) inline constexpr char id[] = key;
#include "common/telemetry/step_keys.inc"
#undef COHORT_STEP_KEY

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
inline constexpr char kPhasePaused[] = "paused";
inline constexpr char kPhaseOther[] = "other";
// What the learner is in while it does the phases from prepare to beside.
inline constexpr char kPhaseTrain[] = "train";

// A key with `name` in the place of its part in braces.
inline std::string FillKey(absl::string_view key, absl::string_view name) {
  return absl::StrCat(key.substr(0, key.find('{')), name, key.substr(key.find('}') + 1));
}
inline std::string TimePhase(absl::string_view phase) { return FillKey(kTimePhases, phase); }
inline std::string RewardComponentMean(absl::string_view component) {
  return FillKey(kRewardComponents, component);
}
inline std::string SignalMean(absl::string_view name) { return FillKey(kSignals, name); }
inline std::string GroupsEnded(absl::string_view state) { return FillKey(kGroupsByState, state); }
inline std::string EvalAccuracy(absl::string_view source) {
  return FillKey(kEvalAccuracies, source);
}
inline std::string EvalRows(absl::string_view source) { return FillKey(kEvalRowCounts, source); }
inline std::string EvalUnscorable(absl::string_view source) {
  return FillKey(kEvalUnscorables, source);
}
inline std::string EvalResponseLength(absl::string_view source) {
  return FillKey(kEvalResponseLengths, source);
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
inline constexpr char kSummaryAlerts[] = "alerts";  // as in alerts.jsonl, one per name

// ---- files of a run's folder, and what `cohort train` and `cohort status` read from it ----
inline constexpr char kConfigFile[] = "config.yaml";
inline constexpr char kMetricsFile[] = "metrics.jsonl";
inline constexpr char kSamplesFile[] = "samples.jsonl";
inline constexpr char kGroupsFile[] = "groups.jsonl";  // how each trained prompt went
inline constexpr char kSummaryFile[] = "summary.json";
inline constexpr char kAlertsFile[] = "alerts.jsonl";  // ALERT lines, as they were raised
inline constexpr char kAddressFile[] =
    "address";                               // HOST:PORT of the learner's gRPC, atomically written
inline constexpr char kPageFile[] = "page";  // URL of the learner's page
inline constexpr char kSecretFile[] = "secret";  // joins the run's processes on one machine
inline constexpr char kTensorBoardFolder[] = "tensorboard";
inline constexpr char kLogFolder[] = "logs";
inline constexpr char kCheckpointFolder[] = "checkpoints";

}  // namespace cohort::metric

#include "services/learner/reporting.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/rl/staleness.h"
#include "common/tasks/prompt_source.h"
#include "common/telemetry/metric_names.h"
#include "common/train/batch.h"
#include "common/train/non_finite.h"
#include "services/learner/training_config.h"

namespace cohort {
namespace {

double PerToken(double sum, double tokens) { return tokens > 0 ? sum / tokens : 0; }

double Total(const std::map<std::string, double>& seconds) {
  double total = 0;
  for (const auto& [phase, value] : seconds) total += value;
  return total;
}

double SecondsIn(const std::map<std::string, double>& seconds, const char* phase) {
  const auto it = seconds.find(phase);
  return it == seconds.end() ? 0 : it->second;
}

void SetTimes(const StepLine& line, MetricRow* row) {
  row->Set(metric::kTimeStep, Total(line.phase_seconds));
  for (const auto& [phase, seconds] : line.phase_seconds) {
    row->Set(metric::TimePhase(phase), seconds);
  }
  row->Set(metric::kWaitLearner, SecondsIn(line.phase_seconds, metric::kPhaseWaitBatch));
  row->Set(metric::kWaitRollout, line.fleet.mean_idle_seconds);
}

void SetPolicy(const StepReport& report, MetricRow* row) {
  const PolicyStats& stats = report.stats;
  row->Set(metric::kLoss, report.loss);
  row->Set(metric::kPolicyLossKey, report.policy_loss);
  row->Set(metric::kGradNorm, report.grad_norm);
  row->Set(metric::kLearningRate, report.learning_rate);
  row->Set(metric::kEntropy, PerToken(stats.entropy, stats.tokens));
  if (report.has_reference) {
    row->Set(metric::kKlRef, report.kl_reference);
    row->Set(metric::kKlLossKey, report.kl_loss);
    row->Set(metric::kKlCoef, report.kl_coef);
  } else {
    row->Set(metric::kKlRef, std::nan(""));  // no value: null
  }
  row->Set(metric::kPpoKl, PerToken(stats.ppo_kl, stats.tokens));
  row->Set(metric::kClipLow, PerToken(stats.clipped_low, stats.tokens));
  row->Set(metric::kClipHigh, PerToken(stats.clipped_high, stats.tokens));
  row->Set(metric::kClipDual, PerToken(stats.clipped_dual, stats.tokens));
  row->Set(metric::kRatioMax, stats.ratio_max);
  row->Set(metric::kUpdates, report.updates);
  row->Set(metric::kUpdatesSkipped, report.skipped_updates);
}

void SetBeside(const StepReport& report, MetricRow* row) {
  if (report.critic) {
    row->Set(metric::kCriticLoss, report.critic->loss);
    row->Set(metric::kCriticExplainedVariance, report.critic->explained_variance);
    row->Set(metric::kCriticValueMean, report.critic->value_mean);
    row->Set(metric::kCriticReturnMean, report.critic->return_mean);
    row->Set(metric::kCriticClipRatio, report.critic->clip_fraction);
    row->Set(metric::kCriticGradNorm, report.critic->grad_norm);
    row->Set(metric::kCriticLearningRate, report.critic->learning_rate);
  }
  if (report.process) {
    row->Set(metric::kProcessLoss, report.process->loss);
    row->Set(metric::kProcessAccuracy, report.process->accuracy);
    row->Set(metric::kProcessRewardMean, report.process->reward_mean);
    row->Set(metric::kProcessGradNorm, report.process->grad_norm);
    row->Set(metric::kProcessLearningRate, report.process->learning_rate);
  }
}

void SetRewards(const StepReport& report, MetricRow* row) {
  row->Set(metric::kRewardMean, report.reward_mean);
  row->Set(metric::kRewardStd, report.reward_std);
  for (const auto& [name, mean] : report.component_means) {
    row->Set(metric::RewardComponentMean(name), mean);
  }
  for (const auto& [name, mean] : report.signal_means) {
    row->Set(metric::SignalMean(name), mean);
  }
  row->Set(metric::kAccuracyMean, report.accuracy_mean);
  row->Set(metric::kFracRewardZeroStd, report.frac_zero_std);
  row->Set(metric::kRowsUnscorable, report.unscorable_rows);
  row->Set(metric::kWhiteningSkipped, report.whitening_skipped ? 1 : 0);
  row->Set(metric::kResponseLengthMean, report.response_mean);
  row->Set(metric::kResponseLengthMax, report.response_max);
  row->Set(metric::kResponseLengthClipRatio, report.truncated_fraction);
  if (!report.length_request) return;
  if (const double r = report.length_request->correlation; !std::isnan(r)) {
    row->Set(metric::kLengthRequestCorrelation, r);
  }
  row->Set(metric::kLengthRequestError, report.length_request->relative_error);
}

void SetMismatch(const StepReport& report, MetricRow* row) {
  row->Set(metric::kOffPolicyMean, report.staleness_mean);
  row->Set(metric::kOffPolicyMax, report.staleness_max);
  row->Set(metric::kLogpDifferenceMax, report.mismatch.max_log_difference);
  row->Set(metric::kLogpDifferenceMean, report.mean_log_difference);
  row->Set(metric::kMismatchKl, report.mismatch.K3());
  row->Set(metric::kEffectiveSamples, report.mismatch.Ess());
  row->Set(metric::kCorrectionMean, report.correction_mean);
}

void SetThroughput(const StepLine& line, MetricRow* row) {
  const StepReport& report = *line.report;
  const PhaseSeconds& seconds = report.seconds;
  const double step = Total(line.phase_seconds) - SecondsIn(line.phase_seconds, metric::kPhaseEval);
  const double train =
      seconds.prepare + seconds.forward + seconds.backward + seconds.allreduce + seconds.optimizer;
  row->Set(metric::kRolloutTokensPerSecond,
           PerToken(static_cast<double>(line.batch->sampled_tokens), step));
  row->Set(metric::kTrainTokensPerSecond,
           PerToken(static_cast<double>(report.trained_tokens), train));
}

double RewardSeconds(const DispatchBatch& batch) {
  double seconds = 0;
  for (const Group& group : batch.groups) seconds += group.timings.reward_seconds;
  return seconds;
}

void SetGroups(const StepLine& line, MetricRow* row) {
  row->Set(metric::kRewardSeconds, RewardSeconds(*line.batch));
  int64_t filtered = 0;
  for (const auto& [state, count] : line.batch->dropped) {
    row->Set(metric::GroupsEnded(state), count);
    filtered += count;
  }
  row->Set(metric::kGroupsTrained, line.report->groups);
  row->Set(metric::kGroupsFiltered, filtered);
  row->Set(metric::kGroupsDrawn, line.batch->prompts_drawn);
  row->Set(metric::kSampledTokens, line.sampled_tokens);
}

nlohmann::json SampleJson(const StepLine& line, const Group& group, const Row& row,
                          const Tokenizer& tokenizer, const RewardScaleSpec& scale) {
  const auto text = [&](const std::vector<int32_t>& ids, bool skip_special) {
    return tokenizer.Decode(ids, skip_special).value_or("");
  };
  nlohmann::json sample;
  sample["step"] = line.step;
  sample["ordinal"] = group.ordinal;
  sample["source"] = group.source;
  sample["worker"] = group.worker;
  sample["version"] = group.start_version;
  sample["prompt"] = text(group.prompt, false);
  if (line.gold_of) {
    if (std::string gold = line.gold_of(group); !gold.empty()) sample["gold"] = std::move(gold);
  }
  const std::vector<int32_t> response = group.ResponseOf(row);
  sample["completion"] = text(response, false);
  sample["tokens"] = response.size();
  if (row.role != RowRole::kTrain) {
    sample["role"] = row.role == RowRole::kVote ? "vote" : "baseline";
  }
  sample["finish_reason"] = row.finish == FinishReason::kStop     ? "stop"
                            : row.finish == FinishReason::kLength ? "length"
                                                                  : "aborted";
  if (row.unscorable) {
    sample["reward"] = nullptr;
    sample["note"] = row.note;
    return sample;
  }
  sample["reward"] = row.reward;
  if (const double truth = RowTruth(group, row, scale); !std::isnan(truth)) {
    sample["accuracy"] = truth;
  }
  for (size_t i = 0; i < std::min(group.reward_names.size(), row.rewards.size()); ++i) {
    sample["rewards"][group.reward_names[i]] = row.rewards[i];
  }
  return sample;
}

}  // namespace

std::string RunTotals::ToJson() const {
  const nlohmann::json json = {
      {"train_seconds", train_seconds},   {"sampled_tokens", sampled_tokens},
      {"reward_first", reward_first},     {"reward_last", reward_last},
      {"has_before", has_before},         {"has_after", has_after},
      {"heldout_before", heldout_before}, {"heldout_after", heldout_after}};
  return json.dump();
}

RunTotals RunTotals::FromJson(const std::string& text) {
  RunTotals totals;
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return totals;
  const auto number = [&](const char* key, double* out) {
    if (json.contains(key) && json[key].is_number()) *out = json[key].get<double>();
  };
  number("train_seconds", &totals.train_seconds);
  number("sampled_tokens", &totals.sampled_tokens);
  number("reward_first", &totals.reward_first);
  number("reward_last", &totals.reward_last);
  number("heldout_before", &totals.heldout_before);
  number("heldout_after", &totals.heldout_after);
  totals.has_before = json.value("has_before", nlohmann::json(false)) == true;
  totals.has_after = json.value("has_after", nlohmann::json(false)) == true;
  return totals;
}

RunReporter::RunReporter(const v1::RunConfig& config, std::string out, const Tokenizer* tokenizer)
    : config_(config),
      out_(std::move(out)),
      tokenizer_(tokenizer),
      run_metrics_(config, out_, &registry_) {}

absl::StatusOr<std::unique_ptr<RunReporter>> RunReporter::Open(const v1::RunConfig& config,
                                                               const std::string& out,
                                                               const Tokenizer* tokenizer,
                                                               int64_t resumed_step) {
  std::unique_ptr<RunReporter> reporter(new RunReporter(config, out, tokenizer));
  const auto open = [&](const char* name) {
    const std::string path = absl::StrCat(out, "/", name);
    return JsonlWriter::Resume(path, std::max<int64_t>(resumed_step, -1));
  };
  COHORT_ASSIGN_OR_RETURN(reporter->metrics_, open(metric::kMetricsFile));
  COHORT_ASSIGN_OR_RETURN(reporter->samples_, open(metric::kSamplesFile));
  COHORT_ASSIGN_OR_RETURN(reporter->history_, open(metric::kGroupsFile));
  COHORT_ASSIGN_OR_RETURN(
      reporter->alerts_,
      AlertLog::Open(absl::StrCat(out, "/", metric::kAlertsFile), &reporter->registry_));
  if (resumed_step > 0) reporter->run_metrics_.ResumedFrom(resumed_step);
  reporter->view_.Load(absl::StrCat(out, "/", metric::kMetricsFile),
                       absl::StrCat(out, "/", metric::kSamplesFile));
  if (config.log().tensorboard()) {
    COHORT_ASSIGN_OR_RETURN(
        reporter->tensorboard_,
        TensorBoardWriter::Open(absl::StrCat(out, "/", metric::kTensorBoardFolder),
                                std::max<int64_t>(resumed_step, -1)));
  }
  return reporter;
}

MetricRow RunReporter::MakeRow(const StepLine& line) const {
  MetricRow row;
  row.Set(metric::kStep, line.step);
  SetTimes(line, &row);
  if (line.report != nullptr) {
    SetPolicy(*line.report, &row);
    SetBeside(*line.report, &row);
    SetRewards(*line.report, &row);
    SetMismatch(*line.report, &row);
    SetThroughput(line, &row);
    SetGroups(line, &row);
  }
  if (line.report != nullptr && !config_.rollout().length_schedule().empty()) {
    row.Set(metric::kLengthLimit, LengthLimitAt(config_.rollout(), line.step - 1));
  }
  row.Set(metric::kWeightsVersion, line.version);
  row.SetText(metric::kWeightsHash, line.weights_hash);
  for (const EvalResult& result : line.evaluation) {
    row.Set(metric::EvalAccuracy(result.name), result.accuracy);
    row.Set(metric::EvalRows(result.name), result.rows);
    row.Set(metric::EvalUnscorable(result.name), result.unscorable);
    row.Set(metric::EvalResponseLength(result.name), result.mean_length);
  }
  return row;
}

// `file`, as kFileWriteFailures calls it, went without a record: training goes on.
void RunReporter::Keep(const char* file, const absl::Status& written) {
  if (written.ok()) return;
  run_metrics_.FileNotWritten(file);
  COHORT_LOG(ERROR) << file << ": " << written.message();
}

void RunReporter::Step(const StepLine& line) {
  const MetricRow row = MakeRow(line);
  Keep("metrics", metrics_->Write(row));
  view_.AddStep(row);
  if (tensorboard_ != nullptr) Keep("tensorboard", tensorboard_->Write(line.step, row));
  if (line.batch != nullptr) {
    WriteSamples(line);
    WriteHistory(line);
  }
  WarnOfWhitening(line);
  run_metrics_.Step(line, row);
  alerts_->SetStep(line.step);
  absl::MutexLock lock(&mu_);
  last_ = row;
}

// Once: metrics.jsonl counts the others.
void RunReporter::WarnOfWhitening(const StepLine& line) {
  if (line.report == nullptr || !line.report->whitening_skipped || whitening_warned_) return;
  whitening_warned_ = true;
  COHORT_LOG(WARNING) << "step " << line.step
                      << ": algorithm.adv.scale token_whiten needs at least two valid tokens in a "
                         "batch; this one has fewer, so that its advantages are 0 and nothing is "
                         "learned from it. Later ones are counted in "
                      << metric::kWhiteningSkipped << " of metrics.jsonl";
}

// One row of each of the first groups, another one every step.
void RunReporter::WriteSamples(const StepLine& line) {
  const v1::RewardScale& scale = config_.algorithm().reward().scale();
  const RewardScaleSpec spec{scale.correct(), scale.wrong(), scale.unparsable()};
  const size_t wanted = static_cast<size_t>(std::max(0, config_.log().samples_per_step()));
  const std::vector<Group>& groups = line.batch->groups;
  for (size_t i = 0; i < wanted && !groups.empty(); ++i) {
    const Group& group = groups[i % groups.size()];
    if (group.rows.empty()) continue;
    const size_t index = (static_cast<size_t>(line.step) + i / groups.size()) % group.rows.size();
    const nlohmann::json sample = SampleJson(line, group, group.rows[index], *tokenizer_, spec);
    view_.AddSample(sample);
    Keep("samples", samples_->WriteLine(
                        sample.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)));
  }
}

GroupOutcome OutcomeOf(const Group& group, const RewardScaleSpec& scale) {
  GroupOutcome outcome;
  double sum = 0;
  for (const Row& row : group.rows) {
    if (row.role != RowRole::kTrain || row.unscorable || row.finish == FinishReason::kAborted) {
      continue;
    }
    sum += RowAccuracy(group, row, scale);
    ++outcome.rows;
  }
  if (outcome.rows > 0) outcome.accuracy = sum / static_cast<double>(outcome.rows);
  return outcome;
}

// How every trained prompt went: what `cohort select` ranks by.
void RunReporter::WriteHistory(const StepLine& line) {
  const v1::RewardScale& scale = config_.algorithm().reward().scale();
  const RewardScaleSpec spec{scale.correct(), scale.wrong(), scale.unparsable()};
  for (const Group& group : line.batch->groups) {
    const GroupOutcome outcome = OutcomeOf(group, spec);
    if (outcome.rows == 0) continue;
    const nlohmann::json entry = {{"step", line.step},
                                  {"ordinal", group.ordinal},
                                  {"source", group.source},
                                  {"prompt", PromptKey(group.prompt)},
                                  {"accuracy", outcome.accuracy},
                                  {"rows", outcome.rows}};
    Keep("groups",
         history_->WriteLine(entry.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)));
  }
}

// Said whenever it changes: a prompt that was lost once stays lost.
void RunReporter::CheckBalance(const LedgerCounts& counts) {
  const int64_t imbalance = counts.Imbalance();
  if (imbalance == 0) alerts_->Clear(kAlertImbalance);
  if (imbalance != 0 && imbalance != imbalance_) {
    alerts_->Raise(
        kAlertImbalance,
        absl::StrCat("of ", counts.dispatched, " prompts dispatched ", counts.TotalEnded(),
                     " have ended and ", counts.in_flight, " are in flight, ", counts.buffered,
                     " buffered, ", counts.training, " in training: ", imbalance,
                     " are in no state (below 0: in two). Training goes on, but its accounting is "
                     "wrong; please report this with the log"));
  }
  imbalance_ = imbalance;
}

void RunReporter::StepFailed(const absl::Status& status) {
  const std::string where = NonFiniteIn(status);
  if (!where.empty()) run_metrics_.NonFinite(where);
}

absl::Status RunReporter::WriteSummary(const RunTotals& totals, int64_t steps) const {
  nlohmann::json json;
  json[metric::kSummarySteps] = steps;
  json[metric::kSummaryTrainSeconds] = totals.train_seconds;
  json[metric::kSummaryRewardFirst] = totals.reward_first;
  json[metric::kSummaryRewardLast] = totals.reward_last;
  json[metric::kSummaryHeldoutBefore] = nullptr;
  json[metric::kSummaryHeldoutAfter] = nullptr;
  if (totals.has_before) json[metric::kSummaryHeldoutBefore] = totals.heldout_before;
  if (totals.has_after) json[metric::kSummaryHeldoutAfter] = totals.heldout_after;
  json[metric::kSummaryTokensPerSecond] = PerToken(totals.sampled_tokens, totals.train_seconds);
  json[metric::kSummarySampledTokens] = totals.sampled_tokens;
  json[metric::kSummaryModel] = config_.model().path();
  json[metric::kSummaryDtype] = config_.model().dtype();
  json[metric::kSummarySeed] = config_.run().seed();
  json[metric::kSummarySpurious] = config_.run().spurious();
  json[metric::kSummaryAlerts] = nlohmann::json::array();
  for (const Alert& alert : alerts_->Snapshot()) {
    json[metric::kSummaryAlerts].push_back({{"alert", alert.name},
                                            {"text", alert.text},
                                            {"step", alert.step},
                                            {"count", alert.count},
                                            {"over", alert.over}});
  }
  return WriteFileAtomic(absl::StrCat(out_, "/", metric::kSummaryFile), json.dump(2) + "\n");
}

std::vector<v1::Alert> RunReporter::alerts() const {
  std::vector<Alert> known = alerts_->Snapshot();
  absl::c_sort(known, [](const Alert& a, const Alert& b) { return a.raised > b.raised; });
  std::vector<v1::Alert> out;
  for (const Alert& alert : known) {
    v1::Alert& shown = out.emplace_back();
    shown.set_name(alert.name);
    shown.set_text(ValidUtf8(alert.text));
    shown.set_unix_seconds(absl::ToDoubleSeconds(alert.raised - absl::UnixEpoch()));
    shown.set_step(alert.step);
    shown.set_count(alert.count);
    shown.set_over(alert.over);
  }
  return out;
}

MetricRow RunReporter::last_row() const {
  absl::MutexLock lock(&mu_);
  return last_;
}

}  // namespace cohort

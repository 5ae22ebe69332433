#include "services/learner/run.h"

#include <unistd.h>

#include <atomic>
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/algorithm/container.h"
#include "absl/base/thread_annotations.h"
#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/base/exit_code.h"
#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/supervise/stop_watcher.h"
#include "common/telemetry/flight_recorder.h"
#include "common/telemetry/http_host.h"
#include "common/telemetry/metric_names.h"
#include "common/train/non_finite.h"
#include "services/learner/evaluation_run.h"
#include "services/learner/rank_channel.h"
#include "services/learner/serving.h"
#include "services/learner/waiting.h"

namespace cohort {
namespace {

constexpr int kMaxSilentSteps = 10;
constexpr absl::Duration kPauseSlice = absl::Seconds(10);
// A service may be restarted meanwhile, and steps without a verdict are short.
constexpr absl::Duration kServiceMayBeAway = absl::Minutes(2);
// After a stop: longer than a healthy rank takes to agree that a step is abandoned.
constexpr absl::Duration kRankIsStuck = absl::Seconds(10);
constexpr absl::Duration kLook = absl::Milliseconds(200);
constexpr absl::Duration kDrain = absl::Seconds(15);
constexpr absl::Duration kHurriedDrain = absl::Seconds(3);
constexpr absl::Duration kLastScrapes = absl::Seconds(90);
constexpr double kShareOfGrace = 0.5;  // the rest is for the checkpoint

// Rank 0 from its first evaluation to the summary.
class LearnerRun {
 public:
  LearnerRun(const LearnerArgs& args, LearnerParts* parts, const StopWatcher* watcher)
      : args_(args), parts_(*parts), watcher_(*watcher), timer_(metric::kPhaseOther) {}

  absl::Status Prepare();
  absl::Status Run();
  void Close() {
    if (serving_ != nullptr) serving_->dispatcher().Close();
  }
  // After a stop, from another thread; returns once the run is finishing. A step that waits for a
  // rank which hangs is given up, so that the steps before it are saved: at once when it has
  // changed nothing yet, else when the grace (zero: none) runs out.
  void GiveUpWhenStuck(absl::Duration grace);
  // They end as this rank does.
  absl::Status TellRanksToStop(int exit_code);

 private:
  const v1::RunConfig& config() const { return parts_.config; }
  int64_t step() const { return parts_.trainer->batches(); }
  // All steps are done, or as many tokens as were wanted are sampled.
  bool Complete() const {
    const int64_t tokens = config().run().sampled_tokens();
    return step() >= config().run().steps() ||
           (tokens > 0 && totals_.sampled_tokens >= static_cast<double>(tokens));
  }
  bool stopping() const { return signal() != 0; }
  // Of this rank's stop or another one's; 0: none.
  int signal() const { return watcher_.stopping() ? watcher_.signal() : stop_of_others_; }
  absl::Duration Patience() const {
    return absl::Seconds(config().learner().step_timeout_seconds());
  }

  absl::Status Train();
  absl::Status OneStep();
  // As long as the result lives: what waits for other ranks may be given up while no update is
  // made.
  auto MayBeGivenUp() {
    updates_before_ = parts_.trainer->updates();
    return absl::MakeCleanup([this] { updates_before_ = -1; });
  }
  absl::Status TellRanks(RankCommand::Kind kind, int64_t version, absl::Span<const Group> groups);
  absl::StatusOr<DispatchBatch> WaitForBatch(absl::Time deadline);
  absl::StatusOr<DispatchBatch> TakeBatch();
  absl::StatusOr<DispatchBatch> Pause(const absl::Status& why);
  absl::StatusOr<StepReport> TrainOn(const DispatchBatch& batch);
  StepRecord RecordOf(const DispatchBatch& batch) const;
  absl::Status CheckVerdicts(const StepReport& report);
  absl::Status Evaluate(std::vector<EvalResult>* results);
  bool EvaluationDue() const;
  void KeepCheckpoint(const std::vector<EvalResult>& evaluation);
  absl::Status CheckFolder() const;
  absl::Status SaveCheckpoint();
  std::map<std::string, double> TakePhases(const StepReport* report);
  std::string ExtraState() const;
  absl::Status Finish(const absl::Status& trained);
  absl::Status HowItEnded(const absl::Status& trained, const absl::Status& saved) const;
  void SendWorkersAway(const absl::Status& status);

  const LearnerArgs args_;
  LearnerParts& parts_;
  const StopWatcher& watcher_;
  PhaseTimer timer_;
  std::unique_ptr<PromptMaker> prompts_;
  std::unique_ptr<RunReporter> reporter_;
  MemoryGroupLog log_;
  std::unique_ptr<LearnerServing> serving_;
  RunTotals totals_;
  int silent_steps_ = 0;       // the last ones, without a single verdict
  absl::Time silent_since_;    // their first one's end
  int64_t saved_step_ = 0;     // of the newest checkpoint
  double train_rest_ = 0;      // seconds of kPhaseTrain that no report accounts for
  bool weights_whole_ = true;  // false: a step failed after some of its updates
  bool ranks_follow_ = true;   // false: the collective is unusable
  int stop_of_others_ = 0;     // signal of another rank's stop

  // Read by GiveUpWhenStuck.
  std::atomic<int64_t> updates_before_{-1};  // the exchange that runs; -1: none does
  std::atomic<bool> given_up_{false};
  absl::Notification finishing_;
};

absl::Status LearnerRun::Prepare() {
  const int64_t first_step = parts_.resumed ? parts_.resumed->step : -1;
  if (parts_.resumed) {
    totals_ = RunTotals::FromJson(parts_.resumed->extra_json);
    saved_step_ = parts_.resumed->step;
  }
  absl::StatusOr<std::unique_ptr<PromptMaker>> prompts = PromptMaker::Create(
      config(), parts_.tokenizer.get(), parts_.model->config().max_position_embeddings);
  if (!prompts.ok()) return BadInput(prompts.status());
  prompts_ = *std::move(prompts);
  COHORT_ASSIGN_OR_RETURN(
      reporter_, RunReporter::Open(config(), parts_.out, parts_.tokenizer.get(), first_step));
  reporter_->registry()
      .Gauge(metric::kRunInfo, {{"run", config().run().name()},
                                {"config_hash", HashOfFields(parts_.semantic)},
                                {"model_hash", parts_.model_hash}})
      .Set(1);
  for (const PromptMaker::EvalSet& set : prompts_->evaluation()) {
    if (set.too_long == 0) continue;
    COHORT_LOG(WARNING) << "evaluation " << set.name << ": " << set.too_long
                        << " prompts are longer than " << prompts_->max_eval_prompt_tokens()
                        << " tokens and are left out";
  }
  serving_ = std::make_unique<LearnerServing>(args_, &parts_, prompts_.get(), reporter_.get(),
                                              &timer_, &log_);
  serving_->CheckRanksWith([this] { return parts_.collective->RanksAlive(); });
  COHORT_RETURN_IF_ERROR(
      WriteFileAtomic(parts_.OutPath(metric::kConfigFile), PrintConfig(config())));
  if (Complete()) {
    COHORT_LOG(INFO) << "the run in " << parts_.out << " is complete already, at step " << step()
                     << "; to go on, raise run.steps";
    return absl::OkStatus();
  }
  COHORT_RETURN_IF_ERROR(serving_->Publish(step()));
  serving_->Progress(step(), -1);
  return serving_->Start();
}

absl::Status LearnerRun::Run() {
  absl::Status trained = Train();
  const absl::Status ranks = parts_.collective->Ended();
  if (absl::IsCancelled(trained) && !stopping() && !ranks.ok()) {  // closed by LearnerServing
    trained = ranks;
    ranks_follow_ = false;
  }
  return Finish(trained);
}

absl::Status LearnerRun::Train() {
  if (step() == 0) {
    std::vector<EvalResult> before;
    COHORT_RETURN_IF_ERROR(Evaluate(&before));
    if (!before.empty()) {
      totals_.has_before = true;
      totals_.heldout_before = before[0].accuracy;
      StepLine line;
      line.weights_hash = serving_->weights_hash();
      line.phase_seconds = TakePhases(nullptr);
      line.fleet = serving_->session().TakeFleetSample();
      line.evaluation = std::move(before);
      reporter_->Step(line);
    }
  }
  TakePhases(nullptr);  // what came before the first step is not training
  while (!Complete() && !stopping()) {
    COHORT_RETURN_IF_ERROR(CheckFolder());
    COHORT_RETURN_IF_ERROR(OneStep());
  }
  return absl::OkStatus();
}

absl::Status LearnerRun::OneStep() {
  COHORT_ASSIGN_OR_RETURN(const DispatchBatch batch, TakeBatch());
  ProcessRecorder().Record(absl::StrCat("step ", step() + 1, ": a batch is there"));
  timer_.Enter(metric::kPhaseTrain);
  COHORT_ASSIGN_OR_RETURN(const StepReport report, TrainOn(batch));
  timer_.Enter(metric::kPhasePublish);
  std::vector<uint64_t> ordinals;
  for (const Group& group : batch.groups) ordinals.push_back(group.ordinal);
  ProcessRecorder().Record(absl::StrCat("step ", step(), ": trained"));
  serving_->dispatcher().MarkTrained(ordinals);
  COHORT_RETURN_IF_ERROR(serving_->PublishStep(RecordOf(batch)));

  if (step() == 1) totals_.reward_first = report.reward_mean;
  totals_.reward_last = report.reward_mean;
  totals_.sampled_tokens += static_cast<double>(batch.sampled_tokens);
  StepLine line;
  line.step = step();
  line.report = &report;
  line.batch = &batch;
  line.sampled_tokens = totals_.sampled_tokens;
  line.version = step();
  line.weights_hash = serving_->weights_hash();
  line.gold_of = [this](const Group& group) { return prompts_->Gold(group.ordinal); };
  absl::Status evaluated;
  if (EvaluationDue()) evaluated = Evaluate(&line.evaluation);
  timer_.Enter(metric::kPhaseOther);
  line.fleet = serving_->session().TakeFleetSample();
  line.phase_seconds = TakePhases(&report);
  line.train_rest = train_rest_;
  double step_seconds = 0;
  for (const auto& [phase, seconds] : line.phase_seconds) {
    if (phase != metric::kPhaseEval) step_seconds += seconds;
  }
  totals_.train_seconds += step_seconds;
  reporter_->Step(line);
  // Last, so that a run that is resumed from it has all of this step; its time is the next step's.
  KeepCheckpoint(line.evaluation);
  serving_->Progress(step(), totals_.train_seconds / static_cast<double>(step()));
  COHORT_LOG(INFO) << absl::StrFormat(
      "step %d of %d: reward %.3f, loss %.4g, grad norm %.3g, length %.1f, %.1f s", step(),
      config().run().steps(), report.reward_mean, report.loss, report.grad_norm,
      report.response_mean, step_seconds);
  COHORT_RETURN_IF_ERROR(CheckVerdicts(report));
  return evaluated;
}

// Of the step just made; its groups are marked as trained.
StepRecord LearnerRun::RecordOf(const DispatchBatch& batch) const {
  StepRecord record;
  record.step = step();
  for (const Group& group : batch.groups) record.groups.push_back(group.id);
  record.updates = parts_.trainer->optimizer().steps();
  record.cursor = serving_->dispatcher().Cursor();
  return record;
}

// A reward that is away for a while costs the steps of that while; one that stays away ends the
// run.
absl::Status LearnerRun::CheckVerdicts(const StepReport& report) {
  const bool wanted = !config().algorithm().objective().has_entropy_direct();
  const bool silent = wanted && report.rows > 0 && report.unscorable_rows == report.rows;
  silent_steps_ = silent ? silent_steps_ + 1 : 0;
  if (!silent) {
    reporter_->alert_log().Clear(kAlertNoVerdicts);
    return absl::OkStatus();
  }
  if (silent_steps_ == 1) silent_since_ = absl::Now();
  const std::string what =
      absl::StrCat("none of the ", report.rows, " rows of a step could be scored, ", silent_steps_,
                   " steps in a row; the workers' logs say why");
  const bool service =
      absl::c_any_of(config().algorithm().reward().sources(),
                     [](const auto& source) { return source.name() == "service"; });
  const absl::Duration patience = service ? kServiceMayBeAway : absl::ZeroDuration();
  if (silent_steps_ >= kMaxSilentSteps && absl::Now() - silent_since_ >= patience) {
    return absl::FailedPreconditionError(AlertLine(kAlertNoVerdicts, what));
  }
  reporter_->alert_log().Raise(kAlertNoVerdicts, what);
  return absl::OkStatus();
}

// On every rank. An error after the first update leaves weights that nobody may use.
absl::StatusOr<StepReport> LearnerRun::TrainOn(const DispatchBatch& batch) {
  const int64_t version = step();
  const int64_t updates = parts_.trainer->updates();
  const auto guard = MayBeGivenUp();
  COHORT_RETURN_IF_ERROR(TellRanks(RankCommand::Kind::kTrain, version, batch.groups));
  absl::StatusOr<StepReport> report = parts_.trainer->Step(batch.groups, version);
  ranks_follow_ = report.ok() || absl::IsCancelled(report.status());
  if (report.ok()) return report;
  reporter_->StepFailed(report.status());
  // Weights that give log-probs which are not finite are damaged, too.
  weights_whole_ = parts_.trainer->updates() == updates &&
                   NonFiniteIn(report.status()) != NonFiniteName(NonFinite::kLogprob);
  return report;
}

// Cancelled: another rank was told to stop, and the run stops with it.
absl::Status LearnerRun::TellRanks(RankCommand::Kind kind, int64_t version,
                                   absl::Span<const Group> groups) {
  const absl::StatusOr<int> stop = SendCommand(*parts_.collective, kind, version, groups);
  ranks_follow_ = stop.ok();
  COHORT_RETURN_IF_ERROR(stop.status());
  stop_of_others_ = *stop;
  return *stop == 0 ? absl::OkStatus() : absl::CancelledError("another rank was told to stop");
}

// Meanwhile the other ranks wait for a command: they hear from this one, and it from them.
absl::StatusOr<DispatchBatch> LearnerRun::WaitForBatch(absl::Time deadline) {
  const bool alone = parts_.collective->world_size() == 1;
  while (true) {
    const absl::Time slice = alone ? deadline : std::min(deadline, absl::Now() + kPauseSlice);
    absl::StatusOr<DispatchBatch> batch = serving_->dispatcher().TakeBatch(step(), slice);
    if (!absl::IsDeadlineExceeded(batch.status()) || slice == deadline) return batch;
    const auto guard = MayBeGivenUp();
    const absl::Status told = TellRanks(RankCommand::Kind::kWait, step(), {});
    // Not to be taken for a batch that is not there yet.
    if (absl::IsDeadlineExceeded(told)) return absl::UnavailableError(told.message());
    COHORT_RETURN_IF_ERROR(told);
  }
}

void LearnerRun::GiveUpWhenStuck(absl::Duration grace) {
  if (parts_.collective->world_size() == 1) return;
  const absl::Duration at_most =
      grace > absl::ZeroDuration() ? grace * kShareOfGrace : absl::InfiniteDuration();
  const absl::Time stopped = absl::Now();
  while (!finishing_.WaitForNotificationWithTimeout(kLook)) {
    const bool untouched = parts_.trainer->updates() == updates_before_;
    if (absl::Now() - stopped < (untouched ? std::min(kRankIsStuck, at_most) : at_most)) continue;
    COHORT_LOG(WARNING) << "the ranks do not come to the end of the step: giving it up";
    given_up_ = true;
    return parts_.collective->Abort();
  }
}

absl::StatusOr<DispatchBatch> LearnerRun::TakeBatch() {
  timer_.Enter(metric::kPhaseWaitBatch);
  Dispatcher& dispatcher = serving_->dispatcher();
  absl::StatusOr<DispatchBatch> batch = WaitWhileGroupsArrive(
      dispatcher, Patience(), [&](absl::Time deadline) { return WaitForBatch(deadline); });
  const bool pauses = config().algorithm().filter().on_exhausted() == v1::EXHAUSTED_PAUSE;
  if (!absl::IsResourceExhausted(batch.status()) || !pauses) return batch;
  return Pause(batch.status());
}

// No prompts are left to try for this batch. Nothing is lost while somebody decides: no further
// prompt is leased, and the run waits until it is stopped; resumed, it tries again. What was on its
// way may still fill the batch.
absl::StatusOr<DispatchBatch> LearnerRun::Pause(const absl::Status& why) {
  if (step() > saved_step_) SaveCheckpoint().IgnoreError();  // Finish tries again
  const PhaseTimer::Scope phase(&timer_, metric::kPhasePaused);
  reporter_->metrics().Paused(true);
  reporter_->alert_log().RaiseFrom(WithText(
      why, absl::StrCat(why.message(),
                        ". The run is paused: stop it (Ctrl-C or SIGTERM), change the value and ",
                        saved_step_ > 0 ? "continue with --resume" : "start it again",
                        "; algorithm.filter.on_exhausted: stop would end it instead")));
  while (!serving_->dispatcher().WaitClosed(absl::Now() + std::min(kPauseSlice, Patience() / 2))) {
    absl::StatusOr<DispatchBatch> batch = serving_->dispatcher().TakeBatch(step(), absl::Now());
    if (!absl::IsResourceExhausted(batch.status())) {
      if (!batch.ok()) return batch;
      reporter_->metrics().Paused(false);
      reporter_->alert_log().Clear(kAlertExhausted);
      COHORT_LOG(INFO) << "groups that were on their way filled the batch: the run goes on";
      return batch;
    }
    // The other ranks wait for a command, with a limit.
    const auto guard = MayBeGivenUp();
    COHORT_RETURN_IF_ERROR(TellRanks(RankCommand::Kind::kWait, step(), {}));
  }
  return absl::CancelledError("stopped while paused");
}

bool LearnerRun::EvaluationDue() const {
  const int64_t every = config().eval().every_steps();
  return Complete() || (every > 0 && step() % every == 0);
}

absl::Status LearnerRun::Evaluate(std::vector<EvalResult>* results) {
  if (prompts_->evaluation().empty() || stopping()) return absl::OkStatus();
  const PhaseTimer::Scope phase(&timer_, metric::kPhaseEval);
  COHORT_ASSIGN_OR_RETURN(*results, cohort::Evaluate(*prompts_, parts_.algorithm.reward_scale,
                                                     serving_->dispatcher(), Patience()));
  for (const EvalResult& result : *results) {
    COHORT_LOG(INFO) << absl::StrFormat(
        "evaluation %s at step %d: accuracy %.3f over %d rows (%d unscorable, %d prompts failed)",
        result.name, step(), result.accuracy, result.rows, result.unscorable, result.failed);
  }
  if (!results->empty() && step() > 0) {
    totals_.has_after = true;
    totals_.heldout_after = (*results)[0].accuracy;
  }
  return absl::OkStatus();
}

void LearnerRun::KeepCheckpoint(const std::vector<EvalResult>& evaluation) {
  const int64_t every = config().checkpoint().every_steps();
  const CheckpointStore::Best best = parts_.checkpoints->best();
  const bool better = config().checkpoint().keep_best() && !evaluation.empty() &&
                      evaluation[0].rows > 0 &&
                      (best.step < 0 || evaluation[0].accuracy > best.score);
  const bool due = Complete() || (every > 0 && step() % every == 0);
  if (!due && !better) return;
  // Training goes on without it; the next one is tried again.
  if (!SaveCheckpoint().ok() || !better) return;
  const absl::Status marked = parts_.checkpoints->MarkBest(step(), evaluation[0].accuracy);
  if (!marked.ok()) COHORT_LOG(ERROR) << "best checkpoint: " << marked.message();
}

// Another run may have the place by now: nothing more may be written there.
absl::Status LearnerRun::CheckFolder() const { return BadSetup(parts_.lock->CheckPlace()); }

absl::Status LearnerRun::SaveCheckpoint() {
  COHORT_RETURN_IF_ERROR(CheckFolder());
  const PhaseTimer::Scope phase(&timer_, metric::kPhaseCheckpoint);
  CheckpointState state;
  state.step = step();
  state.version = step();
  state.optimizer_steps = parts_.trainer->optimizer().steps();
  state.kl_coef = parts_.trainer->kl_coef();
  state.config_hash = HashOfFields(parts_.semantic);
  state.extra_json = ExtraState();
  const absl::Time start = absl::Now();
  const absl::Status status = parts_.checkpoints->Save(*parts_.model, parts_.trainer->optimizer(),
                                                       state, parts_.trainer->Beside());
  reporter_->metrics().CheckpointWritten(step(), absl::ToDoubleSeconds(absl::Now() - start),
                                         status.ok());
  if (!status.ok()) {
    reporter_->alert_log().Raise(
        kAlertCheckpointFailed,
        absl::StrCat("step ", step(), ": ", status.message(),
                     Complete() ? "" : ". Training continues; the next checkpoint will be tried"));
    return status;
  }
  reporter_->alert_log().Clear(kAlertCheckpointFailed);
  saved_step_ = step();
  return status;
}

std::string LearnerRun::ExtraState() const {
  const DispatchCursor cursor = serving_->dispatcher().Cursor();
  RunTotals totals = totals_;
  totals.sampled_tokens += static_cast<double>(serving_->dispatcher().DroppedTokens());
  nlohmann::json json = nlohmann::json::parse(totals.ToJson());
  json["cursor"] = {{"next_ordinal", cursor.next_ordinal}, {"holes", cursor.holes}};
  json["semantic"] = parts_.semantic;
  return json.dump();
}

// The phases since the last call, with the step's own ones in the place of "train".
std::map<std::string, double> LearnerRun::TakePhases(const StepReport* report) {
  std::map<std::string, double> seconds = timer_.Take();
  double train = seconds[metric::kPhaseTrain];  // split by the step's report
  seconds.erase(metric::kPhaseTrain);
  if (report != nullptr) {
    const PhaseSeconds& own = report->seconds;
    seconds[metric::kPhasePrepare] = own.prepare;
    seconds[metric::kPhaseForward] = own.forward;
    seconds[metric::kPhaseBackward] = own.backward;
    seconds[metric::kPhaseAllReduce] = own.allreduce;
    seconds[metric::kPhaseOptimizer] = own.optimizer;
    seconds[metric::kPhaseBeside] = own.beside;
    train -= own.prepare + own.forward + own.backward + own.allreduce + own.optimizer + own.beside;
  }
  train_rest_ = std::max(0.0, train);
  seconds[metric::kPhaseOther] += train_rest_;
  return seconds;
}

absl::Status LearnerRun::Finish(const absl::Status& trained) {
  finishing_.Notify();
  timer_.Enter(metric::kPhaseOther);
  reporter_->alert_log().RaiseFrom(trained);
  absl::Status saved;
  if (weights_whole_ && step() > saved_step_) saved = SaveCheckpoint();
  const absl::Status status = HowItEnded(trained, saved);
  if (status.ok()) reporter_->metrics().Finished();
  absl::Status stopped;
  if (ranks_follow_) {
    stopped = TellRanksToStop(ExitCodeOf(status));
  }
  if (!ranks_follow_ || !stopped.ok()) parts_.collective->Abort();
  absl::Status summary;
  if ((step() > 0 || stopping() || status.ok()) && CheckFolder().ok()) {
    summary = reporter_->WriteSummary(totals_, step());
  }
  SendWorkersAway(status);
  if (!status.ok()) return status;
  if (parts_.http != nullptr) {
    parts_.http->WaitForLastScrapes(kLastScrapes, [this] { return stopping(); });
  }
  return stopped.ok() ? summary : stopped;
}

// A learner that was stopped, or failed in a way that another try may not, may be started again:
// its workers wait for it.
void LearnerRun::SendWorkersAway(const absl::Status& status) {
  if (status.ok()) {
    return serving_->Stop(LearnerEnd::kRunOver, "the run is complete",
                          stopping() ? kHurriedDrain : kDrain);
  }
  if (IsBadSetup(status)) {
    return serving_->Stop(LearnerEnd::kRunOver,
                          absl::StrCat("the run is given up: ", std::string(status.message())),
                          kHurriedDrain);
  }
  serving_->Stop(LearnerEnd::kMayReturn, "the learner stops", absl::ZeroDuration());
}

// The run is saved by now: a rank that hangs is not waited for.
absl::Status LearnerRun::TellRanksToStop(int exit_code) {
  if (parts_.collective->world_size() == 1) return absl::OkStatus();
  absl::Notification told;
  std::thread limit([&] {
    if (!told.WaitForNotificationWithTimeout(kRankIsStuck)) parts_.collective->Abort();
  });
  const absl::Status sent =
      SendCommand(*parts_.collective, RankCommand::Kind::kStop, exit_code, {}).status();
  told.Notify();
  limit.join();
  return sent;
}

// What the signal cut short is not an error of its own; its weights are those before the step.
absl::Status LearnerRun::HowItEnded(const absl::Status& trained, const absl::Status& saved) const {
  const bool cut_short = stopping() && (absl::IsCancelled(trained) || given_up_) && weights_whole_;
  if (!trained.ok() && !cut_short) return trained;
  if (!saved.ok()) {
    return WithText(saved, absl::StrCat("step ", step(), " of ", config().run().steps(),
                                        " is done but not saved: ", std::string(saved.message())));
  }
  if (Complete()) return absl::OkStatus();
  return StoppedBySignal(
      signal(), absl::StrCat("stopped by signal ", signal(), " at step ", step(), " of ",
                             config().run().steps(), step() > 0 ? ", which is saved" : ""));
}

// The run that a signal should close, while there is one.
class CurrentRun {
 public:
  void Set(LearnerRun* run) {
    absl::MutexLock lock(&mu_);
    run_ = run;
    if (closed_ && run_ != nullptr) run_->Close();
  }
  void Close(absl::Duration grace) {
    absl::MutexLock lock(&mu_);
    closed_ = true;
    if (run_ == nullptr) return;
    run_->Close();
    run_->GiveUpWhenStuck(grace);
  }

 private:
  absl::Mutex mu_;
  LearnerRun* run_ ABSL_GUARDED_BY(mu_) = nullptr;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
};

absl::Status RunRankZero(const LearnerArgs& args, LearnerParts* parts, const StopWatcher* watcher,
                         CurrentRun* current) {
  LearnerRun run(args, parts, watcher);
  if (const absl::Status prepared = run.Prepare(); !prepared.ok()) {
    run.TellRanksToStop(ExitCodeOf(prepared)).IgnoreError();  // they end in any case
    return prepared;
  }
  current->Set(&run);
  const absl::Status status = run.Run();
  current->Set(nullptr);
  return status;
}

[[noreturn]] void EndBeforeTheStart(int signal) {
  _exit(EndOfProgram("cohort-learner",
                     StoppedBySignal(signal, absl::StrCat("stopped by signal ", signal,
                                                          " before the first step"))));
}

}  // namespace

absl::Status RunLearner(const LearnerArgs& args, StopSignal* stop) {
  if (!args.evaluate.empty()) return RunEvaluation(args, stop);
  const bool first = args.rank == 0;
  std::atomic<bool> cancelled{false};
  std::atomic<Collective*> collective{nullptr};  // set: started
  std::atomic<double> grace_seconds{0};
  CurrentRun current;
  std::unique_ptr<LearnerParts> parts;
  StopWatcher watcher(stop, [&](int signal) {
    // Nothing has been trained yet, and a peer may never come: no reason to wait.
    if (collective == nullptr) EndBeforeTheStart(signal);
    cancelled = true;
    // Another rank tells rank 0, which tells it when to stop.
    if (first) current.Close(absl::Seconds(grace_seconds.load()));
  });
  COHORT_ASSIGN_OR_RETURN(parts, StartLearner(args, [&] { return first && cancelled.load(); }));
  grace_seconds = parts->config.run().stop_grace_seconds();
  watcher.SetGrace(absl::Seconds(grace_seconds.load()));
  collective = parts->collective.get();
  if (first) return RunRankZero(args, parts.get(), &watcher, &current);
  const absl::Status status =
      FollowRankZero(*parts->collective, *parts->trainer, [&] { return watcher.signal(); });
  // Aborted is rank 0's own word: it could not save, or was wrongly set up.
  if (status.ok() || !watcher.stopping() || absl::IsAborted(status)) return status;
  return StoppedBySignal(watcher.signal(), std::string(status.message()));
}

}  // namespace cohort

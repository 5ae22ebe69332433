// `cohort train`: learner ranks and rollout workers as children of this process, followed until the
// run ends. No gRPC and no LibTorch here: this process forks.
#include "services/cli/train.h"

#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/cpu_count.h"
#include "common/base/exit_code.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/run_folder/run_folder.h"
#include "common/supervise/exit_reason.h"
#include "common/telemetry/metric_names.h"
#include "services/cli/free_port.h"
#include "services/cli/one_machine.h"
#include "services/cli/progress.h"

namespace cohort {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(100);
// Where nobody asked for the end: the learner may be writing a checkpoint.
constexpr absl::Duration kFailureGrace = absl::Minutes(10);
constexpr absl::Duration kBeyondGrace = absl::Seconds(5);  // the learner ends itself by then
constexpr absl::Duration kRankGrace = absl::Seconds(20);   // once rank 0 has ended
constexpr absl::Duration kWorkerEnd = absl::Seconds(5);    // after it has drained
constexpr int kLogLines = 20;
// A worker that ended in order was sent away by a learner that is ending too, as a rule.
constexpr absl::Duration kSentAway = absl::Seconds(15);

// The devices that this process may use, as CUDA_VISIBLE_DEVICES names them. Empty without a GPU.
std::vector<std::string> VisibleGpus(const v1::RunConfig& config) {
  if (LearnerDevice(config) == "cpu" && RolloutDevice(config) == "cpu") return {};
  if (const char* visible = std::getenv("CUDA_VISIBLE_DEVICES")) {
    return absl::StrSplit(visible, ',', absl::SkipWhitespace());
  }
  std::vector<std::string> gpus;
  while (access(absl::StrCat("/dev/nvidia", gpus.size()).c_str(), F_OK) == 0) {
    gpus.push_back(absl::StrCat(gpus.size()));
  }
  return gpus;
}

int TerminalWidth() {
  winsize size{};
  if (isatty(STDOUT_FILENO) == 0 || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return 0;
  return size.ws_col > 0 ? size.ws_col : 80;
}

// One run from the first fork to the summary.
class TrainRun {
 public:
  TrainRun(v1::RunConfig config, const TrainArgs& args, ResumeMode resume,
           const RestartPolicy::Options& restarts)
      : config_(std::move(config)),
        resume_(resume),
        program_folder_(std::filesystem::path(args.self).parent_path().string()),
        gpus_(VisibleGpus(config_)),
        view_(&std::cout, config_.run().steps(), TerminalWidth()),
        metrics_(OutPath(metric::kMetricsFile), /*skip_existing=*/true),
        alerts_(OutPath(metric::kAlertsFile), /*skip_existing=*/true) {
    for (const std::string& name : WorkerNames()) workers_[name].policy = RestartPolicy(restarts);
  }

  // The exit status.
  int Run();

 private:
  std::string OutPath(absl::string_view name) const {
    return absl::StrCat(config_.run().out(), "/", name);
  }
  std::string LogPath(const std::string& name) const {
    return absl::StrCat(OutPath(metric::kLogFolder), "/", name, ".log");
  }
  std::string Program(const char* name) const { return absl::StrCat(program_folder_, "/", name); }

  ChildSpec LearnerSpec(int rank, const std::string& store) const;
  ChildSpec WorkerSpec(int index) const;
  std::vector<std::pair<std::string, std::string>> Environment(int threads, int slot) const;
  std::vector<std::string> LearnerNames() const;
  std::vector<std::string> WorkerNames() const;

  absl::Status StartChild(ChildSpec spec);
  absl::Status StartLearner();
  absl::Status StartWorkersWhenReachable();
  bool RunIsOver() const;
  absl::Status RestartWorkers();
  absl::Status HandleExit(const ChildExit& exit);
  absl::Status HandleWorkerExit(const ChildExit& exit);
  absl::Status LeaveOut(const ChildExit& exit);
  std::string WhatItSaid(const ChildExit& exit) const;
  absl::Status FailureOf(const ChildExit& exit) const;
  absl::Status Step();  // one turn of the loop
  void ShowMetrics();
  void ShowSummary();
  absl::Duration WorkerGrace() const {
    return absl::Seconds(config_.rollout().drain_seconds()) + kWorkerEnd;
  }
  void StopAll(absl::Duration grace, int stops);
  int StopOnSignal(int signal);
  int Failed(absl::Status status);
  int Complete();

  const v1::RunConfig config_;
  const ResumeMode resume_;
  const std::string program_folder_;
  const std::vector<std::string> gpus_;

  SignalGate gate_;
  std::map<std::string, ExitReason> reasons_;  // by name of the child
  Supervisor supervisor_;
  ProgressView view_;
  LineFollower metrics_, alerts_;

  const absl::Time started_ = absl::Now();
  std::string address_;  // of the learner; empty: not known yet
  int ranks_done_ = 0;
  struct Worker {
    RestartPolicy policy;
    std::optional<absl::Time> restart_at;
    bool left_out = false;  // it failed again and again
  };
  std::map<std::string, Worker> workers_;
};

std::vector<std::string> TrainRun::LearnerNames() const {
  std::vector<std::string> names;
  for (int i = 0; i < config_.learner().ranks(); ++i) names.push_back(absl::StrCat("learner-", i));
  return names;
}

std::vector<std::string> TrainRun::WorkerNames() const {
  std::vector<std::string> names;
  for (int i = 0; i < config_.rollout().workers(); ++i) names.push_back(absl::StrCat("worker-", i));
  return names;
}

// `slot` counts ranks, then workers: each takes the next GPU.
std::vector<std::pair<std::string, std::string>> TrainRun::Environment(int threads,
                                                                       int slot) const {
  std::vector<std::pair<std::string, std::string>> out = WithoutCertificates();
  out.emplace_back("OMP_WAIT_POLICY", "passive");
  if (threads > 0) out.emplace_back("OMP_NUM_THREADS", absl::StrCat(threads));
  if (gpus_.size() > 1) {
    out.emplace_back("CUDA_VISIBLE_DEVICES", gpus_[static_cast<size_t>(slot) % gpus_.size()]);
  }
  return out;
}

ChildSpec TrainRun::LearnerSpec(int rank, const std::string& store) const {
  const int ranks = config_.learner().ranks();
  ChildSpec spec;
  spec.name = absl::StrCat("learner-", rank);
  spec.argv = {Program("cohort-learner"),
               "--config",
               OutPath(metric::kConfigFile),
               "--listen",
               rank == 0 ? config_.learner().listen() : "127.0.0.1:0",
               "--rank",
               absl::StrCat(rank),
               "--world",
               absl::StrCat(ranks),
               "--store",
               store};
  if (resume_ != ResumeMode::kNew) spec.argv.push_back(ResumeFlag(resume_));
  int threads = config_.learner().threads();
  if (threads == 0 && ranks > 1) threads = std::max(1, UsableCpus() / ranks);
  spec.environment = Environment(threads, rank);
  spec.log_path = LogPath(spec.name);
  return spec;
}

ChildSpec TrainRun::WorkerSpec(int index) const {
  ChildSpec spec;
  spec.name = absl::StrCat("worker-", index);
  spec.argv = {Program("cohort-rollout"), "--config", OutPath(metric::kConfigFile), "--learner",
               address_};
  spec.environment = Environment(config_.rollout().threads(), config_.learner().ranks() + index);
  spec.log_path = LogPath(spec.name);
  return spec;
}

absl::Status TrainRun::StartChild(ChildSpec spec) {
  const ExitReason& reason = reasons_[spec.name];
  reason.Clear();
  spec.environment.push_back(reason.Variable());
  return supervisor_.Start(spec);
}

absl::Status TrainRun::StartLearner() {
  COHORT_ASSIGN_OR_RETURN(const int store_port, FreePort());
  const std::string store = absl::StrCat("127.0.0.1:", store_port);
  for (int rank = 0; rank < config_.learner().ranks(); ++rank) {
    COHORT_RETURN_IF_ERROR(StartChild(LearnerSpec(rank, store)));
  }
  return absl::OkStatus();
}

// The learner writes its address into the run's folder once it listens.
absl::Status TrainRun::StartWorkersWhenReachable() {
  const absl::StatusOr<std::string> address = ReadFile(OutPath(metric::kAddressFile));
  if (!address.ok()) return absl::OkStatus();
  address_ = std::string(absl::StripAsciiWhitespace(*address));
  for (int i = 0; i < config_.rollout().workers(); ++i) {
    COHORT_RETURN_IF_ERROR(StartChild(WorkerSpec(i)));
  }
  view_.Say(absl::StrCat("learner at ", address_, ", ", config_.rollout().workers(),
                         " rollout workers; logs in ", OutPath(metric::kLogFolder)));
  const absl::StatusOr<std::string> page = ReadFile(OutPath(metric::kPageFile));
  if (page.ok()) {
    view_.Say(absl::StrCat("see it in a browser: ", absl::StripAsciiWhitespace(*page)));
  }
  return absl::OkStatus();
}

// ": " and the one line that a program ends with which fails in order; after a crash the end of its
// log. The line may be missing in a log whose disk is full.
std::string TrainRun::WhatItSaid(const ChildExit& exit) const {
  const std::string log = LogPath(exit.name);
  const std::string reason = reasons_.at(exit.name).Read();
  if (!reason.empty()) return absl::StrCat(": ", reason, " (log: ", log, ")");
  const std::string last(absl::StripTrailingAsciiWhitespace(LastLines(log, 1)));
  const bool own =
      absl::StartsWith(last, "cohort-learner: ") || absl::StartsWith(last, "cohort-rollout: ");
  // The last line of one that was killed is of an earlier start.
  if (own && WIFEXITED(exit.wait_status)) return absl::StrCat(": ", last, " (log: ", log, ")");
  return absl::StrCat("; its log ", log, " ends with\n", LastLines(log, kLogLines));
}

// Ends this program with the learner's own code.
absl::Status TrainRun::FailureOf(const ChildExit& exit) const {
  const std::string message = absl::StrCat(exit.name, " ", exit.Describe(), WhatItSaid(exit));
  if (exit.code() == kExitBadSetup) return BadSetup(absl::FailedPreconditionError(message));
  const int signal = SignalOfExit(exit.code());
  return signal != 0 ? StoppedBySignal(signal, message) : absl::UnavailableError(message);
}

absl::Status TrainRun::HandleWorkerExit(const ChildExit& exit) {
  Worker& worker = workers_[exit.name];
  if (exit.ok()) {
    worker.restart_at = absl::Now() + kSentAway;
    return absl::OkStatus();
  }
  if (exit.code() == kExitBadSetup) return LeaveOut(exit);
  const std::optional<absl::Duration> wait = worker.policy.OnExit(exit.alive);
  if (!wait) return LeaveOut(exit);
  worker.restart_at = absl::Now() + *wait;
  view_.Say(absl::StrCat(exit.name, " ", exit.Describe(), "; starting it again in ",
                         absl::FormatDuration(*wait), " (restart ", worker.policy.restarts(), ")"));
  return absl::OkStatus();
}

// What is wrong may be one worker's own, such as its GPU: the run needs one that works.
absl::Status TrainRun::LeaveOut(const ChildExit& exit) {
  workers_[exit.name].left_out = true;
  const auto left = std::count_if(workers_.begin(), workers_.end(),
                                  [](const auto& entry) { return !entry.second.left_out; });
  const bool for_good = exit.code() == kExitBadSetup;
  const std::string what =
      absl::StrCat(exit.name, " ", exit.Describe(), for_good ? "" : " again and again");
  if (left == 0) {
    const absl::Status status =
        absl::UnavailableError(absl::StrCat(what, ", no worker is left", WhatItSaid(exit)));
    return for_good ? BadSetup(status) : status;
  }
  view_.Say(absl::StrCat(what, ", going on with ", left, " of ", workers_.size(), " workers",
                         WhatItSaid(exit)));
  return absl::OkStatus();
}

// The learner has written its summary: it needs no workers any more, though it may be there for
// some time for those who read its metrics.
bool TrainRun::RunIsOver() const {
  struct stat info{};
  return stat(OutPath(metric::kSummaryFile).c_str(), &info) == 0 &&
         absl::TimeFromTimespec(info.st_mtim) >= started_;
}

absl::Status TrainRun::RestartWorkers() {
  for (int i = 0; i < config_.rollout().workers(); ++i) {
    Worker& worker = workers_[absl::StrCat("worker-", i)];
    if (!worker.restart_at || absl::Now() < *worker.restart_at || RunIsOver()) continue;
    worker.restart_at.reset();
    COHORT_RETURN_IF_ERROR(StartChild(WorkerSpec(i)));
  }
  return absl::OkStatus();
}

absl::Status TrainRun::HandleExit(const ChildExit& exit) {
  const bool learner = absl::StartsWith(exit.name, "learner-");
  // The learner sends its workers away when it is done.
  if (!learner) return ranks_done_ > 0 ? absl::OkStatus() : HandleWorkerExit(exit);
  if (exit.ok()) {
    ++ranks_done_;
    return absl::OkStatus();
  }
  return FailureOf(exit);
}

void TrainRun::ShowMetrics() {
  for (const std::string& line : metrics_.Poll()) view_.OnMetrics(line);
  for (const std::string& line : alerts_.Poll()) view_.OnAlert(line);
}

absl::Status TrainRun::Step() {
  for (const ChildExit& exit : supervisor_.Reap()) COHORT_RETURN_IF_ERROR(HandleExit(exit));
  if (ranks_done_ == 0) {
    COHORT_RETURN_IF_ERROR(address_.empty() ? StartWorkersWhenReachable() : RestartWorkers());
  }
  ShowMetrics();
  view_.Tick();
  return absl::OkStatus();
}

// Rank 0 first: it finishes what it does, saves it, ends the other ranks and sends the workers
// away. `grace` zero: as long as it takes. Stop number `stops` ends all at once.
void TrainRun::StopAll(absl::Duration grace, int stops) {
  const absl::Duration limit =
      grace > absl::ZeroDuration() ? grace + kBeyondGrace : absl::InfiniteDuration();
  const bool in_order = supervisor_.Stop({"learner-0"}, limit, &gate_, stops);
  if (!in_order)
    view_.Say("the learner was ended at once; what came after its last checkpoint is lost");
  supervisor_.Stop(LearnerNames(), in_order ? kRankGrace : absl::ZeroDuration(), &gate_);
  supervisor_.Stop(WorkerNames(), in_order ? WorkerGrace() : absl::ZeroDuration(), &gate_);
}

// Rank 0 decides what became of the run: it may have been done already, or could not save it.
int TrainRun::StopOnSignal(int signal) {
  view_.Say("stopping (once more: at once)");
  StopAll(absl::Seconds(config_.run().stop_grace_seconds()), /*stops=*/1);
  const std::optional<ChildExit> exit = supervisor_.ExitOf("learner-0");
  if (exit && exit->ok()) return Complete();
  ShowMetrics();
  view_.Done();
  if (exit && (exit->code() == kExitFailed || exit->code() == kExitBadSetup)) {
    return EndOfProgram("cohort train", FailureOf(*exit));
  }
  std::cout << "stopped; continue with: cohort train -c " << OutPath(metric::kConfigFile)
            << " --resume" << std::endl;
  WriteTerminationReason(absl::StrCat("cohort train: stopped by signal ", signal));
  return ExitOfSignal(signal);
}

int TrainRun::Failed(absl::Status status) {
  ShowMetrics();
  StopAll(kFailureGrace, /*stops=*/2);
  view_.Done();
  for (const std::string& name : LearnerNames()) {
    const std::optional<ChildExit> exit = supervisor_.ExitOf(name);
    if (!IsBadSetup(status) && exit && exit->code() == kExitBadSetup) status = FailureOf(*exit);
  }
  return EndOfProgram("cohort train", status);
}

int TrainRun::Complete() {
  supervisor_.Stop(WorkerNames(), WorkerGrace(), &gate_);
  ShowMetrics();
  // One that trains writes down where it listens.
  if (!ReadFile(OutPath(metric::kAddressFile)).ok()) {
    view_.Say("the run was complete already; to go on, raise run.steps");
  }
  view_.Done();
  ShowSummary();
  return kExitDone;
}

void TrainRun::ShowSummary() {
  const absl::StatusOr<std::string> text = ReadFile(OutPath(metric::kSummaryFile));
  const nlohmann::json summary = nlohmann::json::parse(text.ok() ? *text : "", nullptr, false);
  if (summary.is_object()) std::cout << SummaryText(summary);
  std::cout << "run folder         " << config_.run().out() << std::endl;
}

int TrainRun::Run() {
  // The learner takes the folder's lock for as long as it trains.
  const absl::Status prepared = PrepareRunFolder(config_, resume_, "cohort train").status();
  if (!prepared.ok()) return EndOfProgram("cohort train", prepared);
  view_.Say(absl::StrCat("run ", config_.run().name(), ": ", config_.run().steps(), " steps in ",
                         config_.run().out()));
  absl::Status status = StartLearner();
  while (status.ok() && ranks_done_ < config_.learner().ranks()) {
    if (const int signal = gate_.Wait(kTick); SignalGate::IsStop(signal)) {
      return StopOnSignal(signal);
    }
    status = Step();
  }
  if (!status.ok()) return Failed(status);
  return Complete();
}

}  // namespace

int RunTrain(const TrainArgs& args) { return RunTrain(args, RestartPolicy::Options()); }

int RunTrain(const TrainArgs& args, const RestartPolicy::Options& restarts) {
  std::vector<std::string> overrides = args.overrides;
  if (args.workers) overrides.push_back(absl::StrCat("rollout.workers=", *args.workers));
  const absl::StatusOr<ResumeMode> resume = ParseResume(args.resume);
  if (!resume.ok()) return EndOfProgram("cohort train", BadSetup(resume.status()));
  absl::StatusOr<v1::RunConfig> config = LoadResolvedConfig(args.config, overrides);
  if (!config.ok()) return EndOfProgram("cohort train", BadInput(config.status()));
  if (const absl::Status one = CheckOneMachine(*config); !one.ok()) {
    return EndOfProgram("cohort train", BadSetup(one));
  }
  if (!args.out.empty()) config->mutable_run()->set_out(args.out);
  for (const std::string& warning : ConfigWarnings(*config)) {
    std::cerr << "warning: " << warning << std::endl;
  }
  return TrainRun(*std::move(config), args, *resume, restarts).Run();
}

}  // namespace cohort

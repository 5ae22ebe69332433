// `cohort train`: learner ranks and rollout workers as children of this process, followed until the
// run ends. No gRPC and no LibTorch here: this process forks.
#include "services/cli/train.h"

#include <sys/ioctl.h>
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
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/telemetry/metric_names.h"
#include "services/cli/free_port.h"
#include "services/cli/progress.h"
#include "services/cli/run_folder.h"

namespace cohort {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(100);
constexpr absl::Duration kLearnerGrace = absl::Seconds(25);  // it may be writing a checkpoint
constexpr absl::Duration kWorkerGrace = absl::Seconds(8);
constexpr int kLogLines = 20;
// A worker that ended in order was sent away by a learner that is ending too, as a rule.
constexpr absl::Duration kSentAway = absl::Seconds(15);

// The devices that this process may use, as CUDA_VISIBLE_DEVICES names them. Empty without a GPU.
std::vector<std::string> VisibleGpus(const v1::RunConfig& config) {
  if (config.model().device() == "cpu") return {};
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
  TrainRun(v1::RunConfig config, const TrainArgs& args, const RestartPolicy::Options& restarts)
      : config_(std::move(config)),
        resume_(args.resume),
        program_folder_(std::filesystem::path(args.self).parent_path().string()),
        gpus_(VisibleGpus(config_)),
        view_(&std::cout, config_.run().steps(), TerminalWidth()),
        metrics_(OutPath(metric::kMetricsFile), /*skip_existing=*/true) {
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

  absl::Status StartLearner();
  absl::Status StartWorkersWhenReachable();
  absl::Status RestartWorkers();
  absl::Status HandleExit(const ChildExit& exit);
  absl::Status HandleWorkerExit(const ChildExit& exit);
  absl::Status LeaveOut(const ChildExit& exit);
  std::string WhatItSaid(const ChildExit& exit) const;
  absl::Status Step();  // one turn of the loop
  void ShowMetrics();
  void ShowSummary();
  void StopAll();
  int StopOnSignal(int signal);
  int Failed(const absl::Status& status);

  const v1::RunConfig config_;
  const bool resume_;
  const std::string program_folder_;
  const std::vector<std::string> gpus_;

  SignalGate gate_;
  Supervisor supervisor_;
  ProgressView view_;
  LineFollower metrics_;

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
  std::vector<std::pair<std::string, std::string>> out = {{"OMP_WAIT_POLICY", "passive"}};
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
  if (resume_) spec.argv.push_back("--resume");
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

absl::Status TrainRun::StartLearner() {
  COHORT_ASSIGN_OR_RETURN(const int store_port, FreePort());
  const std::string store = absl::StrCat("127.0.0.1:", store_port);
  for (int rank = 0; rank < config_.learner().ranks(); ++rank) {
    COHORT_RETURN_IF_ERROR(supervisor_.Start(LearnerSpec(rank, store)));
  }
  return absl::OkStatus();
}

// The learner writes its address into the run's folder once it listens.
absl::Status TrainRun::StartWorkersWhenReachable() {
  const absl::StatusOr<std::string> address = ReadFile(OutPath(metric::kAddressFile));
  if (!address.ok()) return absl::OkStatus();
  address_ = std::string(absl::StripAsciiWhitespace(*address));
  for (int i = 0; i < config_.rollout().workers(); ++i) {
    COHORT_RETURN_IF_ERROR(supervisor_.Start(WorkerSpec(i)));
  }
  view_.Say(absl::StrCat("learner at ", address_, ", ", config_.rollout().workers(),
                         " rollout workers; logs in ", OutPath(metric::kLogFolder)));
  return absl::OkStatus();
}

// ": " and the one line that a program ends with which fails in order; after a crash the end of its
// log.
std::string TrainRun::WhatItSaid(const ChildExit& exit) const {
  const std::string log = LogPath(exit.name);
  const std::string last(absl::StripTrailingAsciiWhitespace(LastLines(log, 1)));
  const bool own =
      absl::StartsWith(last, "cohort-learner: ") || absl::StartsWith(last, "cohort-rollout: ");
  // The last line of one that was killed is of an earlier start.
  if (own && WIFEXITED(exit.wait_status)) return absl::StrCat(": ", last, " (log: ", log, ")");
  return absl::StrCat("; its log ", log, " ends with\n", LastLines(log, kLogLines));
}

absl::Status TrainRun::HandleWorkerExit(const ChildExit& exit) {
  Worker& worker = workers_[exit.name];
  if (exit.ok()) {
    worker.restart_at = absl::Now() + kSentAway;
    return absl::OkStatus();
  }
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
  const std::string what = absl::StrCat(exit.name, " ", exit.Describe(), " again and again");
  if (left == 0) {
    return absl::UnavailableError(absl::StrCat(what, ", no worker is left", WhatItSaid(exit)));
  }
  view_.Say(absl::StrCat(what, ", going on with ", left, " of ", workers_.size(), " workers",
                         WhatItSaid(exit)));
  return absl::OkStatus();
}

absl::Status TrainRun::RestartWorkers() {
  for (int i = 0; i < config_.rollout().workers(); ++i) {
    Worker& worker = workers_[absl::StrCat("worker-", i)];
    if (!worker.restart_at || absl::Now() < *worker.restart_at) continue;
    worker.restart_at.reset();
    COHORT_RETURN_IF_ERROR(supervisor_.Start(WorkerSpec(i)));
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
  return absl::UnavailableError(absl::StrCat(exit.name, " ", exit.Describe(), WhatItSaid(exit)));
}

void TrainRun::ShowMetrics() {
  for (const std::string& line : metrics_.Poll()) view_.OnMetrics(line);
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

// The learner first: it finishes what it does and sends the workers away.
void TrainRun::StopAll() {
  if (!supervisor_.Stop(LearnerNames(), kLearnerGrace, &gate_)) {
    view_.Say("the learner did not stop in time and was killed");
  }
  supervisor_.Stop(WorkerNames(), kWorkerGrace, &gate_);
}

int TrainRun::StopOnSignal(int signal) {
  view_.Say("stopping (once more: at once)");
  StopAll();
  ShowMetrics();
  view_.Done();
  std::cout << "stopped; continue with: cohort train -c " << OutPath(metric::kConfigFile)
            << " --resume" << std::endl;
  return 128 + signal;
}

int TrainRun::Failed(const absl::Status& status) {
  ShowMetrics();
  StopAll();
  view_.Done();
  return Fail("train", status);
}

void TrainRun::ShowSummary() {
  const absl::StatusOr<std::string> text = ReadFile(OutPath(metric::kSummaryFile));
  const nlohmann::json summary = nlohmann::json::parse(text.ok() ? *text : "", nullptr, false);
  if (summary.is_object()) std::cout << SummaryText(summary);
  std::cout << "run folder         " << config_.run().out() << std::endl;
}

int TrainRun::Run() {
  const absl::StatusOr<RunFolderLock> lock = PrepareRunFolder(config_, resume_);
  if (!lock.ok()) return Fail("train", lock.status());
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
  supervisor_.Stop(WorkerNames(), kWorkerGrace, &gate_);
  ShowMetrics();
  view_.Done();
  ShowSummary();
  return 0;
}

}  // namespace

int RunTrain(const TrainArgs& args) { return RunTrain(args, RestartPolicy::Options()); }

int RunTrain(const TrainArgs& args, const RestartPolicy::Options& restarts) {
  std::vector<std::string> overrides = args.overrides;
  if (args.workers) overrides.push_back(absl::StrCat("rollout.workers=", *args.workers));
  absl::StatusOr<v1::RunConfig> config = LoadResolvedConfig(args.config, overrides);
  if (!config.ok()) return Fail("train", config.status());
  if (!args.out.empty()) config->mutable_run()->set_out(args.out);
  for (const std::string& warning : ConfigWarnings(*config)) {
    std::cerr << "warning: " << warning << std::endl;
  }
  return TrainRun(*std::move(config), args, restarts).Run();
}

}  // namespace cohort

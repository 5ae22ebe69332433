#include "services/cli/study_run.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/html/html.h"
#include "common/run_folder/run_folder.h"
#include "common/supervise/supervisor.h"
#include "common/telemetry/metric_names.h"
#include "services/cli/progress.h"

namespace cohort {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr absl::Duration kTick = absl::Milliseconds(100);
constexpr absl::Duration kGrace = absl::Seconds(45);  // a training writes its checkpoint
constexpr int kLogLines = 5;

std::string LogOf(const StudyJob& job) { return job.state + ".log"; }

json StateOf(const StudyJob& job) {
  const absl::StatusOr<std::string> text = ReadFile(job.state + ".json");
  json state = json::parse(text.ok() ? *text : "", nullptr, false);
  if (!state.is_object() || state.value("fingerprint", std::string()) != job.fingerprint) return {};
  return state;
}

bool IsIn(const StudyJob& job, const char* state) {
  const json found = StateOf(job);
  return found.is_object() && found.value("state", std::string()) == state;
}

bool Exists(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

bool IsFinished(const StudyJob& job) { return IsIn(job, "finished") && Exists(job.output); }

// The last of a run's checkpoints: they are named step-00000010.
std::string LastCheckpoint(const std::string& run) {
  std::string last;
  std::error_code error;
  for (const auto& entry :
       fs::directory_iterator(absl::StrCat(run, "/", metric::kCheckpointFolder), error)) {
    const std::string name = entry.path().filename().string();
    if (absl::StartsWith(name, "step-") && Exists(entry.path().string() + "/config.json")) {
      last = std::max(last, name);
    }
  }
  return last;
}

// A training that a signal ended is whole up to its checkpoint, but its state is "started".
bool CanResume(const StudyJob& job) {
  return job.kind == StudyJob::Kind::kTraining && IsIn(job, "started") &&
         !LastCheckpoint(job.folder).empty();
}

absl::Status LinkModel(const StudyJob& job) {
  const std::string last = LastCheckpoint(job.folder);
  if (last.empty()) {
    return absl::NotFoundError(absl::StrCat("it left no checkpoint in ", job.folder));
  }
  std::error_code error;
  fs::remove(job.link, error);
  const fs::path target = fs::path(job.folder).filename() / metric::kCheckpointFolder / last;
  fs::create_directory_symlink(target, job.link, error);
  if (error) return ErrnoStatus(error.value(), absl::StrCat("cannot make the link ", job.link));
  return absl::OkStatus();
}

class StudyRunner {
 public:
  StudyRunner(const StudyPlan& plan, const StudyRunnerOptions& options)
      : plan_(plan), options_(options), states_(plan.jobs.size(), State::kWaiting) {}

  absl::StatusOr<StudyProgress> Run() {
    for (size_t i = 0; i < plan_.jobs.size(); ++i) {
      // What a job was made of may have changed, although it looks finished itself.
      if (NeedsAre(i, State::kDone) && IsFinished(plan_.jobs[i])) states_[i] = State::kDone;
    }
    todo_ = static_cast<int>(std::count(states_.begin(), states_.end(), State::kWaiting));
    if (todo_ < static_cast<int>(states_.size())) {
      Say(absl::StrCat(states_.size() - static_cast<size_t>(todo_), " of ", states_.size(),
                       " jobs are there already"));
    }
    for (;;) {
      COHORT_RETURN_IF_ERROR(StartWhatCan());
      TellSeeds();
      if (supervisor_.Running().empty()) break;
      if (const int signal = gate_.Wait(kTick); SignalGate::IsStop(signal)) {
        Say("stopping (once more: at once)");
        supervisor_.Stop(supervisor_.Running(), kGrace, &gate_);
        out_.signal = signal;
        return Stopped();
      }
      for (const ChildExit& exit : supervisor_.Reap()) COHORT_RETURN_IF_ERROR(Ended(exit));
    }
    return out_;
  }

 private:
  enum class State { kWaiting, kRunning, kDone, kFailed };

  bool NeedsAre(size_t index, State state) const {
    const std::vector<size_t>& needs = plan_.jobs[index].needs;
    return std::all_of(needs.begin(), needs.end(),
                       [&](size_t needed) { return states_[needed] == state; });
  }

  // What runs stays "started", with the time it had.
  absl::StatusOr<StudyProgress> Stopped() {
    for (size_t i = 0; i < states_.size(); ++i) {
      if (states_[i] != State::kRunning) continue;
      COHORT_RETURN_IF_ERROR(WriteState(plan_.jobs[i], "started", SecondsUntilNow(i)));
    }
    return out_;
  }

  double SecondsUntilNow(size_t index) {
    return before_[index] + absl::ToDoubleSeconds(absl::Now() - started_[index]);
  }

  int Slots(const StudyJob& job) const {
    return job.kind == StudyJob::Kind::kTraining ? options_.slots : 1;
  }

  absl::Status StartWhatCan() {
    for (size_t i = 0; i < states_.size(); ++i) {
      if (states_[i] != State::kWaiting) continue;
      const StudyJob& job = plan_.jobs[i];
      for (size_t needed : job.needs) {
        if (states_[needed] != State::kFailed) continue;
        states_[i] = State::kFailed;
        ++finished_;
        out_.failed.push_back(
            absl::StrCat(job.name, ": not made, it needs ", plan_.jobs[needed].name));
        break;
      }
      if (states_[i] != State::kWaiting || !NeedsAre(i, State::kDone)) continue;
      if (used_ + Slots(job) > options_.slots) continue;
      COHORT_RETURN_IF_ERROR(Start(i));
    }
    return absl::OkStatus();
  }

  absl::Status Start(size_t index) {
    const StudyJob& job = plan_.jobs[index];
    for (const std::string& path : {job.state, job.output}) {
      COHORT_RETURN_IF_ERROR(MakeFolders(fs::path(path).parent_path().string()));
    }
    ChildSpec spec;
    spec.name = job.name;
    spec.argv = job.argv;
    const bool resumed = CanResume(job);
    std::error_code ignored;
    if (resumed) {
      spec.argv.push_back("--resume");
    } else {
      if (!job.folder.empty()) fs::remove_all(job.folder, ignored);
      if (job.kind != StudyJob::Kind::kModel) fs::remove(job.output, ignored);
      fs::remove(LogOf(job), ignored);
    }
    spec.log_path = LogOf(job);
    spec.environment = {{"OMP_WAIT_POLICY", "passive"}};
    if (job.kind != StudyJob::Kind::kTraining) spec.environment.push_back({"OMP_NUM_THREADS", "1"});
    COHORT_RETURN_IF_ERROR(WriteState(job, "started", SecondsSoFar(job, resumed)));
    started_[index] = absl::Now();
    before_[index] = SecondsSoFar(job, resumed);
    states_[index] = State::kRunning;
    used_ += Slots(job);
    index_of_[job.name] = index;
    ++out_.ran;
    if (job.kind == StudyJob::Kind::kTraining) {
      Say(absl::StrCat(resumed ? "goes on  " : "training ", job.name));
    }
    const absl::Status status = supervisor_.Start(spec);
    return status.ok() ? status : Done(index, status);
  }

  absl::Status Ended(const ChildExit& exit) {
    const size_t index = index_of_.at(exit.name);
    const StudyJob& job = plan_.jobs[index];
    absl::Status status;
    if (!exit.ok()) {
      status = absl::UnavailableError(absl::StrCat(exit.Describe(), "; ", LogOf(job), " ends with ",
                                                   LastLines(LogOf(job), kLogLines)));
    } else if (!job.link.empty()) {
      status = LinkModel(job);
    }
    if (status.ok() && !Exists(job.output)) {
      status = absl::NotFoundError(absl::StrCat("it did not write ", job.output));
    }
    return Done(index, status);
  }

  absl::Status Done(size_t index, const absl::Status& status) {
    const StudyJob& job = plan_.jobs[index];
    used_ -= Slots(job);
    ++finished_;
    states_[index] = status.ok() ? State::kDone : State::kFailed;
    const double seconds = SecondsUntilNow(index);
    Say(absl::StrFormat("%d/%d %s %s, %s", finished_, todo_, status.ok() ? "done    " : "FAILED  ",
                        job.name, DurationText(absl::Seconds(seconds))));
    if (!status.ok()) {
      const std::string message(absl::StripTrailingAsciiWhitespace(status.message()));
      out_.failed.push_back(absl::StrCat(job.name, ": ", message));
      Say(out_.failed.back());
    }
    return WriteState(job, status.ok() ? "finished" : "failed", seconds);
  }

  static double SecondsSoFar(const StudyJob& job, bool resumed) {
    if (!resumed) return 0;
    const json state = StateOf(job);
    return state.is_object() ? state.value("seconds", 0.0) : 0;
  }

  static absl::Status WriteState(const StudyJob& job, const char* state, double seconds) {
    const json text = {{"job", job.name},
                       {"fingerprint", job.fingerprint},
                       {"state", state},
                       {"seconds", seconds},
                       {"argv", job.argv}};
    return WriteFileAtomic(job.state + ".json",
                           text.dump(1, ' ', false, json::error_handler_t::replace) + "\n");
  }

  void TellSeeds() {
    if (!options_.seed_done) return;
    for (int seed : plan_.seeds) {
      if (std::find(told_.begin(), told_.end(), seed) != told_.end()) continue;
      bool open = false;
      for (size_t i = 0; i < states_.size(); ++i) {
        const bool ended = states_[i] == State::kDone || states_[i] == State::kFailed;
        open = open || (plan_.jobs[i].seed == seed && !ended);
      }
      if (open) continue;
      told_.push_back(seed);
      options_.seed_done(seed);
    }
  }

  void Say(const std::string& line) {
    if (options_.progress != nullptr) *options_.progress << line << std::endl;
  }

  const StudyPlan& plan_;
  const StudyRunnerOptions& options_;
  SignalGate gate_;
  Supervisor supervisor_;
  std::vector<State> states_;
  std::map<std::string, size_t> index_of_;
  std::map<size_t, absl::Time> started_;
  std::map<size_t, double> before_;  // seconds of earlier calls
  std::vector<int> told_;
  int used_ = 0, todo_ = 0, finished_ = 0;
  StudyProgress out_;
};

}  // namespace

absl::StatusOr<StudyProgress> RunStudyJobs(const StudyPlan& plan,
                                           const StudyRunnerOptions& options) {
  return StudyRunner(plan, options).Run();
}

double SecondsOf(const StudyJob& job) {
  const json state = StateOf(job);
  if (!state.is_object() || state.value("state", std::string()) != "finished") return 0;
  return state.value("seconds", 0.0);
}

}  // namespace cohort

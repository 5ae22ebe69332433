#include "services/learner/local_ranks.h"

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/cpu_count.h"
#include "common/base/exit_code.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/supervise/exit_reason.h"
#include "common/supervise/supervisor.h"

namespace cohort {
namespace {

constexpr char kPodIndexVariable[] = "JOB_COMPLETION_INDEX";  // of an Indexed Job of Kubernetes
// More than hosts have GPUs; what is beyond is a slip that would take the host down.
constexpr int kMostRanksPerPod = 64;
constexpr int kMostPods = 1024;
constexpr absl::Duration kRankGrace = absl::Seconds(20);  // once rank 0 has ended
constexpr absl::Duration kTick = absl::Milliseconds(200);
constexpr absl::Duration kBeyondGrace = absl::Seconds(5);  // the ranks end themselves by then
// After the end of one rank that nobody asked for: rank 0 may be writing a checkpoint.
constexpr absl::Duration kFailureGrace = absl::Minutes(10);

absl::Status BadFlag(absl::string_view flag, absl::string_view expected, int found) {
  return absl::InvalidArgumentError(absl::StrCat(flag, ": expected ", expected, ", found ", found));
}

class LocalRanks {
 public:
  explicit LocalRanks(const LocalRanksOptions& options) : options_(options) {
    for (int k = 0; k < options_.placement.ranks_per_pod; ++k) names_.push_back(NameOf(k));
  }

  int Run() {
    absl::Status status = Start();
    while (status.ok() && !supervisor_.Running().empty()) {
      const int signal = gate_.Wait(kTick);
      if (SignalGate::IsStop(signal)) {
        Stop(signal);
        break;
      }
      for (const ChildExit& exit : supervisor_.Reap()) {
        if (exit.ok()) continue;
        Fail(exit);
        return Verdict();
      }
    }
    return status.ok() ? Verdict() : EndOfProgram("cohort-learner", status);
  }

 private:
  std::string NameOf(int k) const {
    return absl::StrCat("learner-", options_.placement.rank_of(k));
  }
  bool has_rank_zero() const { return options_.placement.pod_index == 0; }

  absl::Status Start() {
    for (int k = 0; k < options_.placement.ranks_per_pod; ++k) {
      ChildSpec spec;
      spec.name = NameOf(k);
      spec.argv = {options_.program};
      spec.argv.insert(spec.argv.end(), options_.arguments.begin(), options_.arguments.end());
      spec.argv.push_back(absl::StrCat("--local-rank=", k));
      spec.environment = {{"OMP_WAIT_POLICY", "passive"},
                          {"OMP_NUM_THREADS", absl::StrCat(Threads())},
                          reasons_[spec.name].Variable()};
      COHORT_RETURN_IF_ERROR(supervisor_.Start(spec));
    }
    COHORT_LOG(INFO) << "started ranks " << names_.front() << " to " << names_.back() << " of "
                     << options_.placement.world() << ", " << Threads() << " threads each";
    return absl::OkStatus();
  }

  int Threads() const {
    if (options_.threads > 0) return options_.threads;
    return std::max(1, UsableCpus() / options_.placement.ranks_per_pod);
  }

  // Rank 0 decides, and once it has saved and ended the others get a bounded time: one may hang.
  // Where rank 0 is in another pod, the ranks here tell it.
  void Stop(int signal) {
    signal_ = signal;
    const absl::Duration limit = options_.grace > absl::ZeroDuration()
                                     ? options_.grace + kBeyondGrace
                                     : absl::InfiniteDuration();
    if (!has_rank_zero()) {
      supervisor_.Stop(names_, limit, &gate_);
      return;
    }
    const bool in_order = supervisor_.Stop({NameOf(0)}, limit, &gate_);
    supervisor_.Stop(names_, in_order ? kRankGrace : absl::ZeroDuration(), &gate_);
  }

  void Fail(const ChildExit& exit) {
    first_ = exit;
    COHORT_LOG(ERROR) << exit.name << " " << exit.Describe() << ": stopping the other ranks";
    supervisor_.Stop(names_, kFailureGrace, &gate_, /*stops=*/2);
  }

  // The rank whose exit code is this process's, and the code.
  int Verdict() {
    for (const std::string& name : names_) {
      const std::optional<ChildExit> exit = supervisor_.ExitOf(name);
      if (exit && exit->code() == kExitBadSetup) return EndAs(*exit, kExitBadSetup);
    }
    if (first_) return EndAs(*first_, SignalOfExit(first_->code()) != 0 ? first_->code() : 1);
    return has_rank_zero() ? OfRankZero() : OfAll();
  }

  int OfRankZero() {
    const ChildExit exit = supervisor_.ExitOf(NameOf(0)).value_or(ChildExit());
    if (exit.ok()) return OfAll();
    // One that had to be killed was told to stop before.
    return EndAs(exit, exit.code() >= 0 ? exit.code() : ExitOfSignal(signal_));
  }

  int OfAll() {
    std::optional<ChildExit> failed;
    for (const std::string& name : names_) {
      const std::optional<ChildExit> exit = supervisor_.ExitOf(name);
      if (exit && exit->ok()) continue;
      if (exit && SignalOfExit(exit->code()) != 0) return EndAs(*exit, exit->code());
      if (!failed) failed = exit.value_or(ChildExit{name, 0, absl::ZeroDuration()});
    }
    if (!failed) return kExitDone;
    return EndAs(*failed, signal_ != 0 && failed->code() < 0 ? ExitOfSignal(signal_) : kExitFailed);
  }

  int EndAs(const ChildExit& exit, int code) {
    const std::string said = reasons_[exit.name].Read();
    const std::string line = absl::StrCat("cohort-learner: ", exit.name, " ", exit.Describe(),
                                          said.empty() ? "" : ": ", said);
    std::cerr << line << std::endl;
    WriteTerminationReason(line);
    return code;
  }

  const LocalRanksOptions& options_;
  std::vector<std::string> names_;
  std::map<std::string, ExitReason> reasons_;
  SignalGate gate_;
  Supervisor supervisor_;
  int signal_ = 0;                  // of the stop that this process was told
  std::optional<ChildExit> first_;  // the end that nobody asked for
};

}  // namespace

absl::StatusOr<RankPlacement> Place(RankPlacement asked) {
  if (asked.pods < 1 || asked.pods > kMostPods) {
    return BadFlag("--pods", absl::StrCat("1 to ", kMostPods), asked.pods);
  }
  if (asked.ranks_per_pod < 1 || asked.ranks_per_pod > kMostRanksPerPod) {
    return BadFlag("--ranks-per-pod", absl::StrCat("1 to ", kMostRanksPerPod), asked.ranks_per_pod);
  }
  const char* index = std::getenv(kPodIndexVariable);
  if (asked.pod_index < 0 && (index == nullptr || asked.pods == 1)) asked.pod_index = 0;
  if (asked.pod_index < 0 && !absl::SimpleAtoi(index, &asked.pod_index)) {
    return absl::InvalidArgumentError(
        absl::StrCat(kPodIndexVariable, ": expected the index of this pod, found \"", index, "\""));
  }
  asked.pod_index += std::exchange(asked.pod_index_offset, 0);
  if (asked.pod_index < 0 || asked.pod_index >= asked.pods) {
    return BadFlag("--pod-index (with --pod-index-offset)",
                   absl::StrCat("0 to ", asked.pods - 1, " (--pods - 1)"), asked.pod_index);
  }
  if (asked.local_rank >= asked.ranks_per_pod) {
    return BadFlag("--local-rank", absl::StrCat("0 to ", asked.ranks_per_pod - 1),
                   asked.local_rank);
  }
  return asked;
}

int RunLocalRanks(const LocalRanksOptions& options) { return LocalRanks(options).Run(); }

}  // namespace cohort
